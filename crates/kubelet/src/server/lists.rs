//! What the agent tells of its pods, as lists. No I/O.
use crate::pods::PodRecord;
use crate::runtime::seen::labels::{CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID};
use orlop_cri::v1::{Container, ContainerState};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

fn list(items: Vec<Value>) -> Value {
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
}

/// What this node is to run, with the status the agent last made.
pub fn pods(records: &[Arc<PodRecord>]) -> Value {
    // A Pod is strings, numbers and maps: it always has a JSON form.
    list(
        records
            .iter()
            .filter_map(|record| serde_json::to_value(&*record.pod).ok())
            .map(without_type)
            .collect(),
    )
}

/// Items of a list don't carry their type.
fn without_type(mut pod: Value) -> Value {
    if let Some(object) = pod.as_object_mut() {
        object.remove("kind");
        object.remove("apiVersion");
    }
    pod
}

/// What runs, as the runtime tells it.
pub fn running(containers: &[Container]) -> Value {
    let mut pods: BTreeMap<&str, (Value, Vec<Value>)> = BTreeMap::new();
    let runs = |container: &&Container| container.state == ContainerState::ContainerRunning as i32;
    for container in containers.iter().filter(runs) {
        let label = |key: &str| container.labels.get(key).map_or("", String::as_str);
        let (_, of_pod) = pods.entry(label(POD_UID)).or_insert_with(|| {
            let metadata =
                json!({"name": label(POD_NAME), "namespace": label(POD_NAMESPACE), "uid": label(POD_UID)});
            (metadata, Vec::new())
        });
        of_pod.push(json!({"name": label(CONTAINER_NAME), "image": container.image_ref, "resources": {}}));
    }
    let pod = |(metadata, containers)| json!({"metadata": metadata, "spec": {"containers": containers}, "status": {}});
    list(pods.into_values().map(pod).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::PodsHandle;
    use crate::sources::Source;

    fn records() -> Vec<Arc<PodRecord>> {
        let running = json!({"name": "c", "restartCount": 0, "image": "", "imageID": "", "ready": true,
            "state": {"running": {}}});
        let handle = PodsHandle::default();
        for (uid, source) in [("1", "file"), ("2", "api")] {
            let pod = json!({
                "metadata": {"name": format!("p{uid}"), "namespace": "shop", "uid": uid,
                    "annotations": {"kubernetes.io/config.source": source}},
                "spec": {"containers": [{"name": "c"}]},
                "status": {"phase": if uid == "1" { "Running" } else { "Pending" },
                    "containerStatuses": if uid == "1" { vec![running.clone()] } else { vec![] }},
            });
            handle.put(Arc::new(serde_json::from_value(pod).unwrap()), Source::File);
        }
        handle.list()
    }

    #[test]
    fn pod_list_has_kind_and_items_with_their_status() {
        let list = pods(&records());
        assert_eq!(
            (&list["kind"], &list["apiVersion"]),
            (&json!("PodList"), &json!("v1"))
        );
        assert_eq!(list["items"].as_array().unwrap().len(), 2);
        assert_eq!(list["items"][0]["metadata"]["name"], "p1");
        assert_eq!(list["items"][0]["status"]["phase"], "Running");
        assert!(list["items"][0].get("kind").is_none());
        assert_eq!(pods(&[])["items"], json!([]));
    }

    #[test]
    fn running_pods_group_running_containers() {
        let container = |pod: &str, name: &str, state: ContainerState| Container {
            state: state as i32,
            labels: [
                (POD_UID, pod),
                (POD_NAME, pod),
                (POD_NAMESPACE, "shop"),
                (CONTAINER_NAME, name),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
            ..Container::default()
        };
        let list = running(&[
            container("a", "x", ContainerState::ContainerRunning),
            container("b", "z", ContainerState::ContainerExited),
            container("a", "y", ContainerState::ContainerRunning),
        ]);
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0]["metadata"]["name"], "a");
        assert_eq!(items[0]["spec"]["containers"].as_array().unwrap().len(), 2);
    }
}
