//! Machines for a cluster on one machine: each with its own network, hostname, processes and files, joined by a switch.
//! They can be killed, started again, frozen, cut off and slowed down; nothing outside their own namespaces changes.
//!
//! - [`Lab`]: the switch and the machines of one directory. The handle: it holds no task, only process ids.
//! - [`machine`]: process 1 of a machine: mounts its files, then reaps. Runs until it is killed.
//! - [`switch`]: the bridge's process. It also forwards one loopback port of the host, and the first port of the API on
//!   the bridge's address, to the first master that answers.
//! - `record`: which processes those are, for who opens the lab later.
//! - `faults`: machines kept apart from each other, signals to single programs.
//! - [`steps`]: the command lines by which the machines become a cluster.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod faults;
mod files;
mod lab;
pub mod machine;
mod namespaces;
mod processes;
mod record;
pub mod steps;
pub mod switch;

pub use lab::{GATEWAY, Lab, LabOptions, Machine};
pub use record::FILE as RECORD;
