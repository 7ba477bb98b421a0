//! What a container sees around it: variables, hosts and resolver configuration.
