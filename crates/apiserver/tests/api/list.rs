//! list: cases L01 to L10, and tables.
use crate::support::{CONFIGMAPS, Client, Cluster, PODS, TestStore, configmap, pod, version};
use http::Method;
use orlop_store::Revision;
use serde_json::{Value, json};

async fn six(admin: &Client) {
    for n in 0..6 {
        admin
            .post(CONFIGMAPS, configmap(&format!("c{n}"), "1"))
            .await
            .ok();
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn l01_chunks_share_a_version() {
    let admin = Cluster::start().await.admin();
    six(&admin).await;
    let first = admin.get(&format!("{CONFIGMAPS}?limit=2")).await.ok();
    assert_eq!(names(&first), ["c0", "c1"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    // A write in between is not seen by the rest.
    admin.post(CONFIGMAPS, configmap("c9", "1")).await.ok();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = admin
        .get(&format!("{CONFIGMAPS}?limit=2&continue={token}"))
        .await
        .ok();
    assert_eq!(names(&second), ["c2", "c3"]);
    assert_eq!(second["metadata"]["remainingItemCount"], 2);
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let token = second["metadata"]["continue"].as_str().unwrap();
    let last = admin
        .get(&format!("{CONFIGMAPS}?limit=2&continue={token}"))
        .await
        .ok();
    assert_eq!(names(&last), ["c4", "c5"]);
    assert_eq!(last["metadata"]["continue"], Value::Null);
    assert_eq!(
        last["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let reply = admin
        .get(&format!("{CONFIGMAPS}?continue={token}&resourceVersion=5"))
        .await;
    assert_eq!(
        reply.refused(400),
        "specifying resource version is not allowed when using continue"
    );
    // Upstream looks at the token first.
    let reply = admin
        .get(&format!("{CONFIGMAPS}?continue=bogus&resourceVersion=5"))
        .await;
    let message = reply.refused(400);
    assert!(message.contains("continue key is not valid"), "{message}");
}

#[tokio::test]
async fn l02_l03_selectors_hide_the_rest_and_zero_ignores_limits() {
    let admin = Cluster::start().await.admin();
    six(&admin).await;
    let chosen = admin
        .get(&format!("{CONFIGMAPS}?limit=2&labelSelector=%21none"))
        .await
        .ok();
    assert_eq!(chosen["metadata"]["remainingItemCount"], Value::Null);
    assert!(chosen["metadata"]["continue"].is_string());
    let all = admin
        .get(&format!("{CONFIGMAPS}?limit=2&resourceVersion=0"))
        .await
        .ok();
    assert_eq!(names(&all).len(), 6);
    assert_eq!(all["metadata"]["continue"], Value::Null);
}

#[tokio::test]
async fn items_carry_no_kind_and_lists_are_never_null() {
    let admin = Cluster::start().await.admin();
    let empty = admin.get(CONFIGMAPS).await;
    assert!(empty.text.contains("\"items\":[]"));
    six(&admin).await;
    let list = admin.get("/api/v1/configmaps").await.ok();
    assert_eq!(
        (list["kind"].as_str(), list["apiVersion"].as_str()),
        (Some("ConfigMapList"), Some("v1"))
    );
    assert_eq!(list["items"][0]["kind"], Value::Null);
    assert!(list["items"][0]["metadata"]["resourceVersion"].is_string());
}

#[tokio::test]
async fn l06_the_future_is_waited_for_and_refused() {
    let admin = Cluster::start_in_a_hurry().await.admin();
    let reply = admin.get(&format!("{CONFIGMAPS}?resourceVersion=99999999")).await;
    assert_eq!(reply.headers["retry-after"], "1");
    assert_eq!(
        reply.json()["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
    assert!(
        reply
            .refused(504)
            .starts_with("Timeout: Too large resource version: 99999999, current: ")
    );
}

#[tokio::test]
async fn exact_lists_show_the_past() {
    let admin = Cluster::start().await.admin();
    six(&admin).await;
    let then = admin.get(CONFIGMAPS).await.ok();
    admin.delete(&format!("{CONFIGMAPS}/c0"), Value::Null).await.ok();
    let past = admin
        .get(&format!(
            "{CONFIGMAPS}?resourceVersionMatch=Exact&resourceVersion={}",
            version(&then)
        ))
        .await
        .ok();
    assert_eq!(past, then);
}

#[tokio::test]
async fn l09_l10_fields_select() {
    let admin = Cluster::start().await.admin();
    admin.post(PODS, pod("a")).await.ok();
    admin.post(PODS, pod("b")).await.ok();
    let binding = json!({"target": {"name": "n1"}});
    admin.post(&format!("{PODS}/a/binding"), binding).await.ok();
    let path = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1%2Cstatus.phase%21%3DSucceeded";
    assert_eq!(names(&admin.get(path).await.ok()), ["a"]);
    let reply = admin.get("/api/v1/pods?fieldSelector=spec.bogus%3D1").await;
    assert_eq!(reply.refused(400), "field label not supported: spec.bogus");

    let events = "/api/v1/namespaces/default/events";
    for name in ["a", "b"] {
        let event = json!({"metadata": {"name": format!("{name}.1")}, "reason": "R", "message": "m",
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": name, "uid": name}});
        admin.post(events, event).await.ok();
    }
    let chosen = admin
        .get(&format!(
            "{events}?fieldSelector=involvedObject.name%3Da%2CinvolvedObject.uid%3Da"
        ))
        .await
        .ok();
    assert_eq!(names(&chosen), ["a.1"]);
}

#[tokio::test]
async fn n09_events_have_two_forms() {
    let admin = Cluster::start().await.admin();
    let event = json!({"metadata": {"name": "e"}, "reason": "R", "message": "m", "type": "Normal", "count": 2,
        "source": {"component": "kubelet"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}});
    admin.post("/api/v1/namespaces/default/events", event).await.ok();
    let list = admin
        .get("/apis/events.k8s.io/v1/namespaces/default/events")
        .await
        .ok();
    assert_eq!(
        (list["kind"].as_str(), list["apiVersion"].as_str()),
        (Some("EventList"), Some("events.k8s.io/v1"))
    );
    let shown = &list["items"][0];
    assert_eq!(shown["note"], "m");
    assert_eq!(shown["regarding"]["name"], "p");
    assert_eq!(shown["deprecatedSource"]["component"], "kubelet");
    assert_eq!(shown["deprecatedCount"], 2);
    let path = "/apis/events.k8s.io/v1/namespaces/default/events?fieldSelector=regarding.name%3Dp";
    assert_eq!(names(&admin.get(path).await.ok()), ["e"]);
}

#[tokio::test]
async fn b03_b07_tables_and_metadata() {
    let admin = Cluster::start().await.admin();
    admin.post(PODS, pod("p")).await.ok();
    let table = admin.table(PODS).await.ok();
    assert_eq!(table["kind"], "Table");
    let headers: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(&headers[..5], ["Name", "Ready", "Status", "Restarts", "Age"]);
    let row = &table["rows"][0];
    assert_eq!(row["cells"][1], "0/1");
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    let full = admin.table(&format!("{PODS}?includeObject=Object")).await.ok();
    assert_eq!(full["rows"][0]["object"]["kind"], "Pod");
    let none = admin.table(&format!("{PODS}?includeObject=None")).await.ok();
    assert_eq!(none["rows"][0]["object"], Value::Null);
    assert_eq!(
        admin
            .table(&format!("{PODS}?includeObject=Bogus"))
            .await
            .refused(400),
        "Unable to convert to Table as requested: includeObject: Invalid value: \"Bogus\": must be 'Metadata', 'Object', 'None', or empty"
    );
}

/// A large collection is listed by label through an index, which follows every change.
#[tokio::test]
async fn labels_select_in_large_collections() {
    let store = TestStore::new().await;
    let mut txn = orlop_store::Txn::default();
    for number in 0..6_000 {
        let key = format!("/registry/configmaps/default/m{number:04}");
        let tenth = number % 1000;
        let value = format!(
            r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"m{number:04}","namespace":"default","labels":{{"t":"v{tenth}"}}}}}}"#
        );
        txn.success
            .push(orlop_store::Op::put(key, value.into_bytes().into(), None));
        if txn.success.len() == 100 {
            store.store.txn(std::mem::take(&mut txn)).await.unwrap();
        }
    }
    let admin = Cluster::over(store).await.admin();
    let names = async || -> Vec<String> {
        let list = admin
            .get(&format!("{CONFIGMAPS}?labelSelector=t%3Dv7"))
            .await
            .ok();
        let items = list["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|i| i["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names().await,
        ["m0007", "m1007", "m2007", "m3007", "m4007", "m5007"]
    );
    let change = json!({"metadata": {"labels": {"t": "v7"}}});
    admin
        .patch(&format!("{CONFIGMAPS}/m0008"), "merge", change)
        .await
        .ok();
    let change = json!({"metadata": {"labels": {"t": null}}});
    admin
        .patch(&format!("{CONFIGMAPS}/m1007"), "merge", change)
        .await
        .ok();
    admin
        .delete(&format!("{CONFIGMAPS}/m2007"), serde_json::Value::Null)
        .await
        .ok();
    assert_eq!(names().await, ["m0007", "m0008", "m3007", "m4007", "m5007"]);
}

#[tokio::test]
async fn l07_an_exact_list_of_a_forgotten_past_has_expired() {
    let store = TestStore::new().await;
    let admin = Cluster::over(store.clone()).await.admin();
    let first = version(&admin.post(CONFIGMAPS, configmap("a", "1")).await.ok());
    let second = version(
        &admin
            .put(&format!("{CONFIGMAPS}/a"), configmap("a", "2"))
            .await
            .ok(),
    );
    let path = format!("{CONFIGMAPS}?resourceVersionMatch=Exact&resourceVersion={first}");
    assert_eq!(admin.get(&path).await.ok()["items"][0]["data"]["k"], "1");
    store.store.compact(Revision(second)).await.unwrap();
    let reply = admin.get(&path).await;
    assert_eq!(reply.json()["reason"], "Expired");
    assert!(
        reply
            .refused(410)
            .contains("The resourceVersion for the provided list is too old")
    );
}

#[tokio::test]
async fn b05_reviews_are_no_tables() {
    let admin = Cluster::start().await.admin();
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let headers = [("accept", accept), ("content-type", "application/json")];
    let review = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let reply = admin.send(Method::POST, path, &headers, review.to_string()).await;
    assert_eq!(
        reply.refused(406),
        "the resource selfsubjectaccessreviews.authorization.k8s.io does not support being converted to a Table"
    );
    assert_eq!(admin.table(path).await.code, 405);
}
