//! Deletes objects whose owners are gone, and lets owners go that wait for their dependents
//! (contract §7).
//!
//! `graph` remembers who depends on whom and says what to look at; `controller` feeds it from the
//! metadata of every kind and looks: always at the live object before it deletes.

mod controller;
mod graph;
mod verdict;

pub use controller::GarbageCollector;
