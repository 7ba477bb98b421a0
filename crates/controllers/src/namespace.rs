//! Empties namespaces that are being deleted, pods first, then lets them go (contract §7).

mod conditions;
mod controller;
mod pace;

pub use controller::Namespaces;
