//! Acceptance cases of the contract's §10 about placement, counting and updates that need a whole cluster.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, daemon_set, eventually, image};

async fn pods(cluster: &Cluster) -> Vec<Pod> {
    cluster.pods().list(&ListParams::default()).await.unwrap().items
}

async fn events(cluster: &Cluster, reason: &str) -> Vec<Event> {
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let params = ListParams::default().fields(&format!("reason={reason}"));
    api.list(&params).await.unwrap().items
}

/// A node with these taints and conditions besides Ready.
async fn add_node_with(cluster: &Cluster, name: &str, taints: Value, ready: &str, more: Value) {
    let mut node = json!({"metadata": {"name": name}, "spec": {"taints": taints}, "status": {
        "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": jiff::Timestamp::now().to_string()}]}});
    if let Some(condition) = more.as_object() {
        node["status"]["conditions"]
            .as_array_mut()
            .unwrap()
            .push(json!(condition));
    }
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let node = serde_json::from_value(node).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
}

#[tokio::test]
async fn p05_a_template_with_a_node_name_runs_there_and_only_if_its_selector_allows() {
    let cluster = Cluster::start().await;
    for number in 0..5 {
        cluster
            .add_node(&format!("node-{number}"), json!({"number": number.to_string()}))
            .await;
    }
    let named = json!({"template": {"spec": {"nodeName": "node-0"}}});
    cluster.create_set("d", named.clone()).await;
    cluster.expect_running("d", ["node-0 img:1 ready"]).await;
    cluster.expect_status("d", [1, 1, 1, 1, 1, 0]).await;
    let mut excluded = named;
    excluded["template"]["spec"]["nodeSelector"] = json!({"number": "3"});
    cluster.create_set("e", excluded).await;
    eventually("the first sync", || async {
        cluster.sets().get("e").await.unwrap().status?.observed_generation
    })
    .await;
    assert!(cluster.running("e").await.is_empty());
}

