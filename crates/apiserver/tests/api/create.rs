//! create, get, update: cases C01 to C16.
use crate::support::{CONFIGMAPS, Cluster, PODS, configmap, pod, version};
use http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn c01_a_nameless_object_is_refused() {
    let admin = Cluster::start().await.admin();
    let message = admin
        .post(
            PODS,
            json!({"spec": {"containers": [{"name": "c", "image": "i"}]}}),
        )
        .await
        .refused(422);
    assert!(
        message.contains("metadata.name: Required value: name or generateName is required"),
        "{message}"
    );
}

#[tokio::test]
async fn c02_names_are_generated() {
    let admin = Cluster::start().await.admin();
    let made = admin
        .post(CONFIGMAPS, json!({"metadata": {"generateName": "full-"}}))
        .await
        .ok();
    let name = made["metadata"]["name"].as_str().unwrap();
    let suffix = name.strip_prefix("full-").unwrap();
    assert!(
        suffix.len() == 5
            && suffix
                .bytes()
                .all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b)),
        "{name}"
    );
}

#[tokio::test]
async fn c03_c04_names_are_taken_once_and_versions_are_the_servers() {
    let admin = Cluster::start().await.admin();
    let made = admin.post(CONFIGMAPS, configmap("c1", "v")).await;
    assert_eq!(made.code, 201);
    assert_eq!(
        admin.post(CONFIGMAPS, configmap("c1", "v")).await.refused(409),
        "configmaps \"c1\" already exists"
    );
    let mut versioned = configmap("c2", "v");
    versioned["metadata"]["resourceVersion"] = json!("5");
    assert_eq!(
        admin.post(CONFIGMAPS, versioned).await.refused(500),
        "resourceVersion should not be set on objects to be created"
    );
    assert_eq!(admin.get(&format!("{CONFIGMAPS}/c2")).await.code, 404);
}

/// What follows from the uid follows from the new one.
#[tokio::test]
async fn a_job_that_is_made_from_another_one_has_pods_of_its_own() {
    let admin = Cluster::start().await.admin();
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": {"restartPolicy": "Never",
        "containers": [{"name": "c", "image": "i"}]}}}});
    let mut read = admin.post(jobs, job).await.ok();
    read["metadata"]["name"] = json!("k");
    read["metadata"]["resourceVersion"] = json!(null);
    let message = admin.post(jobs, read.clone()).await.refused(422);
    assert!(message.contains("`selector` not auto-generated"), "{message}");
    read["spec"]["selector"] = json!(null);
    let made = admin.post(jobs, read.clone()).await.ok();
    let uid = &made["metadata"]["uid"];
    assert_ne!(*uid, read["metadata"]["uid"]);
    let own = json!({"batch.kubernetes.io/controller-uid": uid});
    assert_eq!(made["spec"]["selector"], json!({"matchLabels": own}));
    let labels = &made["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["batch.kubernetes.io/controller-uid"], *uid);
}

#[tokio::test]
async fn c05_c06_c07_namespace_and_name_are_checked() {
    let admin = Cluster::start().await.admin();
    let mut other = configmap("c", "v");
    other["metadata"]["namespace"] = json!("other");
    assert_eq!(
        admin.post(CONFIGMAPS, other).await.refused(400),
        "the namespace of the provided object does not match the namespace sent on the request"
    );
    // What has no namespace is let off with one.
    for (path, kind) in [
        ("/api/v1/namespaces", "Namespace"),
        ("/api/v1/persistentvolumes", "PersistentVolume"),
    ] {
        let mut object =
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "n", "namespace": "default"}});
        if kind == "PersistentVolume" {
            object["spec"] = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": "/tmp"}});
        }
        let made = admin.post(path, object.clone()).await.ok();
        assert_eq!(made["metadata"].get("namespace"), None, "{kind}");
        object["metadata"]["labels"] = json!({"a": "b"});
        let put = admin.put(&format!("{path}/n"), object).await.ok();
        assert_eq!(put["metadata"].get("namespace"), None, "{kind}");
    }
    let message = admin.post(CONFIGMAPS, configmap("A_b", "v")).await.refused(422);
    assert!(
        message.starts_with("ConfigMap \"A_b\" is invalid: metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain"),
        "{message}"
    );
    assert_eq!(
        admin
            .post("/api/v1/namespaces/nons/configmaps", configmap("c", "v"))
            .await
            .refused(404),
        "namespaces \"nons\" not found"
    );
    let empty = admin.get("/api/v1/namespaces/nons/configmaps").await.ok();
    assert_eq!(empty["items"], json!([]));
}

#[tokio::test]
async fn c08_c09_c10_puts_respect_versions() {
    let admin = Cluster::start().await.admin();
    let first = admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let path = format!("{CONFIGMAPS}/c");
    let second = admin.put(&path, configmap("c", "2")).await.ok();
    assert!(version(&second) > version(&first));
    let mut stale = first.clone();
    stale["data"]["k"] = json!("3");
    assert_eq!(
        admin.put(&path, stale).await.refused(409),
        "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let same = admin.put(&path, second.clone()).await.ok();
    assert_eq!(same, second);

    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}});
    admin.post(leases, lease.clone()).await.ok();
    let message = admin.put(&format!("{leases}/l"), lease).await.refused(422);
    assert_eq!(
        message,
        "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
}

