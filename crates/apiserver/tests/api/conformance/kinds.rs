//! Lifecycles that upstream's suites take single kinds through, beyond what every kind has.
use crate::support::{CONFIGMAPS, Cluster, configmap};
use http::Method;
use serde_json::{Value, json};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

/// "should be able to change the type from ExternalName to ClusterIP", "… to NodePort", and back
#[tokio::test]
async fn services_change_their_type_and_what_goes_with_it() {
    let admin = Cluster::start().await.admin();
    let path = format!("{SERVICES}/s");
    let external = json!({"metadata": {"name": "s"}, "spec": {"type": "ExternalName", "externalName": "foo.example.com"}});
    let made = admin.post(SERVICES, external).await.ok();
    assert_eq!(made["spec"].get("clusterIP"), None);
    let mut now = made;
    now["spec"]["type"] = json!("ClusterIP");
    now["spec"]["externalName"] = json!("");
    now["spec"]["ports"] = json!([{"port": 80, "name": "http", "protocol": "TCP"}]);
    let mut now = admin.put(&path, now).await.ok();
    let address = now["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(address.starts_with("10."), "{address}");
    assert_eq!(now["spec"]["clusterIPs"], json!([address]));
    now["spec"]["type"] = json!("NodePort");
    let mut now = admin.put(&path, now).await.ok();
    assert_eq!(now["spec"]["clusterIP"], address.as_str(), "the address stays");
    let port = now["spec"]["ports"][0]["nodePort"].as_i64().unwrap();
    assert!((30000..=32767).contains(&port), "{port}");
    assert_eq!(now["spec"]["externalTrafficPolicy"], "Cluster");
    now["spec"]["type"] = json!("ExternalName");
    now["spec"]["externalName"] = json!("bar.example.com");
    let now = admin.put(&path, now).await.ok();
    for gone in ["clusterIP", "clusterIPs", "externalTrafficPolicy"] {
        assert_eq!(now["spec"].get(gone), None, "{gone} stays: {now}");
    }
    assert_eq!(now["spec"]["ports"][0].get("nodePort"), None);
    // What it had is free again.
    let taker = json!({"metadata": {"name": "taker"}, "spec": {"type": "NodePort", "clusterIP": address,
        "ports": [{"port": 1, "nodePort": port}]}});
    admin.post(SERVICES, taker).await.ok();
}

/// "should have session affinity timeout", "should be able to switch session affinity"
#[tokio::test]
async fn services_switch_their_session_affinity() {
    let admin = Cluster::start().await.admin();
    let service =
        json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "sessionAffinity": "ClientIP"}});
    let made = admin.post(SERVICES, service).await.ok();
    assert_eq!(
        made["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"],
        10800
    );
    let none = json!({"spec": {"sessionAffinity": "None", "sessionAffinityConfig": null}});
    let none = admin.patch(&format!("{SERVICES}/s"), "merge", none).await.ok();
    assert_eq!(none["spec"].get("sessionAffinityConfig"), None);
    let back = json!({"spec": {"sessionAffinity": "ClientIP"}});
    let back = admin.patch(&format!("{SERVICES}/s"), "merge", back).await.ok();
    assert_eq!(
        back["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"],
        10800
    );
}

/// "should complete a service status lifecycle"
#[tokio::test]
async fn the_status_of_a_service_is_patched_and_updated_apart() {
    let admin = Cluster::start().await.admin();
    let service =
        json!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    admin.post(SERVICES, service).await.ok();
    let part = format!("{SERVICES}/s/status");
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}, "metadata": {"annotations": {"patchedstatus": "true"}}});
    let mut patched = admin.patch(&part, "merge", ingress).await.ok();
    assert_eq!(
        patched["status"]["loadBalancer"]["ingress"][0]["ip"],
        "203.0.113.1"
    );
    assert_eq!(patched["metadata"]["annotations"]["patchedstatus"], "true");
    patched["status"]["conditions"] = json!([{"type": "StatusUpdate", "status": "True", "reason": "E2E",
        "message": "m", "lastTransitionTime": "2026-01-02T03:04:05Z"}]);
    let updated = admin.put(&part, patched).await.ok();
    assert_eq!(updated["status"]["conditions"][0]["type"], "StatusUpdate");
    let table = admin.table(&format!("{SERVICES}/s")).await.ok();
    assert_eq!(table["rows"][0]["cells"][3], "203.0.113.1");
}

