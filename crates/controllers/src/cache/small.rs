//! Kinds of which hardly more than existence is remembered.

use k8s_openapi::api::core::v1 as core;
use orlop_client::informer::Projection;

/// Index: objects by namespace.
pub const BY_NAMESPACE: usize = 0;

/// What is remembered of a Namespace.
#[derive(Debug, Clone)]
pub struct NamespaceView {
    /// metadata.deletionTimestamp is set.
    pub terminating: bool,
    /// spec.finalizers is empty.
    pub finalized: bool,
}

impl Projection for NamespaceView {
    type Object = core::Namespace;

    fn project(namespace: core::Namespace) -> Self {
        Self {
            terminating: namespace.metadata.deletion_timestamp.is_some(),
            finalized: namespace
                .spec
                .and_then(|spec| spec.finalizers)
                .is_none_or(|finalizers| finalizers.is_empty()),
        }
    }
}

/// A ServiceAccount called `default`: it exists.
#[derive(Debug, Clone)]
pub struct ServiceAccountView;

impl Projection for ServiceAccountView {
    type Object = core::ServiceAccount;

    fn project(_: core::ServiceAccount) -> Self {
        Self
    }
}

/// A ConfigMap called `kube-root-ca.crt`.
#[derive(Debug, Clone)]
pub struct RootCaView {
    /// Hash of the certificate and of the description, to see whether it was tampered with.
    pub fingerprint: u128,
}

impl RootCaView {
    /// The fingerprint of a ConfigMap with exactly that certificate and description.
    pub fn fingerprint(certificate: &str, description: &str) -> u128 {
        let mut hash = orlop_api::fnv::Fnv128::new();
        hash.write(certificate.as_bytes());
        hash.write(&[0]);
        hash.write(description.as_bytes());
        hash.finish()
    }
}

impl Projection for RootCaView {
    type Object = core::ConfigMap;

    fn project(map: core::ConfigMap) -> Self {
        let data = map.data.unwrap_or_default();
        let annotations = map.metadata.annotations.unwrap_or_default();
        let text = |value: Option<&String>| value.cloned().unwrap_or_default();
        // Other keys count as tampering: an extra one makes the certificate unequal.
        let certificate = if data.len() == 1 {
            text(data.get("ca.crt"))
        } else {
            String::new()
        };
        Self {
            fingerprint: Self::fingerprint(&certificate, &text(annotations.get("kubernetes.io/description"))),
        }
    }
}
