//! Files of bbolt, the database that etcd keeps its data and its snapshots in.
//!
//! - [`BoltFile`] reads one, trusting nothing in it: every page, offset and length is checked.
//! - [`BucketPlan`] and [`Plan`] measure what is to be written, [`Plan::write`] writes it from front
//!   to back, so that a file of any size can be streamed while it is made.
//!
//! No tasks. What this crate deliberately leaves out: changing a file, buckets inside buckets.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod page;
mod plan;
mod read;
mod write;

pub use plan::{BucketPlan, Plan, PlanError};
pub use read::{BoltFile, ReadAt, ReadError};
pub use write::{WriteError, Writer};
