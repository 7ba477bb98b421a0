//! Where desired pods come from: files, a URL and the API server. Each source is a task that sends whole snapshots; what
//! changed is found by [`merge`].
pub mod api;
pub mod check;
pub mod fault;
pub mod file;
pub mod http;
pub mod merge;
pub mod order;
pub mod placeholder;
pub mod report;

use k8s_openapi::api::core::v1::Pod;
use orlop_api::annotations::{CONFIG_SEEN, CONFIG_SOURCE};
use std::sync::Arc;

/// One of the places pods come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A manifest on disk.
    File,
    /// A manifest behind a URL.
    Http,
    /// The API server.
    Api,
}

impl Source {
    /// The value of the annotation `kubernetes.io/config.source`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => orlop_api::annotations::SOURCE_FILE,
            Self::Http => orlop_api::annotations::SOURCE_HTTP,
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

/// A pod of a manifest, with where it came from and that it was seen now.
fn received(mut pod: Pod, source: Source) -> Pod {
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(CONFIG_SOURCE.to_owned(), source.as_str().to_owned());
    annotations.insert(CONFIG_SEEN.to_owned(), seen_now());
    pod
}

/// The value of `kubernetes.io/config.seen` for a pod seen now.
fn seen_now() -> String {
    jiff::Zoned::now()
        .strftime("%Y-%m-%dT%H:%M:%S.%9f%:z")
        .to_string()
}
