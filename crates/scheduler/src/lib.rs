//! Binds pods to nodes. Which nodes are feasible is decided by `orlop_api::placement`, whose reasons
//! become the event and the condition of a pod that fits nowhere.
//!
//! # Tasks
//! - informers feed what is [`known`] (who is where and what is free, and the world around) and the queue (who waits, and
//!   for what);
//! - the scheduling loop ([`run`](mod@run)) takes the pod with the highest priority, lets [`decide`] find it a node by its
//!   [`profile`], assumes the result at once and goes on; others who have a word in it are asked meanwhile ([`extender`]);
//! - short tasks write: bindings, conditions and events.
//!
//! # What it doesn't do
//! It starts nothing, evicts only what it must for a higher priority, and never looks twice at a pod
//! for which nothing relevant has changed.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod decide;
pub mod explain;
mod extender;
mod known;
mod metrics;
mod profile;
mod resources;
mod run;
#[cfg(test)]
mod testing;

pub use extender::{Extender, ExtenderTls, ManagedResource};
pub use known::traits::Spreading;
pub use profile::rules::Rules;
pub use profile::{Options, Profile, Room, Weights};
pub use resources::{PAGE as RESOURCES_PAGE, PodResources};
pub use run::{SchedulerError, run, run_measured};
