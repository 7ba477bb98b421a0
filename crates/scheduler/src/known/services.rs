//! What is remembered of Services: which pods are theirs.

use k8s_openapi::api::core::v1 as core;
use orlop_api::selector::have_all;
use orlop_client::informer::{ObjectKey, Projection};

use super::traits::Labels;

/// What is remembered of a Service.
#[derive(Debug)]
pub struct ServiceView {
    /// spec.selector.
    pub selector: Labels,
}

/// Index of Services by namespace.
pub const BY_NAMESPACE: usize = 0;

impl ServiceView {
    /// Whether a pod with these labels is its; one without a selector has none.
    pub fn selects(&self, labels: &Labels) -> bool {
        !self.selector.is_empty() && have_all(labels, &self.selector)
    }
}

impl Projection for ServiceView {
    type Object = core::Service;
    const INDEXES: usize = 1;

    fn project(service: core::Service) -> Self {
        let selector = service.spec.and_then(|spec| spec.selector);
        Self {
            selector: selector.unwrap_or_default(),
        }
    }

    fn index(&self, key: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        add(BY_NAMESPACE, &key.namespace);
    }
}
