//! pods, nodes and daemonsets: cases O, N, S and A of the contracts.
use crate::support::{Cluster, PODS, pod};
use orlop_apiserver::UserInfo;
use serde_json::{Value, json};

/// Bindings are made and not kept.
#[tokio::test]
async fn there_is_no_binding_by_name() {
    let admin = Cluster::start().await.admin();
    let bindings = "/api/v1/namespaces/default/bindings";
    for (path, code) in [(format!("{bindings}/b"), 404), (bindings.to_owned(), 405)] {
        assert_eq!(admin.get(&path).await.code, code, "{path}");
    }
    admin
        .delete(&format!("{bindings}/b"), Value::Null)
        .await
        .refused(404);
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    admin.get(&format!("{reviews}/r")).await.refused(404);
}

#[tokio::test]
async fn o01_pods_are_defaulted() {
    let admin = Cluster::start().await.admin();
    let made = admin.post(PODS, pod("p")).await.ok();
    let spec = &made["spec"];
    assert_eq!(spec["restartPolicy"], "Always");
    assert_eq!(spec["dnsPolicy"], "ClusterFirst");
    assert_eq!(spec["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(spec["containers"][0]["resources"], json!({}));
    assert_eq!(spec["priority"], 0);
    assert_eq!(spec["enableServiceLinks"], true);
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(
        made["status"],
        json!({"phase": "Pending", "qosClass": "BestEffort"})
    );
}

#[tokio::test]
async fn o08_status_and_spec_are_written_apart() {
    let admin = Cluster::start().await.admin();
    admin.post(PODS, pod("p")).await.ok();
    let both = json!({"status": {"phase": "Running"}, "spec": {"nodeName": "x"}});
    let patched = admin.patch(&format!("{PODS}/p/status"), "merge", both).await.ok();
    assert_eq!(patched["status"]["phase"], "Running");
    assert_eq!(patched["spec"]["nodeName"], Value::Null);
    assert_eq!(patched["metadata"]["generation"], 1);
    let ignored = admin
        .patch(
            &format!("{PODS}/p"),
            "merge",
            json!({"status": {"phase": "Failed"}}),
        )
        .await
        .ok();
    assert_eq!(ignored["status"]["phase"], "Running");
}

#[tokio::test]
async fn o09_a_pod_is_bound_once() {
    let admin = Cluster::start().await.admin();
    admin.post(PODS, pod("p")).await.ok();
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    for other in [json!({"uid": "another"}), json!({"resourceVersion": "1"})] {
        let mut demanding = binding.clone();
        orlop_api::patch::merge(&mut demanding["metadata"], &other);
        admin
            .post(&format!("{PODS}/p/binding"), demanding)
            .await
            .refused(409);
    }
    let nominated = json!({"status": {"nominatedNodeName": "n2"}});
    let waiting = admin
        .patch(&format!("{PODS}/p/status"), "merge", nominated)
        .await
        .ok();
    assert_eq!(waiting["status"]["nominatedNodeName"], "n2");
    let done = admin.post(&format!("{PODS}/p/binding"), binding.clone()).await;
    assert_eq!(
        (done.code, done.json()["status"].as_str()),
        (201, Some("Success"))
    );
    let bound = admin.get(&format!("{PODS}/p")).await.ok();
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert!(
        bound["status"]["nominatedNodeName"].is_null(),
        "it has a place now"
    );
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    assert_eq!(
        admin
            .post(&format!("{PODS}/p/binding"), binding)
            .await
            .refused(409),
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\""
    );
}

#[tokio::test]
async fn o12_priority_comes_from_the_class() {
    let admin = Cluster::start().await.admin();
    let mut critical = pod("p");
    critical["spec"]["priorityClassName"] = json!("system-node-critical");
    assert_eq!(
        admin.post(PODS, critical).await.ok()["spec"]["priority"],
        2_000_001_000
    );
    let mut unknown = pod("q");
    unknown["spec"]["priorityClassName"] = json!("nope");
    assert_eq!(
        admin.post(PODS, unknown).await.refused(403),
        "pods \"q\" is forbidden: no PriorityClass with name nope was found"
    );
}

#[tokio::test]
async fn evictions_delete_pods() {
    let admin = Cluster::start().await.admin();
    // Clients of before 1.22 send the version that their group has lost since.
    for version in ["policy/v1", "policy/v1beta1"] {
        admin.post(PODS, pod("p")).await.ok();
        let eviction = json!({"apiVersion": version, "kind": "Eviction", "metadata": {"name": "p"}});
        assert_eq!(
            admin.post(&format!("{PODS}/p/eviction"), eviction).await.code,
            201,
            "{version}"
        );
        assert_eq!(admin.get(&format!("{PODS}/p")).await.code, 404);
    }
}

#[tokio::test]
async fn n01_new_nodes_are_tainted() {
    let admin = Cluster::start().await.admin();
    let node = json!({"metadata": {"name": "n1"}, "status": {"capacity": {"cpu": "2", "memory": "1024Mi"}}});
    let made = admin.post("/api/v1/nodes", node).await.ok();
    assert_eq!(
        made["status"]["allocatable"],
        json!({"cpu": "2", "memory": "1Gi"})
    );
    assert_eq!(
        made["spec"]["taints"],
        json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])
    );
    let ignored = admin
        .patch("/api/v1/nodes/n1", "merge", json!({"status": {"phase": "x"}}))
        .await
        .ok();
    assert_eq!(
        ignored["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn s10_a_node_sees_itself_and_its_own() {
    let cluster = Cluster::start().await;
    let (admin, node) = (cluster.admin(), cluster.user(UserInfo::node("n1")));
    node.post("/api/v1/nodes", json!({"metadata": {"name": "n1"}}))
        .await
        .ok();
    assert_eq!(
        node.post("/api/v1/nodes", json!({"metadata": {"name": "n2"}}))
            .await
            .refused(403),
        "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\""
    );
    assert_eq!(node.get("/api/v1/nodes/n1").await.code, 200);
    let message = node.get("/api/v1/nodes").await.refused(403);
    assert_eq!(
        message,
        "nodes is forbidden: User \"system:node:n1\" cannot list resource \"nodes\" in API group \"\" at the cluster scope: node 'n1' cannot read all nodes, only its own Node object"
    );
    assert_eq!(node.get("/api/v1/pods").await.code, 403);
    assert_eq!(
        node.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1")
            .await
            .code,
        200
    );
    // Also one of its own by its name, as it may read that.
    for (name, on) in [("here", "n1"), ("there", "n2")] {
        let mut bound = pod(name);
        bound["spec"]["nodeName"] = json!(on);
        admin.post(PODS, bound).await.ok();
    }
    for (path, code) in [
        (format!("{PODS}?fieldSelector=metadata.name%3Dhere"), 200),
        (format!("{PODS}?fieldSelector=metadata.name%3Dthere"), 403),
        (format!("{PODS}?fieldSelector=metadata.name%3Dnowhere"), 403),
        (PODS.to_owned(), 403),
        (format!("{PODS}/here"), 200),
        // As a part it is as whole.
        (format!("{PODS}/here/status"), 200),
        (format!("{PODS}/there/status"), 403),
    ] {
        assert_eq!(node.get(&path).await.code, code, "{path}");
    }
    for name in ["used", "unused"] {
        admin
            .post(
                "/api/v1/namespaces/default/secrets",
                json!({"metadata": {"name": name}}),
            )
            .await
            .ok();
    }
    let mut user = pod("p");
    user["spec"]["nodeName"] = json!("n1");
    user["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "used"}}]);
    admin.post(PODS, user).await.ok();
    assert_eq!(
        node.get("/api/v1/namespaces/default/secrets/used").await.code,
        200
    );
    assert_eq!(
        node.get("/api/v1/namespaces/default/secrets/unused").await.code,
        403
    );
}

#[tokio::test]
async fn s11_a_node_creates_only_mirrors_of_its_own() {
    let cluster = Cluster::start().await;
    let node = cluster.user(UserInfo::node("n1"));
    let registered = node
        .post("/api/v1/nodes", json!({"metadata": {"name": "n1"}}))
        .await
        .ok();
    assert_eq!(
        node.post(PODS, pod("plain")).await.refused(403),
        "pods \"plain\" is forbidden: pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n1\" can only create mirror pods"
    );
    let mut mirror = pod("etcd-n1");
    mirror["metadata"]["annotations"] =
        json!({"kubernetes.io/config.mirror": "h", "kubernetes.io/config.hash": "h"});
    mirror["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": registered["metadata"]["uid"], "controller": true}]);
    mirror["spec"]["nodeName"] = json!("n1");
    let made = node.post(PODS, mirror.clone()).await.ok();
    assert_eq!(made["spec"]["serviceAccountName"], Value::Null);
    mirror["metadata"]["name"] = json!("other");
    mirror["metadata"]["ownerReferences"][0]["uid"] = json!("wrong");
    assert_eq!(node.post(PODS, mirror).await.code, 403);
    let path = format!("{PODS}/etcd-n1");
    let status = json!({"status": {"phase": "Running"}});
    assert_eq!(
        node.patch(&format!("{path}/status"), "strategic-merge", status)
            .await
            .code,
        200
    );
    assert_eq!(
        node.delete(&path, json!({"gracePeriodSeconds": 0})).await.code,
        200
    );
}

#[tokio::test]
async fn a08_a12_n11_daemonset_generations() {
    let admin = Cluster::start().await.admin();
    let sets = "/apis/apps/v1/namespaces/default/daemonsets";
    let set = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}});
    let made = admin.post(sets, set.clone()).await.ok();
    let annotation =
        |set: &Value| set["metadata"]["annotations"]["deprecated.daemonset.template.generation"].clone();
    assert_eq!(
        (&made["metadata"]["generation"], annotation(&made)),
        (&json!(1), json!("1"))
    );
    assert_eq!(
        made["spec"]["updateStrategy"]["rollingUpdate"],
        json!({"maxSurge": 0, "maxUnavailable": 1})
    );
    assert_eq!(made["spec"]["revisionHistoryLimit"], 10);
    assert_eq!(made["status"]["desiredNumberScheduled"], 0);
    let path = format!("{sets}/d");
    let labelled = admin
        .patch(&path, "merge", json!({"metadata": {"labels": {"x": "y"}}}))
        .await
        .ok();
    assert_eq!(labelled["metadata"]["generation"], 1);
    let slower = admin
        .patch(&path, "merge", json!({"spec": {"minReadySeconds": 3}}))
        .await
        .ok();
    assert_eq!(
        (&slower["metadata"]["generation"], annotation(&slower)),
        (&json!(2), json!("1"))
    );
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}}});
    let updated = admin.patch(&path, "strategic-merge", image).await.ok();
    assert_eq!(
        (&updated["metadata"]["generation"], annotation(&updated)),
        (&json!(3), json!("2"))
    );
    let selector = json!({"spec": {"selector": {"matchLabels": {"a": "c"}}}});
    let message = admin.patch(&path, "merge", selector).await.refused(422);
    assert!(message.contains("spec.selector: Invalid value"), "{message}");
    assert!(message.contains("field is immutable"), "{message}");
}

