//! Everything between Orlop and the container runtime: the CRI client, runtime events, images without a registry, and
//! a containerd that Orlop writes the configuration of, starts and supervises.
//!
//! | part | job |
//! |---|---|
//! | [`RuntimeService`] | the calls the node agent makes; a trait, so that a hollow node is another implementation |
//! | [`Remote`] | `RuntimeService` over a unix socket, with a deadline for every call |
//! | [`events`] | what happens to containers, and which images come, told as it happens |
//! | [`images`] | archives into containerd; a watched directory of archives |
//! | [`pause`] | the sandbox image, from our own program, inside the binary |
//! | [`containerd`] | the managed containerd: configuration, start, adoption, supervision, stop |
//! | [`cni`] | a bridge network when the node has none |
//! | [`remove_lost_sandboxes`] | what a killed agent left half made, and CRI cannot see |
//! | [`sweep`] | stopping and removing all pods of a runtime |
//!
//! Long-lived tasks, each ended by dropping its stream or by a `CancellationToken`:
//!
//! | task | listens to | emits |
//! |---|---|---|
//! | [`events::subscribe`] | containerd's event service, else CRI `GetContainerEvents` | [`events::Notice`] on a bounded channel |
//! | [`images::Directory::watch`] | inotify on the images directory | imported images, log lines |
//! | [`containerd::Managed::supervise`] | containerd's process (pidfd) | a restarted containerd |
//!
//! It knows nothing of pods' meaning, of the API server or of the node agent. It keeps no list of containers: the
//! runtime is the truth about them.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cni;
pub mod containerd;
mod endpoint;
mod error;
pub mod events;
pub mod images;
mod lost;
pub mod pause;
mod remote;
mod runtime;
pub mod sweep;

/// CRI v1 messages.
pub use k8s_cri::v1;
/// gRPC status codes, as in [`CriError::code`].
pub use tonic::Code;

pub use endpoint::Endpoint;
pub use error::{ConnectError, CriError};
pub use lost::remove_lost_sandboxes;
pub use remote::Remote;
pub use runtime::{Beyond, ExecOutcome, RuntimeService};
