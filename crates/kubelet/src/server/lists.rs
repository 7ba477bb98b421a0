//! What the agent tells of its pods, as lists. No I/O.
use crate::pods::PodRecord;
use crate::runtime::seen::labels::{CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID};
use crate::sources::report::{Report, Reports};
use k8s_openapi::api::core::v1::PodStatus;
use orlop_api::pod::{full_name, is_ready};
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

/// Every manifest, what became of it, and how its pod is doing.
pub fn status(
    node_name: &str,
    reports: &Reports,
    refused: &BTreeMap<String, String>,
    records: &[Arc<PodRecord>],
) -> Value {
    let manifest = |(manifest, report): (&String, &Report)| {
        let mut value = json!(report);
        value["manifest"] = json!(manifest);
        let is_meant = |record: &&Arc<PodRecord>| match &report.uid {
            Some(uid) => record.uid == *uid,
            // A URL may give several pods, whose names alone are told.
            None => report.pods.contains(&full_name(&record.pod)),
        };
        let of: Vec<&Arc<PodRecord>> = records.iter().filter(is_meant).collect();
        if let Some(reason) = report.pods.iter().find_map(|pod| refused.get(pod)) {
            value["mirrorRefused"] = json!(reason);
        }
        let statuses = of.iter().filter_map(|record| record.pod.status.as_ref());
        let statuses: Vec<&PodStatus> = statuses.collect();
        // Of several pods the one that isn't as it should be tells most.
        let is_running = |status: &&&PodStatus| status.phase.as_deref() == Some("Running");
        let told = statuses
            .iter()
            .find(|status| !is_running(status))
            .or(statuses.first());
        if let Some(status) = told {
            value["phase"] = json!(status.phase);
            value["ready"] = json!(of.iter().all(|record| is_ready(&record.pod)));
            value["restarts"] = json!(statuses.iter().map(|status| restarts(status)).sum::<i32>());
            if let Some((reason, message)) = statuses.iter().find_map(|status| why(status)) {
                value["reason"] = json!(reason);
                value["message"] = json!(message);
            }
        }
        value
    };
    let manifests: Vec<Value> = reports.iter().map(manifest).collect();
    json!({"node": node_name, "manifests": manifests})
}

fn restarts(status: &PodStatus) -> i32 {
    let statuses = status.container_statuses.iter().flatten();
    statuses.map(|container| container.restart_count).sum()
}

/// Why a pod isn't running: its own reason, or that of the first container that waits.
fn why(status: &PodStatus) -> Option<(String, String)> {
    if let Some(reason) = &status.reason {
        return Some((reason.clone(), status.message.clone().unwrap_or_default()));
    }
    let init = status.init_container_statuses.iter().flatten();
    let mut all = init.chain(status.container_statuses.iter().flatten());
    all.find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        Some((
            waiting.reason.clone()?,
            waiting.message.clone().unwrap_or_default(),
        ))
    })
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
    use crate::metrics::{Metrics, Now};
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

    /// A65: a static pod is there once, as its manifest has it, however its mirror is called, and counted as static.
    #[test]
    fn a65_static_pod_is_listed_once_under_its_own_uid_and_counted() {
        let handle = PodsHandle::default();
        let pod = |name: &str, uid: &str, source: &str| {
            let pod = json!({"metadata": {"name": name, "namespace": "shop", "uid": uid,
                "annotations": {"kubernetes.io/config.hash": uid, "kubernetes.io/config.source": source}}});
            Arc::new(serde_json::from_value(pod).unwrap())
        };
        handle.put(pod("web-n1", "static", "file"), Source::File);
        handle.put(pod("app", "2", "api"), Source::Api);
        handle.set_mirrors([("mirror".to_owned(), "static".to_owned())]);
        let records = handle.list();
        let list = pods(&records);
        let of_name = |item: &&Value| item["metadata"]["name"] == "web-n1";
        let found: Vec<&Value> = list["items"].as_array().unwrap().iter().filter(of_name).collect();
        let [found] = found[..] else { panic!("{list:#}") };
        assert_eq!(found["metadata"]["uid"], "static");
        let annotations = found["metadata"]["annotations"].as_object().unwrap();
        assert!(
            !annotations.contains_key("kubernetes.io/config.mirror"),
            "{found:#}"
        );
        let text = Metrics::default().text(&Now {
            node_name: "n1",
            pods: &records,
            mirrors: 1,
            root: std::path::Path::new("/nowhere"),
            claims: &BTreeMap::new(),
        });
        for line in [
            "kubelet_desired_pods{static=\"true\"} 1",
            "kubelet_desired_pods{static=\"\"} 1",
            "kubelet_mirror_pods 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn status_joins_manifests_with_their_pods() {
        let report = |uid: Option<&str>, error: Option<&str>| Report {
            digest: "d".into(),
            pods: uid.map(|_| "p1_shop".to_owned()).into_iter().collect(),
            uid: uid.map(str::to_owned),
            error: error.map(str::to_owned),
            ignored: None,
        };
        let mut reports = Reports::from([
            ("/m/a.yaml".to_owned(), report(Some("1"), None)),
            ("/m/b.yaml".to_owned(), report(None, Some("line 3: no"))),
        ]);
        reports.get_mut("/m/a.yaml").unwrap().pods = vec!["web-n1_default".to_owned()];
        let mut of_url = report(None, None);
        of_url.pods = ["p1_shop", "p2_shop"].map(str::to_owned).into();
        reports.insert("http://x/pods".to_owned(), of_url);
        let refused = BTreeMap::from([("web-n1_default".to_owned(), "denied".to_owned())]);
        let status = status("n1", &reports, &refused, &records());
        assert_eq!(status["node"], "n1");
        let [good, bad, several] = &status["manifests"].as_array().unwrap()[..] else {
            panic!("{status}")
        };
        assert_eq!(several["phase"], "Pending", "one of them isn't there yet");
        assert_eq!(
            (&several["pod"], bad.get("pod")),
            (&json!("p1_shop, p2_shop"), None)
        );
        assert_eq!(
            (&good["manifest"], &good["phase"]),
            (&json!("/m/a.yaml"), &json!("Running"))
        );
        assert_eq!(good["mirrorRefused"], "denied");
        assert_eq!(bad["error"], "line 3: no");
        assert!(bad.get("phase").is_none());
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
