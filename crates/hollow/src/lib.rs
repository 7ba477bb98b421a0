//! Nodes without machines: objects, leases, status and pods that run on nothing, to see how a
//! control plane does with thousands of them. Works against any API server.
//!
//! # Tasks
//! - [`fleet`]: registers the nodes, a few at a time, then starts
//! - one task a node ([`node`]): renews its Lease, posts its status, falls silent or turns NotReady when the
//!   [`schedule`] says so, and comes back;
//! - one watch of all pods ([`pods`]): a pod bound to one of the nodes starts, may fail, and stops; workers write
//!   what became of it;
//! - all of them ask through one [`client`], which bounds what is asked at the same time.
//!
//! # What it doesn't do
//! It pulls no image, opens no port, and answers no `kubectl logs`. What happens when is a pure function of the seed.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod chance;
mod client;
mod fleet;
mod node;
mod objects;
mod pods;
mod schedule;
mod view;

pub use chance::Share;
pub use fleet::{Fleet, HollowError, run};
pub use schedule::{Health, Schedule, Trouble};
