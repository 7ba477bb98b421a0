//! Pods until their work is done, or until it is certain that it won't be.
//!
//! `controller` listens and enqueues; `sync` takes one Job at a time, claims its pods and asks:
//!
//! | question | answered by |
//! |---|---|
//! | what its pods count for | `count`, `failure_policy`, `indexes` |
//! | whether it is over | `finish` |
//! | how many pods to create and which to delete, and when | `manage`, `backoff` |
//! | what a pod looks like | `pods` |
//! | what its conditions say | `conditions` |
//!
//! A pod carries a finalizer until it is counted: first the status names it as ended but uncounted,
//! then the finalizer goes, then the number grows. So none is missed and none counted twice.

mod backoff;
mod conditions;
mod controller;
mod count;
mod failure_policy;
mod finish;
mod indexes;
mod manage;
mod pods;
mod sync;
#[cfg(test)]
mod testing;
mod tracking;

pub use controller::Jobs;
