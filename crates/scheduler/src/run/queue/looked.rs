//! What has happened since the cluster was looked at for a pod.

use orlop_client::informer::ObjectKey;

/// For one pod.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) pod: ObjectKey,
    /// Something that may help it.
    pub(super) happened: bool,
    /// Something to other pods: that it minds them may be found only now.
    pub(super) happened_to_pods: bool,
}

impl Looked {
    /// Nothing has happened yet.
    pub(super) fn now(pod: &ObjectKey) -> Self {
        Self {
            pod: pod.clone(),
            happened: false,
            happened_to_pods: false,
        }
    }
}
