//! The node's own object: registration, status and lease.
use k8s_openapi::api::core::v1::Node;
use std::sync::Arc;
use tokio::sync::watch;

/// The own Node object as last seen; `None` until it is known (always, without an API server).
pub type Snapshot = watch::Receiver<Option<Arc<Node>>>;
