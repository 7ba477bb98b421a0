//! The node agent: it keeps the pods of its manifests and of the API server running on one node, through a CRI runtime,
//! and tells what became of them.
//!
//! ```text
//!  manifests ── sources/file ─┐                                  ┌─ runtime/ ── CRI
//!                             ├─ pods/manager ── pods/worker ────┼─ volumes/, cgroups/, environment/
//!  API watch ── sources/api ──┘       ▲        (decide, act)     ├─ images/, probes/
//!  runtime events ── runtime/events ──┘                          └─ status/, mirror/ ── API
//! ```
//!
//! | long-lived task | listens to | emits |
//! |---|---|---|
//! | `sources::file` | inotify, a slow rescan as a safety net | snapshots of static pods, faults in manifests |
//! | `sources::http` | a URL, asked now and then | snapshots of static pods, faults in the answers |
//! | `sources::api` | watch of this node's pods | snapshots of API pods and mirrors |
//! | `runtime::events` | the runtime's events | which pod changed |
//! | `pods::manager` | all of the above, workers' ends | workers, and mail for them |
//! | `pods::worker`, one a pod | its mailbox, timers | CRI calls, statuses on the board |
//! | `status::publisher` | the board | mirrors, statuses and deletions in the API, off everybody's way |
//! | `surroundings` | changes of objects that volumes show, times of tokens | tasks, one a pod, that write volumes anew and wake workers |
//! | `probes`, one a container and probe | its period | verdicts in workers' mailboxes, events |
//! | `upkeep` | clocks: logs, images, what the node has left | rotated logs, removed images, orders to stop pods |
//! | `certificates` | clocks, files, certificate requests | certificates, and the client that goes with them |
//! | `node` | runtime, machine, the own Node | Node object, lease |
//! | `shutdown` | systemd's login manager | orders to stop pods, a machine that waits for them |
//! | `devices`, one a plugin | plugins on the node | counts in the Node's status, devices for containers |
//! | `plugins` | sockets that appear in a directory | plugins that were asked and told |
//! | `pod_resources` | a local socket | what containers of the node were given |
//! | `pods_api` | a local socket, if it is asked for | the node's pods, and what becomes of them |
//! | `server` | HTTPS 10250, HTTP 10248 | answers from snapshots |
//!
//! It remembers nothing that the runtime, the manifests or the API server could not tell it again: after `kill -9` it
//! finds its containers by their labels. It never waits for the API server before running a static pod.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod agent;
mod beat;
mod bus;
pub mod certificates;
pub mod cgroups;
pub mod config;
mod devices;
mod dial;
pub mod environment;
mod grpc;
mod grpc_client;
mod images;
mod in_time;
pub mod metrics;
mod mirror;
pub mod node;
mod plugins;
mod pod_resources;
pub mod pods;
mod pods_api;
pub mod probes;
mod probes_view;
mod run;
pub mod runtime;
pub mod server;
mod shutdown;
pub mod sources;
pub mod stats;
mod status;
mod surroundings;
#[cfg(test)]
mod testing;
mod tokens;
pub mod upkeep;
pub mod volumes;
mod whole;

pub use agent::{Config, KubeletError, Shared, directories, run_with};
pub use images::{ProviderError, Providers};
pub use probes_view::{ProbeKind, ProbeNews, ProbeView};
pub use run::{RunError, run};
