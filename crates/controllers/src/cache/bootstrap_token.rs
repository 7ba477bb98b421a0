//! The Secrets by which new nodes join, and what they find out by them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use orlop_client::informer::Projection;

/// What is remembered of a bootstrap token.
#[derive(Debug, Clone)]
pub struct BootstrapTokenView {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// When it ends; one that can't be read has come. `None` if never.
    pub expires: Option<Timestamp>,
    /// Whether what the cluster says of itself is signed with it.
    pub signs: bool,
}

impl Projection for BootstrapTokenView {
    type Object = core::Secret;

    fn project(secret: core::Secret) -> Self {
        let data = secret.data.unwrap_or_default();
        let text = |key: &str| {
            let bytes = data.get(key).map(|value| value.0.clone()).unwrap_or_default();
            String::from_utf8(bytes).unwrap_or_default()
        };
        let expiration = text("expiration");
        Self {
            id: text("token-id"),
            secret: text("token-secret"),
            expires: (!expiration.is_empty()).then(|| expiration.parse().unwrap_or(Timestamp::UNIX_EPOCH)),
            signs: text("usage-bootstrap-signing") == "true",
        }
    }
}

/// What is remembered of the ConfigMap that tells new nodes about the cluster.
#[derive(Debug, Clone)]
pub struct ClusterInfoView {
    /// Its data.
    pub data: BTreeMap<String, String>,
}

impl Projection for ClusterInfoView {
    type Object = core::ConfigMap;

    fn project(map: core::ConfigMap) -> Self {
        Self {
            data: map.data.unwrap_or_default(),
        }
    }
}