#[tokio::test]
async fn a02_to_a07_a11_what_a_daemonset_cannot_be_is_refused() {
    let admin = Cluster::start().await.admin();
    let sets = "/apis/apps/v1/namespaces/default/daemonsets";
    let set = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}});
    admin.post(sets, set.clone()).await.ok();
    let odd = json!({"matchExpressions": [{"key": "a", "operator": "Like"}]});
    for (pointer, value, text) in [
        (
            "/spec/selector",
            odd,
            "spec.selector.matchExpressions[0].operator: Invalid value: \"Like\": not a valid selector operator",
        ),
        (
            "/spec/selector",
            json!({}),
            "spec.selector: Invalid value: {}: empty selector is invalid for daemonset",
        ),
        (
            "/spec/template/metadata/labels",
            json!({"a": "c"}),
            "spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`",
        ),
    ] {
        let mut other = set.clone();
        other["metadata"]["name"] = json!("other");
        *other.pointer_mut(pointer).unwrap() = value;
        let message = admin.post(sets, other).await.refused(422);
        assert_eq!(message, format!("DaemonSet.apps \"other\" is invalid: {text}"));
    }
    let path = format!("{sets}/d");
    let patch = |path: String, change: Value| {
        let admin = admin.clone();
        async move { admin.patch(&path, "merge", change).await }
    };
    let surge = json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}}});
    assert_eq!(
        patch(path.clone(), surge).await.refused(422),
        "DaemonSet.apps \"d\" is invalid: spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"
    );
    let status = format!("{path}/status");
    patch(status.clone(), json!({"status": {"collisionCount": 2}}))
        .await
        .ok();
    assert_eq!(
        patch(
            status,
            json!({"status": {"collisionCount": 1, "numberReady": -1}})
        )
        .await
        .refused(422),
        "DaemonSet.apps \"d\" is invalid: [status.numberReady: Invalid value: -1: must be greater than or equal to 0, status.collisionCount: Invalid value: 1: cannot be decremented]"
    );
}

