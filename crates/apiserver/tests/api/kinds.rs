//! Rules of the other kinds: N03, N07, N08, N10, N13, N15, O10, S12, S13, S14.
use crate::support::{CONFIGMAPS, Cluster, PODS, configmap, pod};
use orlop_apiserver::UserInfo;
use serde_json::{Value, json};

#[tokio::test]
async fn n07_immutable_configmaps_stay() {
    let admin = Cluster::start().await.admin();
    let mut object = configmap("c", "1");
    object["immutable"] = json!(true);
    admin.post(CONFIGMAPS, object).await.ok();
    let change = json!({"data": {"k": "2"}});
    assert_eq!(
        admin
            .patch(&format!("{CONFIGMAPS}/c"), "merge", change)
            .await
            .refused(422),
        "ConfigMap \"c\" is invalid: data: Forbidden: field is immutable when `immutable` is set"
    );
}

#[tokio::test]
async fn n08_string_data_is_write_only() {
    let admin = Cluster::start().await.admin();
    let secrets = "/api/v1/namespaces/default/secrets";
    let made = admin
        .post(
            secrets,
            json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}}),
        )
        .await
        .ok();
    assert_eq!(
        (&made["data"]["a"], &made["type"]),
        (&json!("Yg=="), &json!("Opaque"))
    );
    assert_eq!(made["stringData"], Value::Null);
}

#[tokio::test]
async fn n10_lease_times_have_six_digits() {
    let admin = Cluster::start().await.admin();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = |time: &str| json!({"metadata": {"name": "l"}, "spec": {"renewTime": time}});
    admin
        .post(leases, lease("2026-01-02T03:04:05Z"))
        .await
        .refused(400);
    let made = admin
        .post(leases, lease("2026-01-02T03:04:05.000006Z"))
        .await
        .ok();
    assert_eq!(made["spec"]["renewTime"], "2026-01-02T03:04:05.000006Z");
}

#[tokio::test]
async fn n13_priority_classes_are_bounded() {
    let admin = Cluster::start().await.admin();
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let class = |name: &str, value: i64, default: bool| json!({"metadata": {"name": name}, "value": value, "globalDefault": default});
    let message = admin
        .post(classes, class("big", 1_000_000_001, false))
        .await
        .refused(422);
    assert!(
        message.contains("maximum allowed value of a user defined priority is 1000000000"),
        "{message}"
    );
    admin
        .post(classes, class("system-x", 1, false))
        .await
        .refused(422);
    admin.post(classes, class("pcd", 7, true)).await.ok();
    assert_eq!(
        admin.post(classes, class("other", 8, true)).await.refused(403),
        "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass pcd is already marked as default. Only one default can exist"
    );
    let change = json!({"value": 9});
    let message = admin
        .patch(&format!("{classes}/pcd"), "merge", change)
        .await
        .refused(422);
    assert!(message.contains("may not be changed in an update."), "{message}");
    let made = admin.post(PODS, pod("p")).await.ok();
    assert_eq!(
        (&made["spec"]["priority"], &made["spec"]["priorityClassName"]),
        (&json!(7), &json!("pcd"))
    );
}

#[tokio::test]
async fn n15_deployments_scale() {
    let admin = Cluster::start().await.admin();
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    admin.post(deployments, deployment).await.ok();
    let path = format!("{deployments}/d/scale");
    let scaled = admin
        .patch(&path, "merge", json!({"spec": {"replicas": 3}}))
        .await
        .ok();
    assert_eq!(
        (&scaled["kind"], &scaled["spec"]["replicas"]),
        (&json!("Scale"), &json!(3))
    );
    assert_eq!(scaled["status"]["selector"], "a=b");
    assert_eq!(
        admin.get(&format!("{deployments}/d")).await.ok()["metadata"]["generation"],
        2
    );
    admin
        .patch(&path, "merge", json!({"spec": {"replicas": -1}}))
        .await
        .refused(422);
}

#[tokio::test]
async fn o10_budgets_hold_back_evictions() {
    let admin = Cluster::start().await.admin();
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}});
    admin.post(budgets, budget).await.ok();
    let status = |allowed: i64| {
        json!({"status": {"observedGeneration": 1, "disruptionsAllowed": allowed,
        "desiredHealthy": 1, "currentHealthy": 1, "expectedPods": 1}})
    };
    let mut object = pod("p");
    object["metadata"]["labels"] = json!({"app": "x"});
    object["spec"]["nodeName"] = json!("n1");
    admin.post(PODS, object).await.ok();
    let running =
        json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    admin
        .patch(&format!("{PODS}/p/status"), "merge", running)
        .await
        .ok();
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let path = format!("{PODS}/p/eviction");
    let mut older = eviction.clone();
    older["apiVersion"] = json!("policy/v1beta1");
    assert_eq!(admin.post(&path, older).await.code, 429, "by an older client");
    let unseen = admin.post(&path, eviction.clone()).await;
    assert_eq!(unseen.headers["retry-after"], "10");
    admin
        .patch(&format!("{budgets}/b/status"), "merge", status(0))
        .await
        .ok();
    let blocked = admin.post(&path, eviction.clone()).await;
    assert_eq!(
        blocked.json()["details"]["causes"],
        json!([{"reason": "DisruptionBudget", "message": "The disruption budget b needs 1 healthy pods and has 1 currently"}])
    );
    assert_eq!(
        blocked.refused(429),
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    admin
        .patch(&format!("{budgets}/b/status"), "merge", status(1))
        .await
        .ok();
    assert_eq!(admin.post(&path, eviction).await.code, 201);
    let evicted = admin.get(&format!("{PODS}/p")).await.ok();
    assert!(evicted["metadata"]["deletionTimestamp"].is_string());
    let conditions = evicted["status"]["conditions"].as_array().unwrap();
    assert!(
        conditions
            .iter()
            .any(|condition| condition["reason"] == "EvictionByEvictionAPI"),
        "{conditions:?}"
    );
    assert_eq!(
        admin.get(&format!("{budgets}/b")).await.ok()["status"]["disruptionsAllowed"],
        0
    );
}

