//! What a node's agent may do with devices and claims, and a node's life through its API.
use crate::support::{Client, Cluster, PODS, pod};
use orlop_apiserver::UserInfo;
use serde_json::{Value, json};

const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";
const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";

fn slice(name: &str, node: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"driver": "gpu.example.com", "nodeName": node,
        "pool": {"name": node, "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "d"}]}})
}

async fn names(client: &Client, path: &str) -> Vec<String> {
    let list = client.get(path).await.ok();
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// S10: an agent publishes the devices of its node, and sees no other's.
#[tokio::test]
async fn s10_a_node_publishes_its_own_devices_and_no_others() {
    let cluster = Cluster::start().await;
    let (admin, node) = (cluster.admin(), cluster.user(UserInfo::node("n1")));
    admin.post(SLICES, slice("foreign", "n2")).await.ok();
    node.post(SLICES, slice("own", "n1")).await.ok();
    node.post(SLICES, slice("other", "n1")).await.ok();
    assert_eq!(
        node.post(SLICES, slice("stray", "n2")).await.refused(403),
        "resourceslices.resource.k8s.io \"stray\" is forbidden: can only create ResourceSlice with the same NodeName as the requesting node"
    );
    let mut anywhere = slice("anywhere", "");
    anywhere["spec"]["nodeName"] = Value::Null;
    anywhere["spec"]["allNodes"] = json!(true);
    node.post(SLICES, anywhere).await.refused(403);

    let own = format!("{SLICES}/own");
    let mut read = node.get(&own).await.ok();
    read["spec"]["pool"]["generation"] = json!(2);
    node.put(&own, read).await.ok();
    node.patch(&own, "merge", json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .ok();
    let message = node.get(&format!("{SLICES}/foreign")).await.refused(403);
    assert_eq!(
        message,
        "resourceslices.resource.k8s.io \"foreign\" is forbidden: User \"system:node:n1\" cannot get resource \"resourceslices\" in API group \
         \"resource.k8s.io\" at the cluster scope: no relationship found between node 'n1' and this object"
    );
    for (verb, reply) in [
        (
            "patch",
            node.patch(&format!("{SLICES}/foreign"), "merge", json!({})).await,
        ),
        (
            "delete",
            node.delete(&format!("{SLICES}/foreign"), Value::Null).await,
        ),
        ("get", node.get(&format!("{SLICES}/missing")).await),
    ] {
        assert_eq!(reply.code, 403, "{verb}: {}", reply.text);
    }

    let mine = format!("{SLICES}?fieldSelector=spec.nodeName%3Dn1");
    assert_eq!(names(&node, &mine).await, ["other", "own"]);
    let mut watch = node.watch(&format!("{mine}&watch=1")).await;
    assert_eq!(watch.event().await, ("ADDED".to_owned(), "other".to_owned()));
    for path in [
        SLICES.to_owned(),
        format!("{SLICES}?fieldSelector=spec.nodeName%3Dn2"),
    ] {
        let message = node.get(&path).await.refused(403);
        assert!(
            message.ends_with(
                "can only list/watch/deletecollection resourceslices with nodeName field selector"
            ),
            "{message}"
        );
        node.delete(&path, Value::Null).await.refused(403);
    }
    node.delete(&own, Value::Null).await.ok();
    node.delete(&mine, Value::Null).await.ok();
    assert_eq!(names(&admin, SLICES).await, ["foreign"]);
}

/// S10: of claims, those that pods on the node use, whether named in the pod or made from a template.
#[tokio::test]
async fn s10_a_node_reads_the_claims_of_its_pods() {
    let cluster = Cluster::start().await;
    let (admin, node) = (cluster.admin(), cluster.user(UserInfo::node("n1")));
    for name in ["named", "made", "unused"] {
        let claim = json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [
            {"name": "r", "exactly": {"deviceClassName": "c"}}]}}});
        admin.post(CLAIMS, claim).await.ok();
    }
    let mut user = pod("p");
    user["spec"]["nodeName"] = json!("n1");
    user["spec"]["resourceClaims"] = json!([{"name": "a", "resourceClaimName": "named"},
        {"name": "b", "resourceClaimTemplateName": "t"}]);
    admin.post(PODS, user).await.ok();
    let code = |client: Client, name: &'static str| async move {
        client.get(&format!("{CLAIMS}/{name}")).await.code
    };
    assert_eq!(code(node.clone(), "named").await, 200);
    assert_eq!(code(node.clone(), "made").await, 403);
    let status = json!({"status": {"resourceClaimStatuses": [{"name": "b", "resourceClaimName": "made"}]}});
    admin
        .patch(&format!("{PODS}/p/status"), "strategic-merge", status)
        .await
        .ok();
    assert_eq!(code(node.clone(), "made").await, 200);
    assert_eq!(code(node.clone(), "unused").await, 403);
    // Which those are is not the node's to say.
    for status in [
        json!({"resourceClaimStatuses": [{"name": "b", "resourceClaimName": "unused"}]}),
        json!({"extendedResourceClaimStatus": {"resourceClaimName": "unused"}}),
    ] {
        let patch = json!({"status": status});
        let reply = node
            .patch(&format!("{PODS}/p/status"), "strategic-merge", patch)
            .await;
        let message = reply.refused(403);
        assert!(
            message.contains("cannot update") && message.contains("claim status"),
            "{message}"
        );
    }
    assert_eq!(code(node.clone(), "unused").await, 403);
    assert_eq!(code(cluster.user(UserInfo::node("n2")), "named").await, 403);
    let message = node.get(CLAIMS).await.refused(403);
    assert!(
        message.ends_with("can only get individual resources of this type"),
        "{message}"
    );
    let path = format!("{CLAIMS}/named");
    node.patch(&path, "merge", json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .refused(403);
    let part = format!("{path}/status");
    node.patch(&part, "merge", json!({"status": {}}))
        .await
        .refused(403);
}

