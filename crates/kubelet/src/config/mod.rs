//! The agent's configuration: KubeletConfiguration v1beta1.
//!
//! | file | job |
//! |---|---|
//! | `types` | its fields and their defaults |
//! | `access` | those of who may ask the server |
//! | `go_duration` | the notation of durations |
//! | `load` | files, drop-ins and flags become one document |
//! | `decode` | the document becomes a configuration |
//! | `dead_containers` | what is kept of ended containers, which only flags say |
//! | `validate` | what is refused |
//! | `configz` | what `/configz` shows |
mod access;
mod configz;
mod dead_containers;
mod decode;
mod go_duration;
mod load;
mod types;
mod validate;

pub use access::{
    Anonymous, Authentication, Authorization, WebhookAuthentication, WebhookAuthorization, X509,
};
pub use configz::configz;
pub use dead_containers::DeadContainers;
pub use go_duration::GoDuration;
pub use load::{ConfigError, Loaded, load, load_with, of_document};
pub use types::*;
