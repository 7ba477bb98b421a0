//! The targets; see `targets`.
pub mod targets;
