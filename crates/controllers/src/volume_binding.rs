//! Gives claims their volumes.
//!
//! A volume is promised to a claim by its `claimRef`, by whoever chose it: `plan` for claims that are met at once, the
//! scheduler for those of a class that waits for the first consumer, a provisioner for volumes that it makes, or a
//! person. `views` is what is remembered of all. `controller` completes what was promised, on both sides, and says what became of volumes and claims.

mod controller;
mod plan;
mod views;

pub use controller::VolumeBinding;
