//! What changed between two snapshots of a source, by UID (contract, static pods §2.7).
use k8s_openapi::api::core::v1::Pod;
use orlop_api::annotations::{CONFIG_MIRROR, CONFIG_SEEN, CONFIG_SOURCE};
use orlop_api::pod::uid;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Add(Arc<Pod>),
    /// Spec, labels, annotations or deletion fields differ.
    Update(Arc<Pod>),
    /// Only the status differs: somebody wrote it in the API.
    Reconcile(Arc<Pod>),
    Remove(Arc<Pod>),
}

/// The changes from `before` to `now`: removals, additions, then the rest.
pub fn changes(before: &HashMap<String, Arc<Pod>>, now: &[Arc<Pod>]) -> Vec<Change> {
    let mut changes: Vec<Change> = before
        .values()
        .filter(|old| !now.iter().any(|new| uid(new) == uid(old)))
        .cloned()
        .map(Change::Remove)
        .collect();
    let mut added: Vec<&Arc<Pod>> = now.iter().filter(|new| !before.contains_key(uid(new))).collect();
    added.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    changes.extend(added.into_iter().cloned().map(Change::Add));
    for new in now {
        let Some(old) = before.get(uid(new)) else { continue };
        if means_the_same(old, new) {
            if old.status != new.status || old.metadata.resource_version != new.metadata.resource_version {
                changes.push(Change::Reconcile(new.clone()));
            }
        } else {
            changes.push(Change::Update(new.clone()));
        }
    }
    changes
}

/// Whether two versions of a pod ask for the same.
pub fn means_the_same(a: &Pod, b: &Pod) -> bool {
    a.spec == b.spec
        && a.metadata.labels == b.metadata.labels
        && without_local(&a.metadata.annotations) == without_local(&b.metadata.annotations)
        && a.metadata.deletion_timestamp == b.metadata.deletion_timestamp
        && a.metadata.deletion_grace_period_seconds == b.metadata.deletion_grace_period_seconds
}

/// Annotations that the agent itself puts on are no change.
fn without_local(annotations: &Option<BTreeMap<String, String>>) -> BTreeMap<&str, &str> {
    annotations
        .iter()
        .flatten()
        .filter(|(key, _)| ![CONFIG_SOURCE, CONFIG_SEEN, CONFIG_MIRROR].contains(&key.as_str()))
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, image: &str) -> Arc<Pod> {
        let object = serde_json::json!({
            "metadata": {"name": "p", "namespace": "d", "uid": uid},
            "spec": {"containers": [{"name": "c", "image": image}]},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn table(pods: &[Arc<Pod>]) -> HashMap<String, Arc<Pod>> {
        pods.iter()
            .map(|pod| (uid(pod).to_owned(), pod.clone()))
            .collect()
    }

    #[test]
    fn removals_come_before_additions() {
        let (old, new) = (pod("1", "a"), pod("2", "a"));
        let found = changes(&table(std::slice::from_ref(&old)), std::slice::from_ref(&new));
        assert_eq!(found, [Change::Remove(old), Change::Add(new)]);
    }

    #[test]
    fn a04_annotations_of_the_agent_are_no_change() {
        let old = pod("1", "a");
        let mut new = Pod::clone(&old);
        new.metadata.annotations = Some([(CONFIG_SEEN.to_owned(), "later".to_owned())].into());
        assert_eq!(changes(&table(&[old]), &[Arc::new(new)]), []);
    }

    #[test]
    fn another_image_under_one_uid_is_an_update() {
        let new = pod("1", "b");
        assert_eq!(
            changes(&table(&[pod("1", "a")]), std::slice::from_ref(&new)),
            [Change::Update(new)]
        );
    }

    #[test]
    fn foreign_status_is_reconciled() {
        let old = pod("1", "a");
        let mut new = Pod::clone(&old);
        new.status = serde_json::from_value(serde_json::json!({"phase": "Failed"})).unwrap();
        let new = Arc::new(new);
        assert_eq!(
            changes(&table(&[old]), std::slice::from_ref(&new)),
            [Change::Reconcile(new)]
        );
    }
}
