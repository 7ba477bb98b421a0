//! Volumes and claims that are in use are kept: the API server puts a finalizer on each, which is taken off here once
//! nothing uses what is being deleted.
mod controller;
mod plan;

pub use controller::StorageProtection;
