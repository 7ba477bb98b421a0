//! What the rest of the agent may know of its pods: snapshots, through a handle that never waits for a worker.
use crate::sources::Source;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use orlop_api::pod::{name, namespace};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// A pod this node is to run: never a mirror.
#[derive(Clone, Debug)]
pub struct PodRecord {
    /// The pod, with the status the agent last computed.
    pub pod: Arc<Pod>,
    /// The identity of the pod on the node (for a static pod not that of its mirror).
    pub uid: String,
    /// Where it came from.
    pub source: Source,
}

#[derive(Debug, Default)]
struct Table {
    pods: BTreeMap<String, Arc<PodRecord>>,
    /// Mirror UID → UID of the static pod.
    mirrors: BTreeMap<String, String>,
}

/// A clonable view of the pods on this node.
#[derive(Clone, Debug, Default)]
pub struct PodsHandle(Arc<RwLock<Table>>, Arc<Notify>, Arc<watch::Sender<()>>);

impl PodsHandle {
    /// All pods that are wanted on this node, in order of UID. A pod whose manifest is gone is not among them, even
    /// while it is being stopped.
    pub fn list(&self) -> Vec<Arc<PodRecord>> {
        self.0.read().pods.values().cloned().collect()
    }

    /// A pod by name. Static pods have their mirror's name, so this finds them under it too.
    pub fn by_name(&self, wanted_namespace: &str, wanted_name: &str) -> Option<Arc<PodRecord>> {
        let table = self.0.read();
        let mut records = table.pods.values();
        records
            .find(|record| namespace(&record.pod) == wanted_namespace && name(&record.pod) == wanted_name)
            .cloned()
    }

    /// A pod by UID; a mirror's UID stands for its static pod.
    pub fn by_uid(&self, uid: &str) -> Option<Arc<PodRecord>> {
        let table = self.0.read();
        let uid = table.mirrors.get(uid).map_or(uid, String::as_str);
        table.pods.get(uid).cloned()
    }

    /// Puts a pod in, or replaces it.
    pub fn put(&self, pod: Arc<Pod>, source: Source) {
        let uid = orlop_api::pod::uid(&pod).to_owned();
        let record = PodRecord {
            pod,
            uid: uid.clone(),
            source,
        };
        self.0.write().pods.insert(uid, Arc::new(record));
        self.2.send_replace(());
    }

    /// Notes a new version of a pod; the status stays the agent's own.
    pub fn update(&self, pod: Arc<Pod>) {
        let mut table = self.0.write();
        let Some(record) = table.pods.get_mut(orlop_api::pod::uid(&pod)) else {
            return;
        };
        let mut pod = Pod::clone(&pod);
        pod.status = record.pod.status.clone();
        *record = Arc::new(PodRecord {
            pod: Arc::new(pod),
            uid: record.uid.clone(),
            source: record.source,
        });
        self.2.send_replace(());
    }

    /// Notes a new status of a pod that is still wanted.
    pub fn set_status(&self, uid: &str, status: &PodStatus) {
        let mut table = self.0.write();
        let Some(record) = table.pods.get_mut(uid) else {
            return;
        };
        self.1.notify_one();
        let mut pod = Pod::clone(&record.pod);
        pod.status = Some(status.clone());
        *record = Arc::new(PodRecord {
            pod: Arc::new(pod),
            uid: record.uid.clone(),
            source: record.source,
        });
        self.2.send_replace(());
    }

    /// How many mirrors are known.
    pub fn mirrors(&self) -> usize {
        self.0.read().mirrors.len()
    }

    /// Told of every change of what [`Self::list`] gives.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.2.subscribe()
    }

    /// Waits for the next new status. One waits at a time.
    pub(super) async fn new_status(&self) {
        self.1.notified().await;
    }

    /// Takes a pod out.
    pub fn remove(&self, uid: &str) {
        self.0.write().pods.remove(uid);
        self.2.send_replace(());
    }

    /// Replaces what is known of mirrors: pairs of mirror UID and static UID.
    pub fn set_mirrors(&self, mirrors: impl IntoIterator<Item = (String, String)>) {
        self.0.write().mirrors = mirrors.into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> Arc<Pod> {
        let object = serde_json::json!({"metadata": {"name": "web-n1", "namespace": "shop", "uid": uid}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a43_static_pod_is_found_under_its_mirrors_uid_and_name() {
        let pods = PodsHandle::default();
        pods.put(pod("static"), Source::File);
        pods.set_mirrors([("mirror".to_owned(), "static".to_owned())]);
        assert_eq!(pods.by_uid("mirror").unwrap().uid, "static");
        assert_eq!(pods.by_name("shop", "web-n1").unwrap().uid, "static");
        assert!(pods.by_name("default", "web-n1").is_none());
    }

    #[test]
    fn a65_removed_pod_leaves_the_list_at_once_and_takes_no_more_status() {
        let pods = PodsHandle::default();
        pods.put(pod("1"), Source::File);
        pods.remove("1");
        pods.set_status("1", &PodStatus::default());
        assert!(pods.list().is_empty());
    }
}
