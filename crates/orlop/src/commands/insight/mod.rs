//! `orlop why` and `orlop plan`: what the controllers and the scheduler decide, for a person.
mod cluster;
mod plan;
mod why;

pub use plan::plan;
pub use why::why;
