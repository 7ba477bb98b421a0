//! HorizontalPodAutoscalers: as many pods as what they use of cpu and memory asks for.
//!
//! `controller` listens and looks at each autoscaler four times a minute; `sync` takes one at a time, reads its target's
//! scale, its pods and what they use, and asks:
//!
//! | question | answered by |
//! |---|---|
//! | what each pod uses and requests, and which of them count | `pods` |
//! | how many pods that asks for | `proposal` |
//! | how fast and how far the number may move | `pace`, `history` |
//! | what its conditions say | `conditions` |
//!
//! Metrics of other kinds than Resource and ContainerResource come from add-ons, which aren't asked: such a metric
//! counts as one that can't be read.

mod conditions;
mod controller;
mod history;
mod pace;
mod pods;
mod proposal;
mod sync;
mod target;

pub use controller::{AutoscalerConfig, Autoscalers};
