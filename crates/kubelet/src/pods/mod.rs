//! Pods on this node: who is known, one worker each, and what the workers decide.
//!
//! [`decide`] says what a pod needs next (a [`plan`]), [`status`] what is to be told of it; both are pure. A [`worker`]
//! carries it out with the help of `start` and `stop`. The [`manager`] owns the workers.
mod addresses;
pub mod admission;
pub mod agent;
pub mod backoff;
pub mod decide;
mod ephemeral;
mod handle;
mod hooks;
pub mod mailbox;
pub mod manager;
mod orders;
pub mod owners;
pub mod plan;
mod preempt;
mod recursive;
pub mod repeated;
pub mod resize;
pub mod restart_all;
pub mod restart_policy;
mod start;
pub mod status;
mod stop;
pub mod surroundings;
mod sysctls;
pub mod turns;
pub mod users;
pub mod verdict;
pub mod worker;

pub use handle::{PodRecord, PodsHandle};
pub use orders::Orders;
#[cfg(test)]
pub use orders::{Order, Request};
pub use stop::grace_of;
