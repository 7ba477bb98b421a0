//! Whole syncs, against answers that the test gives.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use k8s_openapi::api::apps::v1::DaemonSetStatus;
use k8s_openapi::api::core::v1 as core;
use orlop_client::informer::{Change, Lean, ObjectKey};
use serde_json::{Value, json};

use super::DaemonSets;
use super::controller::Triggers;
use super::sync::SyncError;
use crate::cache::{BY_CONTROLLER, Cache, DaemonSet, NodeView, RevisionView, cached};
use crate::testing::server;

mod passes;

fn set() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "d", "namespace": "ns", "uid": "d-uid", "resourceVersion": "5", "generation": 1,
            "annotations": {"deprecated.daemonset.template.generation": "1"}},
        "spec": {"selector": {"matchLabels": {"app": "d"}}, "updateStrategy": {"type": "OnDelete"},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

fn node(name: &str, version: u64) -> Lean<core::Node> {
    let node = json!({"metadata": {"name": name, "uid": name, "resourceVersion": version.to_string()},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    Lean(serde_json::from_value(node).unwrap())
}

/// A controller that knows one set and so many nodes.
fn knowing(client: kube::Client, nodes: usize) -> (Arc<Cache>, Arc<DaemonSets>) {
    let cache = Arc::new(Cache::default());
    let sets = DaemonSets::new(client, &cache);
    cache
        .daemon_sets
        .store()
        .apply(serde_json::from_value(set()).unwrap());
    for number in 0..nodes {
        cache.nodes.store().apply(node(&format!("n{number}"), 1));
    }
    (cache, sets)
}

/// What a server makes of an object that is created.
fn created(number: usize, mut object: Value) -> Value {
    let metadata = &mut object["metadata"];
    if let Some(prefix) = metadata["generateName"].as_str() {
        metadata["name"] = json!(format!("{prefix}{number:05}"));
    }
    metadata["uid"] = json!(format!("uid-{number}"));
    metadata["resourceVersion"] = json!((100 + number).to_string());
    object
}

#[tokio::test]
async fn c14_of_three_hundred_pods_two_hundred_and_fifty_are_created_and_the_rest_once_those_are_seen() {
    let count = Mutex::new(0);
    let (client, asked) = server(move |method, path, body| match (method, path) {
        (_, path) if path.contains("/events") => (200, body),
        (&Method::POST, _) => {
            let mut count = count.lock().unwrap();
            *count += 1;
            (201, created(*count, body))
        }
        (&Method::PUT, "/apis/apps/v1/namespaces/ns/daemonsets/d/status") => (200, body),
        _ => panic!("{method} {path}"),
    });
    let (cache, sets) = knowing(client, 300);
    let key = ObjectKey::new("ns", "d");
    let pods = || -> Vec<Value> {
        let asked = asked.lock().unwrap();
        let posts = asked
            .iter()
            .filter(|(method, path, _)| method == Method::POST && path.ends_with("/pods"));
        posts.map(|(_, _, body)| body.clone()).collect()
    };
    sets.sync(&key).await.unwrap();
    assert_eq!(pods().len(), 250);
    sets.sync(&key).await.unwrap();
    assert_eq!(pods().len(), 250, "none of them has been seen yet");
    for (number, pod) in pods().into_iter().enumerate() {
        // The revision was the first creation.
        let pod = created(number + 2, pod);
        cache
            .pods
            .store()
            .apply(Lean(serde_json::from_value(pod).unwrap()));
    }
    sets.dirty.all(&key);
    tokio::time::sleep(sets.pause(&key).unwrap_or_default()).await;
    sets.sync(&key).await.unwrap();
    let wanted = |pod: &Value| {
        let terms =
            &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        terms["nodeSelectorTerms"][0]["matchFields"][0]["values"][0].to_string()
    };
    let mut nodes: Vec<String> = pods().iter().map(wanted).collect();
    nodes.sort();
    nodes.dedup();
    assert_eq!((pods().len(), nodes.len()), (300, 300), "one for each node");
    assert_eq!(cache.pods.store().count_by_index(BY_CONTROLLER, "d-uid"), 250);
}

/// Writes a status to a server that refuses the first `conflicts` writes of it. What was asked, and what came of it.
async fn write_status(conflicts: usize) -> (Vec<(Method, String)>, Result<(), SyncError>) {
    let left = Mutex::new(conflicts);
    let (client, asked) = server(move |method, _, body| {
        let mut left = left.lock().unwrap();
        if method == Method::PUT && *left > 0 {
            *left -= 1;
            return (
                409,
                json!({"kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409,
                "message": "the object has been modified"}),
            );
        }
        (200, if method == Method::GET { set() } else { body })
    });
    let sets = DaemonSets::new(client, &Arc::new(Cache::default()));
    let set: DaemonSet = cached::<crate::cache::DaemonSetView>(serde_json::from_value(set()).unwrap());
    let counted = DaemonSetStatus {
        desired_number_scheduled: 3,
        observed_generation: Some(1),
        ..DaemonSetStatus::default()
    };
    let written = sets.write_counted(&set, counted, None).await;
    let asked = asked.lock().unwrap();
    let asked = asked.iter().map(|(method, path, _)| {
        let path = path.trim_start_matches("/apis/apps/v1/namespaces/ns/daemonsets/");
        (method.clone(), path.to_owned())
    });
    (asked.collect(), written)
}

#[tokio::test]
async fn c16_a_status_that_meets_a_conflict_is_written_once_more_and_no_more() {
    let write = (Method::PUT, "d/status".to_owned());
    let look = (Method::GET, "d".to_owned());
    let (asked, written) = write_status(1).await;
    assert_eq!(asked, [write.clone(), look.clone(), write.clone()]);
    written.unwrap();
    let (asked, written) = write_status(2).await;
    assert_eq!(asked, [write.clone(), look, write], "the key is requeued instead");
    let error = written.unwrap_err();
    assert!(
        matches!(&error, SyncError::Api(kube::Error::Api(status)) if status.code == 409),
        "{error}"
    );
}

/// None can be created like that, but older servers may have stored one.
#[tokio::test]
async fn a_set_that_selects_all_pods_is_told_of_and_nothing_is_done_for_it() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let notes = told.clone();
    let (client, asked) = server(move |_, path, body| {
        if path.contains("/events") {
            notes.lock().unwrap().push(body.clone());
        }
        (200, body)
    });
    let cache = Arc::new(Cache::default());
    let sets = DaemonSets::new(client, &cache);
    let mut all = set();
    all["spec"]["selector"] = json!({});
    cache
        .daemon_sets
        .store()
        .apply(serde_json::from_value(all).unwrap());
    cache.nodes.store().apply(node("n", 1));
    let orphan = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "p", "resourceVersion": "7"},
        "spec": {"nodeName": "elsewhere", "containers": []}, "status": {"phase": "Running"}});
    cache
        .pods
        .store()
        .apply(Lean(serde_json::from_value(orphan).unwrap()));
    sets.sync(&ObjectKey::new("ns", "d")).await.unwrap();
    sets.recorder.flush(Duration::from_secs(10)).await;
    let told = told.lock().unwrap();
    let told: Vec<[&Value; 4]> = told
        .iter()
        .map(|event| {
            let about = &event["involvedObject"];
            [&about["kind"], &about["name"], &event["type"], &event["reason"]]
        })
        .collect();
    assert_eq!(told, [["DaemonSet", "d", "Warning", "SelectingAll"]]);
    assert!(asked.lock().unwrap().is_empty());
}

