//! Removes pods that nobody else will: of nodes that are gone, never bound and terminating, and
//! finished ones when there are too many (contract §5.7).

mod controller;
mod plan;

pub use controller::PodGc;
