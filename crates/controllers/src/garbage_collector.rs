//! Deletes objects whose owners are gone, and lets owners go that wait for their dependents
//! (contract §7).
//!
//! `watching` follows which kinds there are, and watches the metadata of each; `graph` remembers who depends on whom and says
//! what to look at; `controller` looks: always at the live object before it deletes.

mod controller;
mod graph;
mod verdict;
mod watching;

pub use controller::GarbageCollector;
