//! New nodes stay tainted until the pods of those DaemonSets are Ready there that ask for it (annotation
//! `orlop.dev/node-gate`). Without such DaemonSets it does nothing.

mod controller;
mod plan;

pub use controller::NodeGates;