#[tokio::test]
async fn p06_s07_a_node_without_room_or_port_is_desired_all_the_same_and_the_pod_waits() {
    let cluster = Cluster::start().await;
    for node in ["n1", "n2", "n3"] {
        cluster.add_node(node, json!({})).await;
    }
    let container = json!([{"name": "c", "image": "img:1", "resources": {"requests": {"memory": "9Gi"}}}]);
    cluster
        .create_set("big", json!({"template": {"spec": {"containers": container}}}))
        .await;
    cluster.expect_status("big", [3, 3, 0, 3, 0, 0]).await;
    let message = eventually("the reason", || async {
        let pods = pods(&cluster).await;
        let condition = orlop_api::pod::condition(pods.first()?, "PodScheduled")?;
        (condition.reason.as_deref() == Some("Unschedulable")).then(|| condition.message.clone())?
    })
    .await;
    assert_eq!(
        message,
        "0/3 nodes are available: 1 Insufficient memory, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. \
         preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    let port = json!([{"name": "c", "image": "img:1", "ports": [{"containerPort": 80, "hostPort": 8080}]}]);
    for set in ["first", "second"] {
        cluster
            .create_set(set, json!({"template": {"spec": {"containers": port}}}))
            .await;
        if set == "first" {
            cluster.expect_status(set, [3, 3, 3, 3, 3, 0]).await;
        }
    }
    cluster.expect_status("second", [3, 3, 0, 3, 0, 0]).await;
}

#[tokio::test]
async fn p09_p10_p11_p12_p14_what_daemons_tolerate_by_themselves_does_not_keep_them_away() {
    let cluster = Cluster::start().await;
    cluster.add_node("cordoned", json!({})).await;
    cluster
        .patch_node("cordoned", json!({"spec": {"unschedulable": true}}))
        .await;
    let pressed = |kind: &str| json!({"type": kind, "status": "True"});
    for (node, condition) in [
        ("memory", "MemoryPressure"),
        ("disk", "DiskPressure"),
        ("pid", "PIDPressure"),
    ] {
        add_node_with(&cluster, node, json!([]), "True", pressed(condition)).await;
    }
    add_node_with(
        &cluster,
        "network",
        json!([]),
        "True",
        pressed("NetworkUnavailable"),
    )
    .await;
    cluster.create_set("plain", json!({})).await;
    cluster
        .create_set("host", json!({"template": {"spec": {"hostNetwork": true}}}))
        .await;
    let everywhere = ["cordoned", "disk", "memory", "pid"].map(|node| format!("{node} img:1 ready"));
    let [a, b, c, d] = &everywhere;
    cluster.expect_running("plain", [a, b, c, d]).await;
    cluster
        .expect_running("host", [a, b, c, "network img:1 ready", d])
        .await;

    let tolerations = |pod: &Pod| -> Vec<String> {
        let tolerations = pod.spec.as_ref().unwrap().tolerations.iter().flatten();
        let mut lines: Vec<String> = tolerations
            .map(|toleration| {
                assert_eq!(toleration.operator.as_deref(), Some("Exists"));
                assert_eq!(toleration.toleration_seconds, None);
                let key = toleration
                    .key
                    .as_deref()
                    .unwrap()
                    .trim_start_matches("node.kubernetes.io/");
                format!("{key}:{}", toleration.effect.as_deref().unwrap())
            })
            .collect();
        lines.sort();
        lines
    };
    let six = [
        "disk-pressure:NoSchedule",
        "memory-pressure:NoSchedule",
        "not-ready:NoExecute",
        "pid-pressure:NoSchedule",
        "unreachable:NoExecute",
        "unschedulable:NoSchedule",
    ];
    for pod in pods(&cluster).await {
        let found = tolerations(&pod);
        if orlop_api::pod::is_host_network(pod.spec.as_ref().unwrap()) {
            let (network, others): (Vec<_>, Vec<_>) = found
                .into_iter()
                .partition(|toleration| toleration == "network-unavailable:NoSchedule");
            assert_eq!((network.len(), others), (1, six.map(str::to_owned).to_vec()));
        } else {
            assert_eq!(found, six);
        }
    }
    for set in cluster.sets().list(&ListParams::default()).await.unwrap() {
        let template = set.spec.unwrap().template.spec.unwrap();
        assert!(template.tolerations.is_none(), "never written to the template");
    }
}

#[tokio::test]
async fn p15_p16_p17_tolerations_and_affinity_of_the_template_as_pods_get_them() {
    let cluster = Cluster::start().await;
    cluster
        .add_node("n1", json!({"type": "production", "zone": "x"}))
        .await;
    let term =
        |values: Value| json!({"matchExpressions": [{"key": "type", "operator": "In", "values": values}]});
    let affinity = |terms: Value| {
        let preferred = json!([{"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}}]);
        json!({"template": {"spec": {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
            "preferredDuringSchedulingIgnoredDuringExecution": preferred}},
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 60}]}}})
    };
    cluster
        .create_set("test", affinity(json!([term(json!(["test"]))])))
        .await;
    let both = json!([term(json!(["test"])), term(json!(["production"]))]);
    cluster.create_set("production", affinity(both)).await;
    cluster.expect_running("production", ["n1 img:1 ready"]).await;
    cluster.expect_status("test", [0; 6]).await;
    assert!(cluster.running("test").await.is_empty());

    let pod = pods(&cluster).await.remove(0).spec.unwrap();
    let affinity = serde_json::to_value(pod.affinity.unwrap()).unwrap();
    assert_eq!(
        affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"],
        json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}])
    );
    let preferred = &affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(preferred[0]["preference"]["matchExpressions"][0]["key"], "zone");
    let not_ready: Vec<_> = pod
        .tolerations
        .iter()
        .flatten()
        .filter(|toleration| toleration.key.as_deref() == Some("node.kubernetes.io/not-ready"))
        .collect();
    assert_eq!(not_ready.len(), 1);
    assert_eq!(
        not_ready[0].toleration_seconds, None,
        "the user's seconds are dropped"
    );
}

#[tokio::test]
async fn c03_c04_finished_pods_are_told_with_their_node() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    cluster.create_set("d", json!({})).await;
    for (phase, reason, kind, end) in [
        ("Failed", "FailedDaemonPod", "Warning", "will try to kill it"),
        (
            "Succeeded",
            "SucceededDaemonPod",
            "Normal",
            "will try to delete it",
        ),
    ] {
        cluster.expect_running("d", ["n1 img:1 ready"]).await;
        let name = pods(&cluster).await.remove(0).metadata.name.unwrap();
        let patch = json!({"status": {"phase": phase}});
        cluster
            .pods()
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
        let event = eventually("the event", || async {
            let mut events = events(&cluster, reason).await;
            (!events.is_empty()).then(|| events.remove(0))
        })
        .await;
        let phase = phase.to_lowercase();
        assert_eq!(
            event.message.as_deref(),
            Some(&*format!(
                "Found {phase} daemon pod default/{name} on node n1, {end}"
            ))
        );
        assert_eq!(event.type_.as_deref(), Some(kind));
        assert_eq!(
            event.source.unwrap().component.as_deref(),
            Some("daemonset-controller")
        );
        assert_eq!(event.involved_object.name.as_deref(), Some("d"));
    }
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    let created = events(&cluster, "SuccessfulCreate").await;
    assert!(
        created
            .iter()
            .all(|event| event.message.as_deref().unwrap().starts_with("Created pod: d-"))
    );
    let deleted = events(&cluster, "SuccessfulDelete").await;
    assert!(
        !deleted.is_empty()
            && deleted[0]
                .message
                .as_deref()
                .unwrap()
                .starts_with("Deleted pod: d-")
    );
}

