//! One pod on every node that should have one.
//!
//! `controller` listens to the informers and enqueues DaemonSets; `sync` takes one at a time,
//! snapshots what is known of it and asks the pure parts what to do:
//!
//! | question | answered by |
//! |---|---|
//! | which pods and revisions are ours | `owned` |
//! | on which nodes to create, which pods to delete | `manage` |
//! | which old pods may go for new ones now | `rolling` |
//! | what annotations ask for beyond upstream | `options` |
//! | which images are pulled first | `pre_pull` |
//! | which nodes are left out for a taint | `left_out` |
//! | which revision is current, what to prune | `crate::revisions` |
//! | what the status says | `status`, `conditions` |
//!
//! A change of one node or of one pod makes `nodes` look at that node alone, as long as the last
//! pass over all of them (`settled`) still holds; `dirty` remembers which nodes.
//!
//! It carries the answers out (`write`). It never binds pods: each is pinned to its node by
//! affinity and the scheduler does the rest.

mod backoff;
mod conditions;
mod controller;
mod dirty;
mod grouping;
pub mod insight;
mod left_out;
mod manage;
mod nodes;
mod options;
mod over_the_air;
mod pacing;
mod pre_pull;
mod revisions;
mod rolling;
mod settled;
mod status;
mod strategy;
mod sync;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod write;

pub use controller::DaemonSets;
pub use options::Options;