#[tokio::test]
async fn n12_controller_revisions_keep_their_bytes() {
    let admin = Cluster::start().await.admin();
    let revisions = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let data = r#"{"spec":{"template":{"$patch":"replace","cmd":"a \u003c b \u0026\u0026 c"}}}"#;
    let body = format!(r#"{{"metadata":{{"name":"r"}},"revision":1,"data":{data}}}"#);
    let reply = admin
        .send(
            http::Method::POST,
            revisions,
            &[("content-type", "application/json")],
            body,
        )
        .await;
    assert!(reply.text.contains(&format!("\"data\":{data}")), "{}", reply.text);
    let path = format!("{revisions}/r");
    admin
        .patch(&path, "merge", json!({"data": {"x": 1}}))
        .await
        .refused(422);
    assert_eq!(
        admin.patch(&path, "merge", json!({"revision": 2})).await.ok()["revision"],
        2
    );
}

/// Contract §12.5: resources change through `resize` and nowhere else, and nothing else changes there.
#[tokio::test]
async fn resize_changes_cpu_and_memory_only_and_keeps_the_qos_class() {
    let admin = Cluster::start().await.admin();
    let amounts = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "4", "memory": "2Gi"}});
    let mut made = pod("p");
    made["spec"]["containers"][0]["resources"] = amounts;
    admin.post(PODS, made).await.ok();
    let (path, resize) = (format!("{PODS}/p"), format!("{PODS}/p/resize"));
    let bigger = json!({"spec": {"containers": [{"name": "c", "image": "other", "resources": {"requests": {"cpu": "2"}}}]}});
    let message = admin
        .patch(
            &path,
            "strategic-merge",
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}}),
        )
        .await
        .refused(422);
    assert!(
        message.contains("pod updates may not change fields other than"),
        "{message}"
    );
    let resized = admin.patch(&resize, "strategic-merge", bigger).await.ok();
    let container = &resized["spec"]["containers"][0];
    assert_eq!(
        container["resources"]["requests"],
        json!({"cpu": "2", "memory": "1Gi"})
    );
    assert_eq!(container["image"], "nginx");
    assert_eq!(resized["metadata"]["generation"], 2);
    let message = admin
        .patch(
            &resize,
            "strategic-merge",
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "4", "memory": "2Gi"}}}]}}),
        )
        .await
        .refused(422);
    assert_eq!(
        message,
        "Pod \"p\" is invalid: spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing"
    );
    let read = admin.get(&resize).await.ok();
    assert_eq!(read["kind"], "Pod");
    assert_eq!(admin.put(&resize, read.clone()).await.ok(), read);
    let served = admin.get("/api/v1").await.ok();
    let listed = served["resources"].as_array().unwrap();
    let entry = listed.iter().find(|r| r["name"] == "pods/resize").unwrap();
    assert_eq!(entry["verbs"], json!(["get", "patch", "update"]));
    assert_eq!(entry["kind"], "Pod");
    let status = json!({"status": {"phase": "Running", "containerStatuses": [
        {"name": "c", "image": "nginx", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}}]}});
    admin
        .patch(&format!("{path}/status"), "strategic-merge", status)
        .await
        .ok();
    let message = admin
        .patch(
            &resize,
            "strategic-merge",
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]}}),
        )
        .await
        .refused(422);
    assert!(
        message.contains("spec: Forbidden: Pod running on node without support for resize"),
        "{message}"
    );
}
