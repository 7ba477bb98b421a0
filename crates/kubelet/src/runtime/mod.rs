//! The runtime's side of pods: what it is asked for (pure builders), what it has (readings), and what of it goes.
pub mod apparmor;
pub mod container;
pub mod events;
pub mod gc;
pub mod hash;
pub mod links;
pub mod read;
pub mod sandbox;
pub mod seen;
