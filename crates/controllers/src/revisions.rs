//! The history of DaemonSets and StatefulSets: their templates of before, as ControllerRevisions.
//!
//! `bytes` says what a revision stores and what it is called, `history` which is current and which
//! go, `keeper` carries it out.

pub mod bytes;
mod history;
mod keeper;

pub use history::History;
pub use keeper::{Given, HashLabel, Keeper, RevisionError, hash_of};
