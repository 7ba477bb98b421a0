//! What the `/metrics` of all parts have in common: what the process costs ([`process`]), the version and the tasks
//! ([`runtime`]), what every client of the API server counts ([`CallMetrics`],
//! [`PartMetrics`]), how health checks went ([`CheckMetrics`]),
//! and the text form whose samples can carry their time ([`text`]). Families and histograms are prometheus-client's.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod calls;
mod checks;
pub mod exposition;
mod part;
pub mod process;
pub mod runtime;
pub mod text;

pub use calls::CallMetrics;
pub use checks::CheckMetrics;
pub use part::{PartMetrics, QueueMetrics};

/// What prometheus-client writes.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
