//! Every kind through every verb, as upstream's "… API operations" tests do it.
use super::objects::{Sample, samples};
use crate::support::{Client, Cluster, Reply, Watch};
use http::Method;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

const NAMESPACE: &str = "ops";

/// What did not hold for a kind; tests go on, to tell everything at once.
struct Findings {
    kind: String,
    text: String,
}

impl Findings {
    fn expect(&mut self, holds: bool, what: impl std::fmt::Display) {
        if !holds {
            let _ = writeln!(self.text, "{}: {what}", self.kind);
        }
    }

    /// The object of an answer with this code.
    fn answer(&mut self, what: &str, code: u16, reply: Reply) -> Option<Value> {
        self.expect(
            reply.code == code,
            format!("{what}: {} instead of {code}: {:.400}", reply.code, reply.text),
        );
        (reply.code == code).then(|| reply.json())
    }
}

async fn start() -> Client {
    let admin = Cluster::start().await.admin();
    admin
        .post("/api/v1/namespaces", json!({"metadata": {"name": NAMESPACE}}))
        .await
        .ok();
    let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    admin
        .post(&accounts, json!({"metadata": {"name": "default"}}))
        .await
        .ok();
    admin
}

/// The table itself forgets no kind: whatever discovery says can be created and updated is in it.
#[tokio::test]
async fn every_kind_that_is_served_has_a_sample() {
    let admin = start().await;
    let mut versions = vec!["/api/v1".to_owned()];
    for group in admin.get("/apis").await.ok()["groups"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            versions.push(format!("/apis/{}", version["groupVersion"].as_str().unwrap()));
        }
    }
    let known: Vec<(String, String)> = samples()
        .iter()
        .map(|sample| {
            let root = if sample.api == "v1" { "/api/" } else { "/apis/" };
            (format!("{root}{}", sample.api), sample.plural.to_owned())
        })
        .collect();
    let mut missing = Vec::new();
    for version in versions {
        for resource in admin.get(&version).await.ok()["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap().to_owned();
            let verbs: Vec<&str> = resource["verbs"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let is_whole = !name.contains('/') && verbs.contains(&"create") && verbs.contains(&"update");
            if is_whole && !known.contains(&(version.clone(), name.clone())) {
                missing.push(format!("{version}/{name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn every_kind_is_created_read_listed_watched_patched_updated_and_deleted() {
    let admin = start().await;
    let mut all = String::new();
    for sample in samples() {
        let mut findings = Findings {
            kind: format!("{} {}", sample.api, sample.kind),
            text: String::new(),
        };
        operations(&admin, &sample, &mut findings).await;
        all.push_str(&findings.text);
    }
    assert!(all.is_empty(), "\n{all}");
}

async fn operations(admin: &Client, sample: &Sample, findings: &mut Findings) {
    let collection = sample.path(NAMESPACE);
    let name = sample.name("one");
    let path = format!("{collection}/{name}");
    let selected = format!("{collection}?labelSelector=test%3Dops");

    let dry = admin
        .post(&format!("{collection}?dryRun=All"), sample.object("one"))
        .await;
    findings.answer("dry create", 201, dry);
    findings.expect(admin.get(&path).await.code == 404, "a dry run was stored");
    let list = admin.get(&selected).await;
    let Some(list) = findings.answer("empty list", 200, list) else {
        return;
    };
    findings.expect(list["items"] == json!([]), "the collection isn't empty");
    findings.expect(
        list["kind"] == format!("{}List", sample.kind) && list["apiVersion"] == sample.api,
        format!("list of kind {} {}", list["kind"], list["apiVersion"]),
    );
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let mut watch = admin
        .watch(&format!("{selected}&watch=1&resourceVersion={version}"))
        .await;

    let created = admin
        .post(&format!("{collection}?fieldManager=tester"), sample.object("one"))
        .await;
    let Some(mut created) = findings.answer("create", 201, created) else {
        return;
    };
    // The server itself says at once whether what is behind an APIService can be reached, and holds a ServiceCIDR.
    let is_kept = |created: &Value| match sample.kind {
        "APIService" => created["status"]["conditions"].is_array(),
        "ServiceCIDR" => created["metadata"]["finalizers"].is_array(),
        "FlowSchema" => created["status"]["conditions"].is_array(),
        _ => true,
    };
    while !is_kept(&created) {
        created = admin.get(&path).await.ok();
    }
    let meta = &created["metadata"];
    findings.expect(
        created["kind"] == sample.kind && created["apiVersion"] == sample.api,
        "kind or apiVersion of the answer",
    );
    for field in ["uid", "creationTimestamp", "resourceVersion"] {
        findings.expect(meta[field].is_string(), format!("metadata.{field} is missing"));
    }
    let entries = meta["managedFields"].as_array().into_iter().flatten();
    findings.expect(
        entries.clone().any(|entry| {
            entry["manager"] == "tester"
                && entry["operation"] == "Update"
                && entry["apiVersion"] == sample.api
        }),
        format!("managedFields of a create: {}", meta["managedFields"]),
    );
    let again = admin.post(&collection, sample.object("one")).await;
    if let Some(status) = findings.answer("create again", 409, again) {
        findings.expect(
            status["reason"] == "AlreadyExists"
                && status["details"]["kind"] == sample.plural
                && status["details"]["name"] == name,
            format!("refusal of a second create: {status}"),
        );
    }
    let read = admin.get(&path).await;
    if let Some(read) = findings.answer("get", 200, read) {
        findings.expect(
            read == created,
            format!("read otherwise than created:\n{read}\n{created}"),
        );
    }
    forms(admin, sample, &path, &created, findings).await;
    lists(admin, sample, &selected, &created, findings).await;

    let patched = admin
        .patch(
            &path,
            "merge",
            json!({"metadata": {"annotations": {"patched": "merge"}}}),
        )
        .await;
    findings.answer("merge patch", 200, patched);
    let patched = admin
        .patch(
            &path,
            "strategic-merge",
            json!({"metadata": {"annotations": {"strategic": "yes"}}}),
        )
        .await;
    findings.answer("strategic merge patch", 200, patched);
    let patched = admin
        .patch(
            &path,
            "json",
            json!([{"op": "add", "path": "/metadata/labels/json", "value": "yes"}]),
        )
        .await;
    findings.answer("JSON patch", 200, patched);
    let applied = json!({"apiVersion": sample.api, "kind": sample.kind, "metadata": {"name": name, "labels": {"applied": "yes"}}});
    let applied = admin.apply(&path, "fieldManager=applier", applied).await;
    if let Some(applied) = findings.answer("apply", 200, applied) {
        findings.expect(
            applied["metadata"]["labels"]["applied"] == "yes"
                && applied["metadata"]["labels"]["json"] == "yes",
            format!("labels after patches: {}", applied["metadata"]["labels"]),
        );
        findings.expect(
            applied["metadata"]["annotations"]["strategic"] == "yes",
            "annotations after patches",
        );
        let mut updated = applied;
        updated["metadata"]["annotations"]["updated"] = "yes".into();
        let updated = admin.put(&path, updated).await;
        findings.answer("update", 200, updated);
        let mut stale = created.clone();
        stale["metadata"]["annotations"] = json!({"stale": "yes"});
        let stale = admin.put(&path, stale).await;
        if let Some(status) = findings.answer("stale update", 409, stale) {
            findings.expect(
                status["reason"] == "Conflict",
                format!("refusal of a stale update: {status}"),
            );
        }
    }
    status(admin, sample, &path, findings).await;
    let mut seen = Vec::new();
    seen.extend(events(&mut watch, 6).await);
    findings.expect(
        seen.len() >= 6
            && seen[0].0 == "ADDED"
            && seen[1..].iter().all(|(kind, _)| kind == "MODIFIED")
            && seen.windows(2).all(|pair| pair[0].1 < pair[1].1),
        format!("events: {seen:?}"),
    );
    deletion(admin, sample, &collection, findings).await;
}

/// Types and versions of the next `count` events.
async fn events(watch: &mut Watch, count: usize) -> Vec<(String, u64)> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(2), watch.next()).await else {
            break;
        };
        let version = event["object"]["metadata"]["resourceVersion"].as_str();
        seen.push((
            event["type"].as_str().unwrap_or_default().to_owned(),
            version.and_then(|v| v.parse().ok()).unwrap_or_default(),
        ));
    }
    seen
}

/// YAML, protobuf, tables and metadata alone say the same.
async fn forms(admin: &Client, sample: &Sample, path: &str, created: &Value, findings: &mut Findings) {
    let name = &created["metadata"]["name"];
    let yaml = admin
        .send(Method::GET, path, &[("accept", "application/yaml")], "")
        .await;
    let parsed = serde_saphyr::from_str::<Value>(&yaml.text);
    findings.expect(
        parsed
            .as_ref()
            .is_ok_and(|value| value["metadata"]["uid"] == created["metadata"]["uid"]),
        format!("YAML: {:.200}", yaml.text),
    );
    let request = http::Request::get(path).header("accept", "application/vnd.kubernetes.protobuf");
    let response = admin.raw(request.body(Default::default()).unwrap()).await;
    let bytes = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap()
        .to_bytes();
    match orlop_api::wire::protobuf::decode(&bytes) {
        Ok(decoded) => findings.expect(
            decoded["metadata"]["uid"] == created["metadata"]["uid"] && decoded["kind"] == sample.kind,
            format!("protobuf: {decoded}"),
        ),
        Err(error) => findings.expect(false, format!("protobuf: {error}")),
    }
    let table = admin.table(path).await;
    if let Some(table) = findings.answer("table", 200, table) {
        let columns = table["columnDefinitions"].as_array().map_or(0, Vec::len);
        let cells = table["rows"][0]["cells"].as_array().map_or(0, Vec::len);
        findings.expect(
            columns > 0 && columns == cells,
            format!("a table of {columns} columns and {cells} cells"),
        );
        let holds_name = table["rows"][0]["cells"]
            .as_array()
            .is_some_and(|cells| cells.contains(name));
        findings.expect(
            holds_name,
            format!("a row without the name: {}", table["rows"][0]["cells"]),
        );
        findings.expect(
            table["rows"][0]["object"]["kind"] == "PartialObjectMetadata",
            "the object of a row",
        );
    }
    let accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let partial = admin.send(Method::GET, path, &[("accept", accept)], "").await;
    if let Some(partial) = findings.answer("metadata alone", 200, partial) {
        findings.expect(
            partial["kind"] == "PartialObjectMetadata"
                && partial["apiVersion"] == "meta.k8s.io/v1"
                && partial["metadata"]["uid"] == created["metadata"]["uid"]
                && partial.as_object().unwrap().len() == 3,
            format!("metadata alone: {partial}"),
        );
    }
}

async fn lists(admin: &Client, sample: &Sample, selected: &str, created: &Value, findings: &mut Findings) {
    for path in [
        selected.to_owned(),
        format!("{}?labelSelector=test%3Dops", sample.everywhere()),
    ] {
        let list = admin.get(&path).await;
        let Some(list) = findings.answer("list", 200, list) else {
            continue;
        };
        let items = list["items"].as_array().map_or(0, Vec::len);
        findings.expect(items == 1, format!("{items} items in {path}"));
        findings.expect(
            list["items"][0]["metadata"]["uid"] == created["metadata"]["uid"],
            "the item of a list",
        );
        findings.expect(list["items"][0]["kind"].is_null(), "an item with a kind");
    }
    let name = created["metadata"]["name"].as_str().unwrap_or_default();
    let by_field = format!("{}?fieldSelector=metadata.name%3D{name}", sample.everywhere());
    let list = admin.get(&by_field).await;
    if let Some(list) = findings.answer("list by name", 200, list) {
        findings.expect(
            list["items"].as_array().map_or(0, Vec::len) == 1,
            "a list by metadata.name",
        );
    }
}

/// Kinds whose metadata a write of the status leaves alone.
const STATUS_ALONE: &[&str] = &[
    "APIService",
    "FlowSchema",
    "PriorityLevelConfiguration",
    "ResourceClaim",
    "ServiceCIDR",
    "ValidatingAdmissionPolicy",
    "VolumeAttachment",
];

/// The status is read, patched and updated apart, and the object apart from it.
async fn status(admin: &Client, sample: &Sample, path: &str, findings: &mut Findings) {
    let part = format!("{path}/status");
    if sample.status.is_null() {
        findings.expect(
            admin.get(&part).await.code == 404,
            "a status that nobody tests is served",
        );
        return;
    }
    let before = admin.get(path).await.ok();
    let read = admin.get(&part).await;
    if let Some(read) = findings.answer("get status", 200, read) {
        findings.expect(
            read["kind"] == sample.kind && read["metadata"]["uid"] == before["metadata"]["uid"],
            "the answer of GET status",
        );
    }
    let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}}, "status": sample.status, "spec": null});
    let patched = admin.patch(&part, "merge", patch).await;
    let Some(patched) = findings.answer("patch status", 200, patched) else {
        return;
    };
    findings.expect(
        contains(&patched["status"], &sample.status),
        format!("status after a patch: {}", patched["status"]),
    );
    findings.expect(
        patched["spec"] == before["spec"],
        "a patch of the status changed the spec",
    );
    let is_written = patched["metadata"]["annotations"]["patchedstatus"] == "true";
    findings.expect(
        is_written != STATUS_ALONE.contains(&sample.kind),
        "what becomes of an annotation that is set with the status",
    );
    findings.expect(
        patched["metadata"]["generation"] == before["metadata"]["generation"],
        "a status changed the generation",
    );
    let owner = patched["metadata"]["managedFields"]
        .as_array()
        .is_some_and(|entries| entries.iter().any(|entry| entry["subresource"] == "status"));
    findings.expect(owner, "nobody owns the status through its subresource");
    let mut patched = patched;
    let mut put = admin.put(&part, patched.clone()).await;
    // The server keeps these statuses as well.
    while matches!(sample.kind, "APIService" | "ServiceCIDR" | "FlowSchema") && put.code == 409 {
        patched = admin.get(path).await.ok();
        put = admin.put(&part, patched.clone()).await;
    }
    if let Some(put) = findings.answer("update status", 200, put) {
        findings.expect(
            put["metadata"]["resourceVersion"] == patched["metadata"]["resourceVersion"],
            "the same status was written again",
        );
    }
    let main = admin
        .patch(
            path,
            "merge",
            json!({"status": null, "metadata": {"annotations": {"main": "yes"}}}),
        )
        .await;
    if let Some(main) = findings.answer("patch with a status", 200, main) {
        findings.expect(
            contains(&main["status"], &sample.status),
            "the status changed through the object",
        );
    }
}