/// "should run through the lifecycle of a node"
#[tokio::test]
async fn a_node_is_made_patched_updated_and_deleted_by_its_label() {
    let admin = Cluster::start().await.admin();
    let fake = json!({"metadata": {"name": "e2e-fake-node-1"}, "status": {"phase": "Running", "conditions": [
        {"type": "Ready", "status": "False"}]}});
    let made = admin.post("/api/v1/nodes", fake).await.ok();
    assert_eq!(made["status"]["phase"], "Running");
    let path = "/api/v1/nodes/e2e-fake-node-1";
    let labels = json!({"metadata": {"labels": {"e2e-fake-node-1": "patched"}}});
    let patched = admin.patch(path, "strategic-merge", labels).await.ok();
    assert_eq!(patched["metadata"]["labels"]["e2e-fake-node-1"], "patched");
    let mut updated = patched;
    updated["metadata"]["labels"]["e2e-fake-node-1"] = json!("updated");
    admin.put(path, updated).await.ok();
    let selected = "/api/v1/nodes?labelSelector=e2e-fake-node-1%3Dupdated";
    assert_eq!(names(&admin, selected).await, ["e2e-fake-node-1"]);
    let part = format!("{path}/status");
    let phase = json!({"status": {"phase": "Terminated"}});
    assert_eq!(
        admin.patch(&part, "strategic-merge", phase).await.ok()["status"]["phase"],
        "Terminated"
    );
    admin.delete(selected, Value::Null).await.ok();
    assert_eq!(admin.get(path).await.code, 404);
}

const CLAIMED: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

fn bound_volume(name: &str, claim: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "claimRef": {"namespace": "default", "name": claim}, "csi": {"driver": "csi.example.com", "volumeHandle": name,
            "nodeStageSecretRef": {"namespace": "storage", "name": format!("{name}-stage")},
            "controllerExpandSecretRef": {"namespace": "storage", "name": format!("{name}-expand")}}}})
}