#[tokio::test]
async fn c09_a_daemon_set_that_is_being_deleted_is_left_alone() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    let mut set = daemon_set("d", json!({}));
    set.metadata.finalizers = Some(vec!["test/hold".to_owned()]);
    cluster.sets().create(&PostParams::default(), &set).await.unwrap();
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    cluster
        .sets()
        .delete("d", &DeleteParams::background())
        .await
        .unwrap();
    let observed = cluster
        .sets()
        .get("d")
        .await
        .unwrap()
        .status
        .unwrap()
        .observed_generation;
    cluster.add_node("n2", json!({})).await;
    cluster.patch_set("d", image("img:2")).await;
    // Somebody else's DaemonSet shows that the controller went on.
    cluster.create_set("e", json!({})).await;
    cluster.expect_status("e", [2, 2, 2, 2, 2, 0]).await;
    let left = cluster.sets().get("d").await.unwrap();
    assert_eq!(left.status.unwrap().observed_generation, observed);
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
}

#[tokio::test]
async fn c17_nothing_is_told_about_creations_in_a_namespace_that_is_going() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(cluster.client.clone());
    let namespace = json!({"metadata": {"name": "going", "finalizers": ["test/hold"]}});
    let namespace = serde_json::from_value(namespace).unwrap();
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
        Api::namespaced(cluster.client.clone(), "going");
    eventually("the account", || async {
        accounts.get_opt("default").await.unwrap()
    })
    .await;
    let sets: Api<k8s_openapi::api::apps::v1::DaemonSet> = Api::namespaced(cluster.client.clone(), "going");
    let mut set = daemon_set("d", json!({}));
    set.metadata.finalizers = Some(vec!["test/hold".to_owned()]);
    sets.create(&PostParams::default(), &set).await.unwrap();
    let going: Api<Pod> = Api::namespaced(cluster.client.clone(), "going");
    eventually("the pod", || async {
        let pods = going.list(&ListParams::default()).await.unwrap().items;
        pods.into_iter().find(orlop_api::pod::is_ready)
    })
    .await;
    namespaces
        .delete("going", &DeleteParams::default())
        .await
        .unwrap();
    eventually("no pod", || async {
        going
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
            .then_some(())
    })
    .await;
    cluster.create_set("e", json!({})).await;
    cluster.expect_status("e", [1, 1, 1, 1, 1, 0]).await;
    assert!(events(&cluster, "FailedCreate").await.is_empty());
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), "going");
    let told = api
        .list(&ListParams::default().fields("reason=FailedCreate"))
        .await
        .unwrap();
    assert!(told.items.is_empty(), "{:?}", told.items);
}

#[tokio::test]
async fn u07_a_changed_strategy_touches_no_pod() {
    let cluster = Cluster::start().await;
    for node in ["n1", "n2"] {
        cluster.add_node(node, json!({})).await;
    }
    cluster
        .create_set("d", json!({"updateStrategy": {"type": "OnDelete"}}))
        .await;
    cluster.expect_status("d", [2, 2, 2, 2, 2, 0]).await;
    let uids =
        |pods: Vec<Pod>| -> Vec<Option<String>> { pods.into_iter().map(|pod| pod.metadata.uid).collect() };
    let before = uids(pods(&cluster).await);
    for (strategy, generation) in [
        (
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}}),
            2,
        ),
        (
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}),
            3,
        ),
    ] {
        cluster
            .patch_set("d", json!({"spec": {"updateStrategy": strategy}}))
            .await;
        eventually("the observation", || async {
            let status = cluster.sets().get("d").await.unwrap().status?;
            (status.observed_generation == Some(generation)).then_some(())
        })
        .await;
    }
    assert_eq!(uids(pods(&cluster).await), before);
}

