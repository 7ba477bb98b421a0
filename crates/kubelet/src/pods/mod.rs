//! Pods on this node: who is known, one worker each, and what the workers decide.
mod handle;

pub use handle::{PodRecord, PodsHandle};
