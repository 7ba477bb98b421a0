//! Keeps a node's taints equal to its conditions, and gives nodes up that fell silent
//! (contract §5.4).
//!
//! | question | answered by |
//! |---|---|
//! | which taints should it carry | `taints` |
//! | how far may whole zones be given up | `zones` |
//! | has it fallen silent, and what do its conditions say then | `health` |
//! | which pods are no longer ready because their node isn't | `pods` |
//!
//! `controller` listens, sleeps until the next node could expire, and writes.

mod controller;
mod health;
mod pods;
mod taints;
mod zones;

pub use controller::{NodeLifecycle, NodeLifecycleConfig};
pub use health::Grace;
pub use zones::Pace;
