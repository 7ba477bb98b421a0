//! Deletes objects whose owners are gone, and lets owners go that wait for their dependents
//! (contract §7).
//!
//! `watching` follows which kinds there are, and watches the metadata of each; `graph` remembers who depends on whom (and
//! which owners are there: `alive`; what became of some lately: `recent`) and says what to look at; `controller` looks: always at the live object before it deletes;
//! `write` changes references and finalizers.

mod alive;
mod controller;
mod graph;
mod recent;
mod verdict;
mod watching;
mod write;

pub use controller::GarbageCollector;