/// Upstream's cases of evictions with preconditions and of pods that are over.
#[tokio::test]
async fn evictions_mark_pods_that_are_over_too_and_name_the_pod_they_mean() {
    let admin = Cluster::start().await.admin();
    let held = async |name: &str, phase: &str| {
        let mut object = pod(name);
        object["metadata"]["finalizers"] = json!(["test/hold"]);
        let before = admin.post(PODS, object).await.ok();
        let status = json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]}});
        let now = admin
            .patch(&format!("{PODS}/{name}/status"), "merge", status)
            .await
            .ok();
        (before, now)
    };
    let evict = async |name: &str, options: Value| {
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name},
            "deleteOptions": options});
        admin.post(&format!("{PODS}/{name}/eviction"), eviction).await
    };
    let is_marked = async |name: &str| {
        let pod = admin.get(&format!("{PODS}/{name}")).await.ok();
        let conditions = pod["status"]["conditions"].as_array().unwrap();
        conditions
            .iter()
            .any(|condition| condition["type"] == "DisruptionTarget")
    };
    held("over", "Succeeded").await;
    assert_eq!(evict("over", json!({})).await.code, 201);
    assert!(is_marked("over").await);

    held("tried", "Running").await;
    assert_eq!(evict("tried", json!({"dryRun": ["All"]})).await.code, 201);
    assert!(!is_marked("tried").await, "a dry run changes nothing");

    let (before, now) = held("meant", "Running").await;
    let version = |pod: &Value| pod["metadata"]["resourceVersion"].clone();
    let uid = now["metadata"]["uid"].clone();
    let stale = json!({"preconditions": {"resourceVersion": version(&before)}});
    evict("meant", stale).await.refused(409);
    let other = json!({"preconditions": {"uid": "9d86d6ae-4e06-4ff1-bc55-f77f52e272e9"}});
    evict("meant", other).await.refused(409);
    assert!(!is_marked("meant").await);
    let right = json!({"preconditions": {"resourceVersion": version(&now), "uid": uid}});
    assert_eq!(evict("meant", right).await.code, 201);
    assert!(is_marked("meant").await);
}

#[tokio::test]
async fn s12_a_node_keeps_its_hands_off_taints_and_foreign_labels() {
    let cluster = Cluster::start().await;
    let node = cluster.user(UserInfo::node("n1"));
    node.post(
        "/api/v1/nodes",
        json!({"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1"}}}),
    )
    .await
    .ok();
    let path = "/api/v1/nodes/n1";
    let labels = |key: &str| json!({"metadata": {"labels": {key: "x"}}});
    let message = node
        .patch(path, "merge", labels("node-restriction.kubernetes.io/x"))
        .await
        .refused(403);
    assert!(
        message.contains("is not allowed to modify labels: node-restriction.kubernetes.io/x"),
        "{message}"
    );
    node.patch(path, "merge", labels("example.com/mine")).await.ok();
    let taints = json!({"spec": {"taints": null}});
    let message = node.patch(path, "merge", taints).await.refused(403);
    assert!(message.contains("is not allowed to modify taints"), "{message}");
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    node.patch(&format!("{path}/status"), "strategic-merge", ready)
        .await
        .ok();
    let lease =
        json!({"metadata": {"name": "n1", "namespace": "kube-node-lease"}, "spec": {"holderIdentity": "n1"}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let made = node.post(leases, lease.clone()).await.ok();
    assert_eq!(node.put(&format!("{leases}/n1"), made).await.code, 200);
    let mut other = lease;
    other["metadata"]["name"] = json!("n2");
    assert_eq!(node.post(leases, other).await.code, 403);
}

#[tokio::test]
async fn s13_s14_reviews_answer_for_others_and_list_rules() {
    let admin = Cluster::start().await.admin();
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let question = |user: &str| {
        json!({"spec": {"user": user, "groups": ["system:nodes", "system:authenticated"],
        "resourceAttributes": {"verb": "get", "resource": "nodes", "name": "n1"}}})
    };
    assert_eq!(
        admin.post(reviews, question("system:node:n1")).await.ok()["status"]["allowed"],
        true
    );
    let denied = admin.post(reviews, question("system:node:n2")).await.ok();
    assert_eq!(denied["status"]["allowed"], false);
    assert!(
        denied["status"]["reason"]
            .as_str()
            .unwrap()
            .contains("only its own Node object")
    );
    let message = admin
        .post(
            reviews,
            json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/"}}}),
        )
        .await
        .refused(422);
    assert!(
        message.contains("at least one of user or group must be specified"),
        "{message}"
    );
    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let mine = admin
        .post(rules, json!({"spec": {"namespace": "default"}}))
        .await
        .ok();
    assert_eq!(mine["status"]["resourceRules"][0]["verbs"], json!(["*"]));
}
