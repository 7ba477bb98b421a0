//! The pod's cgroup and the resources of its containers.
