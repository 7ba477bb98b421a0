//! Deletes pods from nodes with a NoExecute taint they don't tolerate, at once or when their
//! tolerationSeconds are over (contract §5.5).

mod controller;
mod tolerance;

pub use controller::TaintEviction;
