//! How many pods may be taken away now: the status of PodDisruptionBudgets, which evictions use up.
//!
//! `controller` listens, `scale` finds out how many pods there should be, `plan` does the sums.

mod controller;
mod plan;
mod scale;

pub use controller::DisruptionBudgets;