/// S10: of volumes, those that pods on the node have claimed, with the Secrets that they are mounted with and their
/// attachments to it; of a claim's status, how large it has become.
#[tokio::test]
async fn s10_a_node_reads_what_it_mounts() {
    let cluster = Cluster::start().await;
    let (admin, node) = (cluster.admin(), cluster.user(UserInfo::node("n1")));
    admin
        .post("/api/v1/namespaces", json!({"metadata": {"name": "storage"}}))
        .await
        .ok();
    for name in ["used", "unused", "ephemeral"] {
        let claim = json!({"metadata": {"name": format!("{name}-claim")}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
        admin.post(CLAIMED, claim).await.ok();
        let volume = bound_volume(name, &format!("{name}-claim"));
        admin.post("/api/v1/persistentvolumes", volume).await.ok();
        for purpose in ["stage", "expand"] {
            let secret = json!({"metadata": {"name": format!("{name}-{purpose}")}});
            admin
                .post("/api/v1/namespaces/storage/secrets", secret)
                .await
                .ok();
        }
    }
    for (name, on) in [("here", "n1"), ("there", "n2")] {
        let attachment = json!({"metadata": {"name": name}, "spec": {"attacher": "csi.example.com", "nodeName": on,
            "source": {"persistentVolumeName": "used"}}});
        admin
            .post("/apis/storage.k8s.io/v1/volumeattachments", attachment)
            .await
            .ok();
    }
    let mut user = pod("p");
    user["spec"]["nodeName"] = json!("n1");
    user["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "used-claim"}}]);
    admin.post(PODS, user).await.ok();
    // The claim of a volume that goes with its pod is named by nobody.
    let mut user = pod("ephemeral");
    user["spec"]["nodeName"] = json!("n1");
    user["spec"]["volumes"] = json!([{"name": "claim", "ephemeral": {"volumeClaimTemplate": {"spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}}]);
    admin.post(PODS, user).await.ok();
    for (path, code) in [
        ("/api/v1/persistentvolumes/used", 200),
        ("/api/v1/persistentvolumes/unused", 403),
        ("/api/v1/persistentvolumes", 403),
        (
            "/api/v1/namespaces/default/persistentvolumeclaims/used-claim",
            200,
        ),
        (
            "/api/v1/namespaces/default/persistentvolumeclaims/ephemeral-claim",
            200,
        ),
        ("/api/v1/persistentvolumes/ephemeral", 200),
        ("/api/v1/namespaces/storage/secrets/ephemeral-stage", 200),
        ("/api/v1/namespaces/storage/secrets/used-stage", 200),
        ("/api/v1/namespaces/storage/secrets/used-expand", 403),
        ("/api/v1/namespaces/storage/secrets/unused-stage", 403),
        ("/apis/storage.k8s.io/v1/volumeattachments/here", 200),
        ("/apis/storage.k8s.io/v1/volumeattachments/there", 403),
    ] {
        let reply = node.get(path).await;
        assert_eq!(reply.code, code, "{path}: {}", reply.text);
    }
    let part = format!("{CLAIMED}/used-claim/status");
    let grown = json!({"status": {"capacity": {"storage": "2Gi"}, "conditions": [{"type": "FileSystemResizePending", "status": "True"}]}});
    node.patch(&part, "strategic-merge", grown).await.ok();
    let message = node
        .patch(&part, "merge", json!({"status": {"phase": "Lost"}}))
        .await
        .refused(403);
    assert!(
        message.contains("node \"n1\" is not allowed to update fields other than"),
        "{message}"
    );
    node.patch(&part, "merge", json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .refused(403);
    let part = format!("{CLAIMED}/unused-claim/status");
    node.patch(
        &part,
        "merge",
        json!({"status": {"capacity": {"storage": "2Gi"}}}),
    )
    .await
    .refused(403);
}

/// S07: a node has tokens for its pods only, which end with them, for those whom their volumes name.
#[tokio::test]
async fn s07_a_node_gets_tokens_that_are_bound_to_its_pods() {
    let cluster = crate::tokens::cluster().await;
    let (admin, node) = (cluster.admin(), cluster.user(UserInfo::node("n1")));
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    admin.post(accounts, json!({"metadata": {"name": "a"}})).await;
    let mut uids = Vec::new();
    for (name, on) in [("here", "n1"), ("there", "n2")] {
        let mut user = pod(name);
        user["spec"]["nodeName"] = json!(on);
        user["spec"]["serviceAccountName"] = json!("a");
        user["spec"]["volumes"] = json!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "vault"}}]}}]);
        let made = admin.post(PODS, user).await.ok();
        uids.push(made["metadata"]["uid"].clone());
    }
    let path = format!("{accounts}/a/token");
    let ask = async |bound: Value, audiences: &[&str]| {
        let request = json!({"spec": {"boundObjectRef": bound, "audiences": audiences}});
        node.post(&path, request).await
    };
    let bound =
        |name: &str, uid: &Value| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
    for (audience, code) in [(&[][..], 201), (&["vault"], 201)] {
        let reply = ask(bound("here", &uids[0]), audience).await;
        assert_eq!(reply.code, code, "{audience:?}: {}", reply.text);
    }
    for (reference, audiences, why) in [
        (Value::Null, &[][..], "node requested token not bound to a pod"),
        (
            json!({"apiVersion": "v1", "kind": "Secret", "name": "here", "uid": "u"}),
            &[],
            "node requested token not bound to a pod",
        ),
        (
            json!({"apiVersion": "v1", "kind": "Pod", "name": "here"}),
            &[],
            "node requested token with a pod binding without a uid",
        ),
        (bound("here", &uids[1]), &[], "does not match the UID in record"),
        (
            bound("there", &uids[1]),
            &[],
            "node requested token bound to a pod scheduled on a different node",
        ),
        (
            bound("here", &uids[0]),
            &["elsewhere"],
            "audience \"elsewhere\" not found in pod spec volume",
        ),
        (
            bound("here", &uids[0]),
            &["vault", "b"],
            "node may only request 0 or 1 audiences",
        ),
    ] {
        let message = ask(reference.clone(), audiences).await.refused(403);
        assert!(message.contains(why), "{reference}: {message}");
    }
    // Somebody may allow more.
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["registry"],
        "verbs": ["request-serviceaccounts-token-audience"]}]});
    admin.post(&format!("{roles}/roles"), role).await.ok();
    let binding = json!({"metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:nodes"}]});
    ask(bound("here", &uids[0]), &["registry"]).await.refused(403);
    admin.post(&format!("{roles}/rolebindings"), binding).await.ok();
    let reply = ask(bound("here", &uids[0]), &["registry"]).await;
    assert_eq!(reply.code, 201, "{}", reply.text);
    // What a CSI driver of the pod asks for is its pod's as well.
    let driver = json!({"metadata": {"name": "csi.example.com"}, "spec": {"tokenRequests": [{"audience": "elsewhere"}]}});
    admin
        .post("/apis/storage.k8s.io/v1/csidrivers", driver)
        .await
        .ok();
    let mut user = pod("csi");
    user["spec"]["nodeName"] = json!("n1");
    user["spec"]["serviceAccountName"] = json!("a");
    user["spec"]["volumes"] = json!([{"name": "v", "csi": {"driver": "csi.example.com"}}]);
    let made = admin.post(PODS, user).await.ok();
    let reply = ask(bound("csi", &made["metadata"]["uid"]), &["elsewhere"]).await;
    assert_eq!(reply.code, 201, "{}", reply.text);
}
