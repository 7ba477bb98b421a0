//! Binds pods to nodes. Which nodes are feasible is decided by `orlop_api::placement`, whose reasons
//! become the event and the condition of a pod that fits nowhere.
//!
//! # Tasks
//! - informers of pods and nodes feed [`cluster`] (who is where, what is free) and [`queue`] (who
//!   waits, and for what), those of namespaces, disruption budgets and volumes the
//!   [`world`];
//! - the scheduling loop (`run`) takes the pod with the highest priority, asks [`decide`], assumes
//!   the result at once and goes on; others who have a word in it are asked meanwhile (`extender`);
//! - short tasks write: bindings ([`write`]), conditions and events.
//!
//! # What it doesn't do
//! It starts nothing, evicts only what it must for a higher priority, and never looks twice at a pod
//! for which nothing relevant has changed.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod affinity;
mod cluster;
mod decide;
mod exclusive;
pub mod explain;
mod extender;
mod images;
mod message;
mod metrics;
mod preempt;
mod profile;
mod queue;
mod rules;
mod run;
mod spread;
#[cfg(test)]
mod testing;
mod traits;
mod view;
mod volumes;
mod world;
mod write;

pub use extender::{Extender, ExtenderTls, ManagedResource};
pub use profile::{Options, Profile, Room, Weights};
pub use rules::Rules;
pub use run::{SchedulerError, run, run_measured};
pub use traits::Spreading;
