//! What pods may expect of a node agent, asked of a whole node by kubectl. The tests share a node.
#![allow(clippy::unwrap_used)]
mod access;
mod hooks;
mod identity;
mod kubeadm;
mod mirrors;
mod private_registry;
mod resize;
mod restarts;
mod settings;
mod shared;
mod sidecars;
mod suites;
