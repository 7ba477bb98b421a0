//! The one way Orlop's parts talk to an API server, over HTTPS or inside the process, and the
//! machinery every controller is made of. Nothing here knows which of the two transports it has.
//!
//! # Map
//! - [`connect`] / [`connect_to`] / [`in_process`]: a [`kube::Client`] from a kubeconfig, from what else tells of a server,
//!   or from a tower service; `transport`: connections that notice when their server is gone.
//! - [`Replaceable`]: a client whose certificate is renewed while it is used.
//! - [`TokenAccounts`]: clients that are service accounts; [`routed`]: a client that is another one with each request.
//! - [`Measure`]: a layer that counts calls, for those metrics that every part has.
//! - [`informer`]: one list+watch a kind into an indexed store of trimmed projections. Its task reads
//!   the watch and calls the registered handlers, which only enqueue keys.
//! - [`workqueue`]: what handlers enqueue into and workers take from: deduplicated, delayed, backed off.
//! - [`events`]: [`events::Recorder`] is the handle; its task reads a bounded queue, folds repeats
//!   and writes Event objects.
//! - [`Followed`]: files that are replaced while they are used, each known by its [`orlop_pki::FileVersion`];
//!   [`kubeconfig`]: what such a file says of who reads it.
//! - [`message`]: what an API server said, for those who read it; [`is_transient`]: whether asking again may help.
//! - [`leader`]: a Lease decides which of several copies acts.
//!
//! # What it doesn't do
//! It keeps no full objects, it retries no writes (callers requeue), and it holds no global state.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accounts;
mod connect;
pub mod events;
mod followed;
pub mod informer;
pub mod kubeconfig;
pub mod leader;
mod measure;
mod message;
mod readiness;
mod replaceable;
mod routed;
mod transport;
pub mod workqueue;

pub use accounts::TokenAccounts;
pub use connect::{
    ConnectError, connect, connect_as, connect_bare, connect_measured, connect_to, in_process,
};
pub use followed::Followed;
pub use measure::{Measure, Measured};
pub use message::{is_transient, is_unserved, message};
pub use readiness::Readiness;
pub use replaceable::Replaceable;
pub use routed::routed;
