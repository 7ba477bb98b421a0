//! The nodes as an extender gets them that doesn't know them: whole, kept up by one watch and read by nobody else.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher;
use kube::{Api, Client};
use orlop_client::informer::{Informer, Lean, ObjectKey, Projection};
use serde_json::Value;

/// The longest that the first list may take.
const PATIENCE: Duration = Duration::from_secs(30);

struct Whole(Value);

impl Projection for Whole {
    type Object = Lean<Node>;

    fn project(Lean(node): Lean<Node>) -> Self {
        Self(serde_json::to_value(node).unwrap_or_default())
    }
}

/// All nodes of the cluster.
#[derive(Clone)]
pub struct Nodes(Arc<Informer<Whole>>);

impl Nodes {
    pub fn new() -> Self {
        Self(Arc::new(Informer::new()))
    }

    /// Keeps them up for as long as it is polled.
    pub async fn run(self, client: Client) {
        self.0.run(Api::all(client), watcher::Config::default()).await;
    }

    /// Those of the names that are there.
    ///
    /// # Errors
    /// They can't be read yet.
    pub async fn named(&self, names: &[Arc<str>]) -> Result<Vec<Value>, String> {
        let synced = tokio::time::timeout(PATIENCE, self.0.synced()).await;
        synced.map_err(|_| format!("the nodes cannot be read: no answer within {PATIENCE:?}"))?;
        let store = self.0.store();
        let node = |name: &Arc<str>| {
            let node = store.get(&ObjectKey::new("", name.clone()))?;
            Some(node.object.0.clone())
        };
        Ok(names.iter().filter_map(node).collect())
    }
}