#[tokio::test]
async fn c11_some_kinds_are_created_by_put() {
    let admin = Cluster::start().await.admin();
    assert_eq!(
        admin
            .put(&format!("{CONFIGMAPS}/c"), configmap("c", "1"))
            .await
            .code,
        404
    );
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    assert_eq!(
        admin.put(leases, json!({"metadata": {"name": "l"}})).await.code,
        201
    );
}

#[tokio::test]
async fn c12_identity_is_the_servers() {
    let admin = Cluster::start().await.admin();
    let mut object = pod("p");
    object["metadata"]["uid"] = json!("mine");
    object["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    object["metadata"]["generation"] = json!(7);
    object["status"] = json!({"phase": "Running"});
    let made = admin.post(PODS, object).await.ok();
    assert_ne!(made["metadata"]["uid"], "mine");
    assert_ne!(made["metadata"]["creationTimestamp"], "2001-01-01T00:00:00Z");
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["status"]["phase"], "Pending");
}

#[tokio::test]
async fn c13_repeated_owners_are_dropped_with_a_warning() {
    let admin = Cluster::start().await.admin();
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"});
    let mut object = configmap("c", "v");
    object["metadata"]["ownerReferences"] = json!([owner, owner]);
    let reply = admin.post(CONFIGMAPS, object).await;
    assert!(reply.warnings()[0].contains(".metadata.ownerReferences contains duplicate entries"));
    assert_eq!(
        reply.ok()["metadata"]["ownerReferences"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn c15_big_configmaps_are_refused() {
    let admin = Cluster::start().await.admin();
    let message = admin
        .post(CONFIGMAPS, configmap("c", &"x".repeat(1024 * 1024 + 1)))
        .await
        .refused(422);
    assert!(
        message.contains("Too long: may not be more than 1048576 bytes"),
        "{message}"
    );
}

#[tokio::test]
async fn c16_dry_runs_store_nothing() {
    let admin = Cluster::start().await.admin();
    let reply = admin
        .post(&format!("{CONFIGMAPS}?dryRun=All"), configmap("c", "1"))
        .await;
    assert_eq!(reply.code, 201);
    let made = reply.json();
    assert!(made["metadata"]["uid"].is_string());
    assert_eq!(made["metadata"]["resourceVersion"], Value::Null);
    assert_eq!(admin.get(&format!("{CONFIGMAPS}/c")).await.code, 404);

    let stored = admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let path = format!("{CONFIGMAPS}/c?dryRun=All");
    let patched = admin
        .patch(&path, "merge", json!({"data": {"k": "2"}}))
        .await
        .ok();
    assert_eq!(patched["data"]["k"], "2");
    assert_eq!(admin.send(Method::DELETE, &path, &[], "").await.code, 200);
    assert_eq!(admin.get(&format!("{CONFIGMAPS}/c")).await.ok(), stored);
}

#[tokio::test]
async fn v01_unknown_fields_warn_or_fail() {
    let admin = Cluster::start().await.admin();
    let mut object = configmap("c", "1");
    object["bogus"] = json!(1);
    let reply = admin
        .post(&format!("{CONFIGMAPS}?fieldValidation=Strict"), object.clone())
        .await;
    assert_eq!(
        reply.refused(400),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"bogus\""
    );
    let reply = admin.post(CONFIGMAPS, object.clone()).await;
    assert_eq!(reply.warnings(), [r#"299 - "unknown field \"bogus\"""#]);
    assert_eq!(reply.ok()["bogus"], Value::Null);
    object["metadata"]["name"] = json!("d");
    let reply = admin
        .post(&format!("{CONFIGMAPS}?fieldValidation=Ignore"), object)
        .await;
    assert!(reply.warnings().is_empty());
}

#[tokio::test]
async fn defaults_leave_nothing_where_nothing_was() {
    let admin = Cluster::start().await.admin();
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let objects = [
        (
            "/api/v1/namespaces/default/services",
            json!({"type": "ExternalName", "externalName": "a.example"}),
            vec!["/spec/ports"],
        ),
        (
            "/api/v1/namespaces/default/services",
            json!({"type": "LoadBalancer", "ports": [{"port": 80}]}),
            vec!["/status/loadBalancer/ingress"],
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
            json!({"podSelector": {}, "ingress": [{}]}),
            vec!["/spec/egress", "/spec/ingress/0/ports"],
        ),
        (
            "/apis/apps/v1/namespaces/default/statefulsets",
            json!({"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}),
            vec!["/spec/volumeClaimTemplates"],
        ),
        (
            "/api/v1/namespaces/default/endpoints",
            Value::Null,
            vec!["/subsets"],
        ),
    ];
    for (path, spec, absent) in objects {
        let mut object = json!({"metadata": {"generateName": "x-"}});
        if !spec.is_null() {
            object["spec"] = spec;
        }
        let made = admin.post(path, object).await.ok();
        for pointer in absent {
            assert_eq!(made.pointer(pointer), None, "{pointer} of {made}");
        }
    }
}