/// "should fail to create ConfigMap with empty key", "should fail to create secret due to empty secret key"
#[tokio::test]
async fn keys_of_data_are_file_names() {
    let admin = Cluster::start().await.admin();
    for (path, kind, value) in [(CONFIGMAPS, "ConfigMap", "v"), (SECRETS, "Secret", "dg==")] {
        for key in ["", "..", "a/b", "a b", &"x".repeat(254)] {
            let object = json!({"metadata": {"name": "c"}, "data": {key: value}});
            let message = admin.post(path, object).await.refused(422);
            let prefix = format!("{kind} \"c\" is invalid: ");
            assert!(
                message.starts_with(&prefix) && message.contains(&format!("data[{key}]: ")),
                "{message}"
            );
        }
    }
    let both = json!({"metadata": {"name": "c"}, "data": {"k": "v"}, "binaryData": {"k": "dg=="}});
    let message = admin.post(CONFIGMAPS, both).await.refused(422);
    assert!(
        message.contains("duplicate of key present in binaryData"),
        "{message}"
    );
}

/// "should be immutable if `immutable` field is set"
#[tokio::test]
async fn immutable_data_stays_and_so_does_its_immutability() {
    let admin = Cluster::start().await.admin();
    for (path, other) in [(CONFIGMAPS, "w"), (SECRETS, "dw==")] {
        let value = if path == CONFIGMAPS { "v" } else { "dg==" };
        let made = json!({"metadata": {"name": "c"}, "data": {"k": value}, "immutable": true});
        admin.post(path, made).await.ok();
        let one = format!("{path}/c");
        let message = admin
            .patch(&one, "merge", json!({"data": {"k": other}}))
            .await
            .refused(422);
        assert!(
            message.contains("data: Forbidden: field is immutable when `immutable` is set"),
            "{message}"
        );
        let message = admin
            .patch(&one, "merge", json!({"immutable": false}))
            .await
            .refused(422);
        assert!(
            message.contains("immutable: Forbidden: field is immutable when `immutable` is set"),
            "{message}"
        );
        admin
            .patch(&one, "merge", json!({"metadata": {"labels": {"a": "b"}}}))
            .await
            .ok();
        admin.delete(&one, Value::Null).await.ok();
    }
}

