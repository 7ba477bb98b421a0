//! Tells the API server what became of pods: statuses, mirrors and the last step of deletions.
//!
//! Workers and the manager write to the [`Board`]; the publisher's tasks bring the API server to what is on it, one
//! full name at a time, level-triggered: what fails is tried again with whatever is true then.
mod board;
mod lasting;
mod patch;
mod publisher;

pub use board::Board;
#[cfg(test)]
pub use board::Local;
pub use publisher::{Teller, run};
