//! Whether a node's Lease says that it lives though no watch has shown that yet.

use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::ListParams;
use orlop_client::informer::{Lean, ObjectKey, Projection};
use tokio::time::Instant;

use super::NodeLifecycle;
use crate::cache::{Cache, LeaseView, NODE_LEASES};

impl NodeLifecycle {
    /// Whether the server has a renewal that the watch of Leases is behind of: then that is late, and the node is well.
    pub(super) async fn is_renewed(&self, cache: &Cache, name: &Arc<str>) -> bool {
        let api: Api<Lease> = Api::namespaced(self.reader.clone(), NODE_LEASES);
        // Controllers may list everything, and get little.
        let only_its = ListParams::default().fields(&format!("metadata.name={name}"));
        // Without an answer it stays with what was shown.
        let found = api.list(&only_its).await.ok();
        let Some(lease) = found.and_then(|found| found.items.into_iter().next()) else {
            return false;
        };
        let renewed = LeaseView::project(Lean(lease)).renewed;
        let key = ObjectKey::new(NODE_LEASES, name.clone());
        let shown = cache.leases.store().get(&key).and_then(|lease| lease.renewed);
        if renewed <= shown {
            return false;
        }
        let mut state = self.state();
        let Some(health) = state.health.get_mut(name) else {
            return false;
        };
        let now = Instant::now();
        health.lease_seen(renewed, now);
        health.expires(self.grace) > now
    }
}
