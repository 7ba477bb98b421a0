//! Where desired pods come from: files and the API server. Each source is a task that sends whole snapshots; what
//! changed is found by [`merge`].
pub mod api;
pub mod file;
pub mod merge;

use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

/// One of the places pods come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A manifest on disk.
    File,
    /// The API server.
    Api,
}

impl Source {
    /// The value of the annotation `kubernetes.io/config.source`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => orlop_api::annotations::SOURCE_FILE,
            Self::Api => orlop_api::annotations::SOURCE_API,
        }
    }
}

/// Everything a source wants to run, as of now.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Whose it is.
    pub source: Source,
    /// Real pods and, from the API, mirrors.
    pub pods: Vec<Arc<Pod>>,
}

/// Snapshots that may wait for the pod manager: it never waits for anything, so a few are plenty.
pub const SNAPSHOTS_WAITING_MAX: usize = 16;

/// The value of `kubernetes.io/config.seen` for a pod seen now.
fn seen_now() -> String {
    jiff::Zoned::now()
        .strftime("%Y-%m-%dT%H:%M:%S.%9f%:z")
        .to_string()
}