/// One set that is known, and what wakes its controller.
fn one_set() -> (Arc<Cache>, Arc<DaemonSets>, Triggers) {
    let (client, _) = server(|_, _, _| (500, Value::Null));
    let (cache, sets) = knowing(client, 0);
    let triggers = Triggers::new(&cache, &sets.queue, &sets.dirty, &sets.awaited);
    (cache, sets, triggers)
}

#[tokio::test]
async fn c18_a_node_wakes_a_set_by_labels_and_taints_alone_and_when_its_pod_belongs_there_again() {
    let (cache, sets, triggers) = one_set();
    let pod = json!({"metadata": {"name": "d-1", "namespace": "ns", "uid": "p", "resourceVersion": "7",
        "labels": {"app": "d"}, "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "d-uid", "controller": true}]},
        "spec": {"nodeName": "n", "containers": []}, "status": {"phase": "Running"}});
    cache
        .pods
        .store()
        .apply(Lean(serde_json::from_value(pod).unwrap()));
    let version = std::cell::Cell::new(1);
    let changed = |old: &Lean<core::Node>, change: fn(&mut core::Node)| {
        let mut new = old.clone();
        version.set(version.get() + 1);
        new.0.metadata.resource_version = Some(version.get().to_string());
        change(&mut new.0);
        triggers.node(&Change {
            old: Some(cached::<NodeView>(old.clone())),
            new: Some(cached::<NodeView>(new.clone())),
            listed: false,
        });
        let woken = !sets.queue.is_empty();
        if woken {
            let key = futures::FutureExt::now_or_never(sets.queue.next())
                .flatten()
                .unwrap();
            sets.queue.done(&key);
        }
        (new, woken)
    };
    let plain = node("n", 1);
    let (posted, woken) = changed(&plain, |node| {
        let status = node.status.get_or_insert_default();
        status.allocatable = Some([("cpu".to_owned(), Default::default())].into());
        node.spec.get_or_insert_default().unschedulable = Some(true);
    });
    assert!(!woken, "its status and whether it is cordoned say nothing");
    let (tainted, woken) = changed(&posted, |node| {
        let taint = orlop_api::taints::taint("k", "NoSchedule");
        node.spec.get_or_insert_default().taints = Some(vec![taint]);
    });
    assert!(woken, "its pod no longer belongs there");
    let (_, woken) = changed(&tainted, |node| node.spec.get_or_insert_default().taints = None);
    assert!(woken, "its pod belongs there again");
}

/// Upstream's controller takes such a revision for the current one at its next sync, whatever that is for.
#[tokio::test]
async fn a_revision_that_appears_wakes_nobody_but_the_next_look_is_at_everything() {
    let (_cache, sets, triggers) = one_set();
    let key = ObjectKey::new("ns", "d");
    sets.dirty.take(&key);
    let revision = json!({"metadata": {"name": "d-other", "namespace": "ns", "uid": "r", "resourceVersion": "7",
        "labels": {"app": "d", "controller-revision-hash": "other"}, "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "d-uid", "controller": true}]},
        "data": {}, "revision": 2});
    triggers.revision(&Change {
        old: None,
        new: Some(cached::<RevisionView>(serde_json::from_value(revision).unwrap())),
        listed: false,
    });
    sets.dirty.node(&key, &"n".into());
    assert!(sets.dirty.take(&key).all);
    assert!(sets.queue.is_empty());
}
