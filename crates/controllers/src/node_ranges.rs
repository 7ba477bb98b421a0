//! Gives every node its range of pod addresses, out of that of the cluster.

mod controller;
mod plan;

pub use controller::NodeRanges;
pub use plan::{ClusterRange, NodeBits, RangeError};
