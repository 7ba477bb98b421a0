//! HorizontalPodAutoscalers: as many pods as what they use of cpu and memory, or what add-ons measure, asks for.
//!
//! `controller` listens and looks at each autoscaler four times a minute; `sync` takes one at a time, reads its target's
//! scale, its pods and what they use, and asks:
//!
//! | question | answered by |
//! |---|---|
//! | what each pod uses and requests, and which of them count | `pods`, `resource` |
//! | what add-ons measure in pods, in other objects and elsewhere | `addons` |
//! | how many pods that asks for | `proposal` |
//! | how fast and how far the number may move | `pace`, `history` |
//! | what its conditions say | `conditions` |

mod addons;
mod conditions;
mod controller;
mod history;
mod pace;
mod pods;
mod proposal;
mod resource;
mod source;
mod sync;
mod target;

pub use controller::{AutoscalerConfig, Autoscalers};
