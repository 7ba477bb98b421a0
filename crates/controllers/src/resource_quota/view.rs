//! What is remembered of a quota.

use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaSpec};
use orlop_client::informer::{ObjectKey, Projection};

/// Index: quotas by namespace.
pub const BY_NAMESPACE: usize = 0;

/// A quota, without what it has been used for.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaView {
    /// What it bounds.
    pub spec: ResourceQuotaSpec,
    /// Whether it was counted since it became what it is.
    pub counted: bool,
}

impl QuotaView {
    /// The names of what it bounds.
    pub fn bounds(&self) -> impl Iterator<Item = &str> {
        self.spec.hard.iter().flatten().map(|(name, _)| name.as_str())
    }
}

impl Projection for QuotaView {
    type Object = ResourceQuota;
    const INDEXES: usize = 1;

    fn project(quota: ResourceQuota) -> Self {
        let spec = quota.spec.unwrap_or_default();
        let status = quota.status.unwrap_or_default();
        Self {
            counted: status.hard == spec.hard && status.used.is_some(),
            spec,
        }
    }

    fn index(&self, key: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        add(BY_NAMESPACE, &key.namespace);
    }
}
