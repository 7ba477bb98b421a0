//! Server-side apply: who owns which field of an object, and what an applied configuration makes of it
//! (contract api-server §9.5).
//!
//! | file | does |
//! |---|---|
//! | `set` | a set of fields, as `fieldsV1` writes it |
//! | `form` | how a value of a type divides into fields |
//! | `members` | the fields of a value; what a configuration may not hold |
//! | `alike` | whether two objects hold the same fields |
//! | `compare` | the fields that differ between two values |
//! | `merge` | a configuration laid over an object; fields taken out of one |
//! | `last_applied` | what kubectl applied before it applied here |
//! | `managed` | `metadata.managedFields` |
//! | `ownership` | the rules: what an update takes over, what an apply merges, drops and refuses |
//! | `renew` | the update that changes nothing but a time |
//!
//! All of it is a function of its arguments: the time is one of them.
mod alike;
mod compare;
mod form;
mod last_applied;
mod managed;
mod members;
mod merge;
mod ownership;
mod renew;
mod set;
#[cfg(test)]
mod tests;

pub use alike::alike;
pub use form::Type;
pub use last_applied::{KUBECTL, renew as renew_last_applied};
pub use managed::{Entry, Managed, Operation};
pub use ownership::{Applied, Conflict, Present, Refused, Writer, apply, update, update_list};
pub use set::FieldSet;
