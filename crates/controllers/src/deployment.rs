//! Old pods become new ones, ReplicaSet by ReplicaSet.
//!
//! `controller` listens and enqueues; `sync` takes one Deployment at a time, claims its ReplicaSets
//! and asks:
//!
//! | question | answered by |
//! |---|---|
//! | which set has the current template, what a new one looks like | `template` |
//! | what revision a set is, what its annotations say | `annotations` |
//! | how many pods each set may have now | `rolling`, `recreate`, `proportional` |
//! | what the status and its conditions say | `status`, `conditions` |
//! | which old sets are forgotten | `history` |
//! | which revision it goes back to, if an annotation asks for that | `rollback` |

mod annotations;
mod conditions;
mod controller;
mod history;
mod limits;
mod proportional;
mod rollback;
mod rolling;
mod status;
mod sync;
mod template;
#[cfg(test)]
mod testing;
mod write;

pub use controller::Deployments;
pub use limits::{Round, amount};
pub use template::template_print;
