//! What all controllers with pods of their own share.
//!
//! | question | answered by |
//! |---|---|
//! | what belongs to an owner, what it takes on and lets go | `claim`, carried out by `adopt` |
//! | which own writes the cache hasn't shown yet | `awaited` (pods), `own_writes` (the owner itself) |
//! | which owners a pod's change concerns | `triggers` |
//! | how pods come and go, with limits and events | `pods`, `slow_start` |
//! | which pods go first | `rank` |
//! | how a status is written | `status` |

mod adopt;
mod awaited;
mod claim;
mod own_writes;
mod pods;
pub(crate) mod rank;
mod slow_start;
pub(crate) mod status;
#[cfg(test)]
pub(crate) mod testing;
mod triggers;

pub use adopt::{ClaimError, Claimant, claim};
pub use awaited::Awaited;
pub use claim::{Claim, Owner};
pub use own_writes::{BEHIND_RETRY, OwnWrites};
pub use pods::{OwnedPods, Written, from_template, is_active};
pub use slow_start::slow_start;
pub use triggers::{OwnerView, PodTriggers};