#[tokio::test]
async fn u15_orphan_revisions_of_the_namespace_are_adopted_and_no_others() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    let revision =
        json!({"metadata": {"name": "orphan", "labels": {"app": "d"}}, "data": {"spec": {}}, "revision": 3});
    let revision: ControllerRevision = serde_json::from_value(revision).unwrap();
    for namespace in ["default", "kube-public"] {
        let api: Api<ControllerRevision> = Api::namespaced(cluster.client.clone(), namespace);
        api.create(&PostParams::default(), &revision).await.unwrap();
    }
    cluster.create_set("d", json!({})).await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    let api: Api<ControllerRevision> = Api::namespaced(cluster.client.clone(), "default");
    let adopted = eventually("the adoption", || async {
        let revision = api.get("orphan").await.unwrap();
        revision.metadata.owner_references.is_some().then_some(revision)
    })
    .await;
    let owner = adopted.metadata.owner_references.unwrap().remove(0);
    assert_eq!(
        (owner.kind.as_str(), owner.name.as_str(), owner.controller),
        ("DaemonSet", "d", Some(true))
    );
    assert_eq!(
        adopted
            .metadata
            .labels
            .unwrap()
            .get("controller-revision-hash")
            .map(String::as_str),
        Some("orphan"),
        "a revision without a hash gets its name"
    );
    let own = api.list(&ListParams::default()).await.unwrap().items;
    let highest = own.iter().max_by_key(|revision| revision.revision).unwrap();
    assert_eq!(highest.revision, 4, "its number counts");
    let elsewhere: Api<ControllerRevision> = Api::namespaced(cluster.client.clone(), "kube-public");
    let other = elsewhere.get("orphan").await.unwrap();
    assert!(other.metadata.owner_references.is_none());
}

#[tokio::test]
async fn n08_an_evicted_pod_says_that_it_was_disrupted() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    let pod = json!({"metadata": {"name": "p", "finalizers": ["test/hold"]},
        "spec": {"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 1}});
    cluster
        .pods()
        .create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
    eventually("a node", || async {
        cluster.pods().get("p").await.unwrap().spec.unwrap().node_name
    })
    .await;
    cluster
        .patch_node(
            "n1",
            json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}),
        )
        .await;
    let pod = eventually("the eviction", || async {
        let pod = cluster.pods().get("p").await.unwrap();
        pod.metadata.deletion_timestamp.is_some().then_some(pod)
    })
    .await;
    let condition = orlop_api::pod::condition(&pod, "DisruptionTarget").unwrap();
    assert_eq!(
        (
            condition.status.as_str(),
            condition.reason.as_deref(),
            condition.message.as_deref()
        ),
        (
            "True",
            Some("DeletionByTaintManager"),
            Some("Taint manager: deleting due to NoExecute taint")
        )
    );
    let told = eventually("the event", || async {
        let mut events = events(&cluster, "TaintManagerEviction").await;
        (!events.is_empty()).then(|| events.remove(0))
    })
    .await;
    assert_eq!(
        told.message.as_deref(),
        Some("Marking for deletion Pod default/p")
    );
    assert_eq!(told.type_.as_deref(), Some("Normal"));
}

#[tokio::test]
async fn s04_s05_a_host_port_is_taken_once_and_a_pod_bound_once() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    let create = |name: &'static str, ip: Value, protocol: &'static str| {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i",
            "ports": [{"containerPort": 80, "hostPort": 5000, "hostIP": ip, "protocol": protocol}]}]}});
        let pods = cluster.pods();
        async move {
            let pod = serde_json::from_value(pod).unwrap();
            pods.create(&PostParams::default(), &pod).await.unwrap();
        }
    };
    let bound = |name: &'static str| {
        let pods = cluster.pods();
        eventually("a node", move || {
            let pods = pods.clone();
            async move { pods.get(name).await.unwrap().spec.unwrap().node_name }
        })
    };
    create("any", Value::Null, "TCP").await;
    bound("any").await;
    create("one", json!("127.0.0.1"), "TCP").await;
    let message = eventually("the reason", || async {
        let pod = cluster.pods().get("one").await.unwrap();
        let condition = orlop_api::pod::condition(&pod, "PodScheduled")?;
        condition.message.clone()
    })
    .await;
    assert_eq!(
        message,
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. \
         preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    );
    create("udp", json!("127.0.0.1"), "UDP").await;
    bound("udp").await;

    cluster.add_node("n2", json!({})).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "any"},
        "target": {"kind": "Node", "name": "n2"}});
    let again = cluster
        .pods()
        .create_subresource::<Value, Value>("binding", "any", &PostParams::default(), &binding)
        .await;
    let Err(kube::Error::Api(status)) = again else {
        panic!("bound twice: {again:?}")
    };
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    let pod = cluster.pods().get("any").await.unwrap();
    assert_eq!(pod.spec.unwrap().node_name.as_deref(), Some("n1"));
    assert_eq!(bound("one").await, "n2", "the other node has the port free");
}