/// "should apply a finalizer to a Namespace", "should apply changes to a namespace status", "should patch a Namespace"
#[tokio::test]
async fn namespaces_have_finalizers_and_a_status_of_their_own_paths() {
    let admin = Cluster::start().await.admin();
    let path = "/api/v1/namespaces/n1";
    let made = admin
        .post("/api/v1/namespaces", json!({"metadata": {"name": "n1"}}))
        .await
        .ok();
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], "n1");
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    let mut with = made.clone();
    with["spec"]["finalizers"] = json!(["kubernetes", "e2e.example.com/fakeFinalizer"]);
    let mut with = admin.put(&format!("{path}/finalize"), with).await.ok();
    assert_eq!(with["spec"]["finalizers"][1], "e2e.example.com/fakeFinalizer");
    with["spec"]["finalizers"] = json!(["kubernetes"]);
    let without = admin.put(&format!("{path}/finalize"), with).await.ok();
    assert_eq!(without["spec"]["finalizers"], json!(["kubernetes"]));
    let unlabelled = json!({"metadata": {"labels": {"kubernetes.io/metadata.name": null, "a": "b"}}});
    let patched = admin.patch(path, "merge", unlabelled).await.ok();
    assert_eq!(
        patched["metadata"]["labels"],
        json!({"a": "b", "kubernetes.io/metadata.name": "n1"})
    );
    let status = json!({"status": {"conditions": [{"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "m"}]}});
    let status = admin
        .patch(&format!("{path}/status"), "strategic-merge", status)
        .await
        .ok();
    assert_eq!(status["status"]["conditions"][0]["type"], "StatusPatch");
    assert_eq!(status["status"]["phase"], "Active");
    let ending = admin.delete(path, Value::Null).await.ok();
    assert_eq!(ending["status"]["phase"], "Terminating");
    let refused = admin
        .post("/api/v1/namespaces/n1/configmaps", configmap("x", "1"))
        .await;
    let status = refused.json();
    assert_eq!(
        refused.refused(403),
        "configmaps \"x\" is forbidden: unable to create new content in namespace n1 because it is being terminated"
    );
    assert_eq!(
        status["details"]["causes"],
        json!([{"reason": "NamespaceTerminating", "message": "namespace n1 is being terminated", "field": "metadata.namespace"}])
    );
    let mut done = admin.get(path).await.ok();
    done["spec"]["finalizers"] = json!([]);
    admin.put(&format!("{path}/finalize"), done).await.ok();
    assert_eq!(admin.get(path).await.code, 404);
}

/// "should manage the lifecycle of an event", "should ensure that an event can be fetched, patched, deleted, and listed"
#[tokio::test]
async fn events_are_counted_up_through_either_group() {
    let admin = Cluster::start().await.admin();
    let (core, group) = (
        "/api/v1/namespaces/default/events/e",
        "/apis/events.k8s.io/v1/namespaces/default/events/e",
    );
    let event = json!({"metadata": {"name": "e"}, "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "Test",
        "note": "This is e", "type": "Normal", "action": "Do", "eventTime": "2026-01-02T03:04:05.000006Z",
        "reportingController": "test-controller", "reportingInstance": "test-node"});
    admin.post(group.trim_end_matches("/e"), event).await.ok();
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-02T03:05:05.000006Z"}});
    let patched = admin.patch(group, "merge", series).await.ok();
    assert_eq!(patched["series"]["count"], 2);
    let seen = admin.get(core).await.ok();
    assert_eq!(
        (seen["message"].as_str(), seen["series"]["count"].as_i64()),
        (Some("This is e"), Some(2))
    );
    let mut updated = admin.get(group).await.ok();
    updated["series"] = json!({"count": 100, "lastObservedTime": "2026-01-02T03:06:05.000006Z"});
    admin.put(group, updated).await.ok();
    let message = admin
        .patch(group, "merge", json!({"reason": "Q"}))
        .await
        .refused(422);
    assert!(
        message.contains("reason: Invalid value: \"Q\": field is immutable"),
        "{message}"
    );
    // The older group lets its messages change.
    let changed = admin
        .patch(core, "merge", json!({"message": "another"}))
        .await
        .ok();
    assert_eq!(changed["message"], "another");
    assert_eq!(admin.get(group).await.ok()["note"], "another");
    let fields = "fieldSelector=reportingComponent%3Dtest-controller";
    let list = admin.get(&format!("/api/v1/events?{fields}")).await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    admin.delete(core, Value::Null).await.ok();
    assert_eq!(admin.get(group).await.code, 404);
}

/// "should support CSR API operations"
#[tokio::test]
async fn s15_certificate_requests_are_approved_and_signed_through_their_own_paths() {
    let admin = Cluster::start().await.admin();
    let csr = super::objects::samples()
        .into_iter()
        .find(|sample| sample.kind == "CertificateSigningRequest")
        .unwrap();
    let made = admin.post(&csr.path(""), csr.object("r")).await.ok();
    assert_eq!(made["spec"]["username"], "admin");
    let path = format!("{}/r", csr.path(""));
    let approved = json!({"metadata": {"annotations": {"patchedapproval": "true"}}, "status": {"conditions": [
        {"type": "ApprovalPatch", "status": "True", "reason": "FromTest", "message": "m"}]}});
    let mut patched = admin
        .patch(&format!("{path}/approval"), "merge", approved)
        .await
        .ok();
    assert_eq!(patched["status"]["conditions"][0]["type"], "ApprovalPatch");
    let mut conditions = patched["status"]["conditions"].as_array().unwrap().clone();
    conditions.push(
        json!({"type": "Approved", "status": "True", "reason": "E2E", "message": "Set from an e2e test"}),
    );
    patched["status"]["conditions"] = json!(conditions);
    let approved = admin.put(&format!("{path}/approval"), patched).await.ok();
    assert_eq!(approved["status"]["conditions"].as_array().unwrap().len(), 2);
    let both = json!({"status": {"conditions": [{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}]}});
    let message = admin
        .patch(&format!("{path}/approval"), "merge", both)
        .await
        .refused(422);
    assert!(
        message.contains("Approved and Denied conditions are mutually exclusive"),
        "{message}"
    );
    let pem = "-----BEGIN CERTIFICATE-----\nZm9v\n-----END CERTIFICATE-----\n";
    let bad = json!({"status": {"certificate": base64(pem)}});
    admin
        .patch(&format!("{path}/status"), "merge", bad)
        .await
        .refused(422);
    let good = orlop_pki::Authority::ephemeral("ops").unwrap();
    let signed = json!({"status": {"certificate": base64(good.certificate())}});
    let signed = admin.patch(&format!("{path}/status"), "merge", signed).await.ok();
    let table = admin.table(&path).await.ok();
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells.last().unwrap(), "Approved,Issued");
    assert_eq!(signed["status"]["conditions"].as_array().unwrap().len(), 2);
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// "should have a working scale subresource", of every kind that has one.
#[tokio::test]
async fn n15_every_scale_is_read_patched_and_updated() {
    let admin = Cluster::start().await.admin();
    let scaled = ["Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"];
    for sample in super::objects::samples() {
        if !scaled.contains(&sample.kind) {
            continue;
        }
        let collection = sample.path("default");
        admin.post(&collection, sample.object("s")).await.ok();
        let part = format!("{collection}/s/scale");
        let mut scale = admin.get(&part).await.ok();
        assert_eq!(
            (scale["kind"].as_str(), scale["apiVersion"].as_str()),
            (Some("Scale"), Some("autoscaling/v1"))
        );
        assert_eq!(scale["status"]["selector"], "app=ops", "{}", sample.kind);
        scale["metadata"]["resourceVersion"] = json!("");
        scale["spec"]["replicas"] = json!(2);
        let put = admin.put(&part, scale).await.ok();
        assert_eq!(put["spec"]["replicas"], 2);
        let patched = admin
            .patch(&part, "merge", json!({"spec": {"replicas": 4}}))
            .await
            .ok();
        assert_eq!(patched["spec"]["replicas"], 4);
        assert_eq!(
            admin.get(&format!("{collection}/s")).await.ok()["spec"]["replicas"],
            4
        );
        let message = admin
            .patch(&part, "merge", json!({"spec": {"replicas": -1}}))
            .await
            .refused(422);
        assert!(
            message.contains("spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
            "{message}"
        );
        let table = admin.table(&part).await.ok();
        assert_eq!(table["rows"][0]["cells"][1], 4);
    }
}

/// "verify PriorityClass endpoints can be operated with different HTTP methods"
#[tokio::test]
async fn n13_of_a_priority_class_all_but_its_meaning_may_change() {
    let admin = Cluster::start().await.admin();
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let class = json!({"metadata": {"name": "p1"}, "value": 1_000_000, "description": "first"});
    let made = admin.post(classes, class).await.ok();
    assert_eq!(made["preemptionPolicy"], "PreemptLowerPriority");
    let path = format!("{classes}/p1");
    let described = admin
        .patch(&path, "merge", json!({"description": "second"}))
        .await
        .ok();
    assert_eq!(described["description"], "second");
    for (change, text) in [
        (
            json!({"value": 2}),
            "value: Forbidden: may not be changed in an update.",
        ),
        (
            json!({"preemptionPolicy": "Never"}),
            "preemptionPolicy: Forbidden: may not be changed in an update.",
        ),
    ] {
        let message = admin.patch(&path, "merge", change.clone()).await.refused(422);
        assert!(message.contains(text), "{message}");
        let mut put = admin.get(&path).await.ok();
        for (key, value) in change.as_object().unwrap() {
            put[key] = value.clone();
        }
        admin.put(&path, put).await.refused(422);
    }
    let builtin = admin.get(&format!("{classes}/system-node-critical")).await.ok();
    assert_eq!(builtin["value"], 2_000_001_000);
}

/// "should be able to update and delete ResourceQuota", "should apply changes to a resourcequota status"
#[tokio::test]
async fn the_status_of_a_quota_is_what_the_controller_counted() {
    let admin = Cluster::start().await.admin();
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"cpu": "500m", "memory": "500Mi"}}});
    admin.post(quotas, quota).await.ok();
    let path = format!("{quotas}/q");
    let raised = json!({"spec": {"hard": {"cpu": "1000m"}}});
    let raised = admin.patch(&path, "merge", raised).await.ok();
    assert_eq!(raised["spec"]["hard"], json!({"cpu": "1", "memory": "500Mi"}));
    let status = json!({"status": {"hard": {"memory": "300Mi"}, "used": {"memory": "0"}}});
    let status = admin
        .patch(&format!("{path}/status"), "strategic-merge", status)
        .await
        .ok();
    assert_eq!(status["status"]["hard"]["memory"], "300Mi");
    let mut put = status.clone();
    put["status"]["hard"]["memory"] = json!("350Mi");
    let put = admin.put(&format!("{path}/status"), put).await.ok();
    assert_eq!(put["status"]["hard"]["memory"], "350Mi");
    assert_eq!(put["spec"], status["spec"]);
    let frozen = json!({"spec": {"scopes": ["BestEffort"]}});
    let message = admin.patch(&path, "merge", frozen).await.refused(422);
    assert!(message.contains("spec.scopes: Invalid value"), "{message}");
}

/// Every verb that is not offered is 405, and every path that is not served 404, with the Status that says so.
#[tokio::test]
async fn t11_wrong_methods_are_405_wherever_they_are_sent() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let one = format!("{CONFIGMAPS}/c");
    for (method, path) in [
        (Method::PUT, CONFIGMAPS),
        (Method::PATCH, CONFIGMAPS),
        (Method::POST, &one),
        (Method::HEAD, &one),
        (Method::OPTIONS, &one),
        (Method::DELETE, "/api/v1/configmaps"),
        (Method::DELETE, "/api/v1/namespaces"),
        (
            Method::GET,
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        ),
        (Method::POST, "/api/v1/namespaces/default/pods/p/status"),
    ] {
        let headers = [("content-type", "application/merge-patch+json")];
        let reply = admin.send(method.clone(), path, &headers, "{}").await;
        assert_eq!(reply.code, 405, "{method} {path}: {}", reply.text);
        if method != Method::HEAD {
            let status = reply.json();
            assert_eq!(status["reason"], "MethodNotAllowed", "{method} {path}");
            assert_eq!(
                status["message"],
                "the server does not allow this method on the requested resource"
            );
        }
    }
    for path in [
        "/api/v1/namespaces/default/nodes",
        "/api/v1/namespaces/default/configmaps/c/status",
        "/apis/apps/v1/namespaces/default/daemonsets/d/scale",
        "/apis/apps/v1/bogus",
    ] {
        let reply = admin.get(path).await;
        assert_eq!(reply.code, 404, "{path}: {}", reply.text);
        assert_eq!(
            reply.json()["message"],
            "the server could not find the requested resource",
            "{path}"
        );
    }
}

