//! What the `/metrics` of all parts have in common: what the process costs ([`process`]), and the text form whose samples
//! can carry their time ([`text`]). Families and histograms are prometheus-client's.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod process;
pub mod text;

/// What prometheus-client writes.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
