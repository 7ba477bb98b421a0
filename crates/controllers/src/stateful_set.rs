//! Pods with names and volumes of their own, one after the other.
//!
//! `controller` listens and enqueues; `sync` takes one StatefulSet at a time, claims its pods and
//! asks:
//!
//! | question | answered by |
//! |---|---|
//! | what pod `n` looks like, and its claims | `identity`, `claims` |
//! | which pods to create and to delete now | `plan`, `rolling` |
//! | what the status says | `status` |
//!
//! Its history is kept by `crate::revisions`, as that of DaemonSets.

mod claims;
mod controller;
mod identity;
mod plan;
mod rolling;
mod status;
mod sync;
#[cfg(test)]
mod testing;
mod write;

pub use controller::StatefulSets;