/// "DRA: the ResourceClaim API" and what its users may do: a claim is allocated, reserved, given back; its spec stays.
#[tokio::test]
async fn resource_claims_are_allocated_reserved_and_given_back() {
    const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let claim = json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": [
        {"name": "r", "exactly": {"deviceClassName": "c.example.com"}}]}}, "status": {"reservedFor": [{}]}});
    let made = admin.post(CLAIMS, claim).await.ok();
    assert_eq!(made["status"], json!({}));
    let exactly = &made["spec"]["devices"]["requests"][0]["exactly"];
    assert_eq!(
        (&exactly["allocationMode"], &exactly["count"]),
        (&json!("ExactCount"), &json!(1))
    );
    let path = format!("{CLAIMS}/c");
    let other = json!({"spec": {"devices": {"requests": []}}});
    let refused = admin.patch(&path, "merge", other).await.refused(422);
    assert!(
        refused.contains("spec: Invalid value: ") && refused.ends_with("field is immutable"),
        "{refused}"
    );
    let state = async || {
        let table = admin.table(&path).await.ok();
        table["rows"][0]["cells"][1].as_str().unwrap().to_owned()
    };
    assert_eq!(state().await, "pending");
    let status = format!("{path}/status");
    let allocated = json!({"status": {"allocation": {"devices": {"results": [
        {"request": "r", "driver": "d.example.com", "pool": "p", "device": "d"}]}}}});
    admin.patch(&status, "merge", allocated).await.ok();
    assert_eq!(state().await, "allocated");
    let consumer =
        |uid: &str| json!({"status": {"reservedFor": [{"resource": "pods", "name": uid, "uid": uid}]}});
    admin.patch(&status, "strategic-merge", consumer("u1")).await.ok();
    let both = admin.patch(&status, "strategic-merge", consumer("u2")).await.ok();
    assert_eq!(both["status"]["reservedFor"].as_array().unwrap().len(), 2);
    assert_eq!(state().await, "allocated,reserved");
    let early = json!({"status": {"allocation": null}});
    let refused = admin.patch(&status, "merge", early).await.refused(422);
    assert!(refused.contains("status.reservedFor: Forbidden"), "{refused}");
    let back = json!({"status": {"allocation": null, "reservedFor": null}});
    admin.patch(&status, "merge", back).await.ok();
    assert_eq!(state().await, "pending");
    // Whoever may view a namespace sees its claims.
    let binding = json!({"metadata": {"name": "v"}, "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": "jane"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    admin.post(bindings, binding).await.ok();
    let jane = cluster.user(orlop_apiserver::UserInfo::new("jane", ["devs"]));
    assert_eq!(jane.get(&path).await.code, 200);
    assert_eq!(jane.delete(&path, Value::Null).await.code, 403);
}

/// Which kinds let a write of the status change labels, and who owns those then.
#[tokio::test]
async fn a_status_write_labels_only_kinds_that_let_it() {
    let admin = Cluster::start().await.admin();
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let workload = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    for (path, spec, is_labelled) in [
        (
            "/apis/apps/v1/namespaces/default/deployments",
            workload.clone(),
            false,
        ),
        ("/apis/apps/v1/namespaces/default/daemonsets", workload, true),
        (
            "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
            json!({"priorityLevelConfiguration": {"name": "exempt"}}),
            false,
        ),
        (
            "/apis/networking.k8s.io/v1/servicecidrs",
            json!({"cidrs": ["10.90.0.0/24"]}),
            false,
        ),
        (
            "/apis/storage.k8s.io/v1/volumeattachments",
            json!({"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "v"}}),
            false,
        ),
        (
            "/apis/apiregistration.k8s.io/v1/apiservices",
            json!({"group": "x.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
                "service": {"name": "s", "namespace": "default"}, "insecureSkipTLSVerify": true}),
            false,
        ),
    ] {
        let name = if path.ends_with("apiservices") {
            "v1.x.example.com"
        } else {
            "o"
        };
        admin
            .post(path, json!({"metadata": {"name": name}, "spec": spec}))
            .await
            .ok();
        let status = format!("{path}/{name}/status");
        let written = json!({"metadata": {"labels": {"l": "1"}, "annotations": {"a": "1"}}});
        let after = admin.patch(&status, "merge", written).await.ok();
        assert_eq!(after["metadata"]["labels"].is_object(), is_labelled, "{after}");
        let owned = after["metadata"]["managedFields"].to_string();
        assert_eq!(owned.contains("f:l\""), is_labelled, "{owned}");
        let only_labels = path.ends_with("deployments");
        assert_eq!(
            after["metadata"]["annotations"]["a"] == "1",
            is_labelled || only_labels,
            "{after}"
        );
    }
}
