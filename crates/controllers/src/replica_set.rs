//! As many pods as a ReplicaSet or ReplicationController asks for.
//!
//! `controller` listens and enqueues; `sync` takes one at a time, claims its pods, asks `plan` how
//! many to create and which to delete, and tells in the `status` what there is. Both kinds run the
//! same code: `kind` says what differs.

mod controller;
mod kind;
mod plan;
mod status;
mod sync;

pub use controller::ReplicaControllers;