/// Whether everything of `part` is in `whole`.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(key, value)| whole.get(key).is_some_and(|found| contains(found, value))),
        (Value::Array(whole), Value::Array(part)) => part
            .iter()
            .all(|value| whole.iter().any(|found| contains(found, value))),
        _ => whole == part,
    }
}

/// §7.4: these answer a DELETE with the object, the others with a Status.
const ANSWER_OBJECTS: &[&str] = &[
    "Pod",
    "Namespace",
    "Service",
    "ServiceAccount",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ResourceQuota",
    "PodTemplate",
    "CSIDriver",
    "CSINode",
    "StorageClass",
    "VolumeAttachment",
    "VolumeAttributesClass",
    "DeviceClass",
    "ResourceClaim",
    "ResourceClaimTemplate",
    "ResourceSlice",
];

async fn deletion(admin: &Client, sample: &Sample, collection: &str, findings: &mut Findings) {
    let path = format!("{collection}/{}", sample.name("one"));
    // What protects these from deletion is cleared by controllers that don't run here.
    let is_held = matches!(
        sample.kind,
        "Namespace"
            | "PersistentVolume"
            | "PersistentVolumeClaim"
            | "CustomResourceDefinition"
            | "ServiceCIDR"
    );
    let dry = admin.delete(&format!("{path}?dryRun=All"), Value::Null).await;
    findings.answer("dry delete", 200, dry);
    findings.expect(admin.get(&path).await.code == 200, "a dry run deleted");
    let wrong = json!({"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}});
    let refused = admin.delete(&path, wrong).await;
    findings.answer("delete of another uid", 409, refused);
    // Some leave their pods to be orphaned otherwise, by a controller that doesn't run here.
    let background = json!({"propagationPolicy": "Background"});
    let deleted = admin.delete(&path, background.clone()).await;
    if let Some(deleted) = findings.answer("delete", 200, deleted) {
        let expected = if ANSWER_OBJECTS.contains(&sample.kind) || is_held {
            sample.kind
        } else {
            "Status"
        };
        findings.expect(
            deleted["kind"] == expected,
            format!("DELETE answered {}", deleted["kind"]),
        );
        if expected == "Status" {
            findings.expect(
                deleted["status"] == "Success" && deleted["details"]["kind"] == sample.plural,
                format!("DELETE answered {deleted}"),
            );
        }
    }
    if is_held {
        return;
    }
    findings.expect(admin.get(&path).await.code == 404, "it is still there");
    for name in ["two", "three3"] {
        let made = admin.post(collection, sample.object(name)).await;
        findings.answer("create of another", 201, made);
    }
    let gone = admin
        .delete(&format!("{collection}?labelSelector=test%3Dops"), background)
        .await;
    if let Some(gone) = findings.answer("delete of the collection", 200, gone) {
        findings.expect(
            gone["items"].as_array().map_or(0, Vec::len) == 2,
            format!("DELETE of a collection answered {gone:.300}"),
        );
    }
    let left = admin
        .get(&format!("{collection}?labelSelector=test%3Dops"))
        .await
        .ok();
    findings.expect(left["items"] == json!([]), "something is left of the collection");
}
