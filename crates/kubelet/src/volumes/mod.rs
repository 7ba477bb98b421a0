//! What a pod mounts: set up, handed to containers, and taken down.
