//! Empties namespaces that are being deleted, pods first, then lets them go (contract §7). What lingers is watched.

mod conditions;
mod controller;
mod lingering;
mod pace;

pub use controller::Namespaces;
