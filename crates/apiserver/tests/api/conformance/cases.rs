//! Cases of the contract that units say beside their code, once more as a client meets them.
use crate::support::{CONFIGMAPS, Cluster, PODS, configmap, pod};
use serde_json::{Value, json};

#[tokio::test]
async fn c14_an_object_has_one_controller() {
    let admin = Cluster::start().await.admin();
    let owner = |name: &str| json!({"apiVersion": "v1", "kind": "Foo", "name": name, "uid": name, "controller": true});
    let mut object = configmap("c", "1");
    object["metadata"]["ownerReferences"] = json!([owner("x"), owner("y")]);
    let message = admin.post(CONFIGMAPS, object).await.refused(422);
    assert!(
        message.contains("Only one reference can have Controller set to true. Found \"true\" in references for Foo/x and Foo/y"),
        "{message}"
    );
}

#[tokio::test]
async fn d04_daemon_sets_are_described_as_kubectl_needs_them() {
    let admin = Cluster::start().await.admin();
    let list = admin.get("/apis/apps/v1").await.ok();
    let resources = list["resources"].as_array().unwrap();
    let find = |name: &str| resources.iter().find(|resource| resource["name"] == name);
    let set = find("daemonsets").unwrap();
    assert_eq!(set["singularName"], "daemonset");
    assert_eq!(set["shortNames"], json!(["ds"]));
    assert_eq!(set["categories"], json!(["all"]));
    assert_eq!(set["storageVersionHash"], "dd7pWHUlMKQ=");
    assert_eq!(
        set["verbs"],
        json!([
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch"
        ])
    );
    let status = find("daemonsets/status").unwrap();
    assert_eq!(
        (&status["singularName"], &status["verbs"]),
        (&json!(""), &json!(["get", "patch", "update"]))
    );
    assert!(find("daemonsets/scale").is_none());
}

#[tokio::test]
async fn l04_l08_labels_select_by_every_operator() {
    let admin = Cluster::start().await.admin();
    for (name, labels) in [
        ("a", json!({"app": "x", "n": "1"})),
        ("b", json!({"app": "y", "n": "5"})),
        ("c", json!({"b": "c", "n": "2"})),
        ("d", json!({})),
    ] {
        let mut object = configmap(name, "1");
        object["metadata"]["labels"] = labels;
        admin.post(CONFIGMAPS, object).await.ok();
    }
    for (selector, expected) in [
        ("n%20in%20(1,2),app", &["a"][..]),
        ("!app", &["c", "d"]),
        ("b!=c", &["a", "b", "d"]),
        ("n%3E3", &["b"]),
        ("n%3C3", &["a", "c"]),
        ("app==x", &["a"]),
        ("app%20notin%20(x)", &["b", "c", "d"]),
        ("", &["a", "b", "c", "d"]),
    ] {
        let list = admin
            .get(&format!("{CONFIGMAPS}?labelSelector={selector}"))
            .await
            .ok();
        let items = list["items"].as_array().unwrap();
        let names: Vec<&str> = items
            .iter()
            .filter_map(|i| i["metadata"]["name"].as_str())
            .collect();
        assert_eq!(names, expected, "{selector}");
    }
    let message = admin
        .get(&format!("{CONFIGMAPS}?labelSelector=a===b"))
        .await
        .refused(400);
    assert_eq!(
        message,
        "unable to parse requirement: found '=', expected: identifier"
    );
    let message = admin
        .get(&format!("{CONFIGMAPS}?fieldSelector=data%3Dx"))
        .await
        .refused(400);
    assert_eq!(
        message,
        "\"data\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
    let message = admin
        .get(&format!("{CONFIGMAPS}?fieldSelector=foo"))
        .await
        .refused(400);
    assert_eq!(message, "invalid selector: 'foo'; can't understand 'foo'");
}

#[tokio::test]
async fn o06_a_deadline_is_set_or_lowered_and_never_raised() {
    let admin = Cluster::start().await.admin();
    let mut made = pod("p");
    made["spec"]["activeDeadlineSeconds"] = json!(100);
    admin.post(PODS, made).await.ok();
    let path = format!("{PODS}/p");
    let to = |seconds: Value| json!({"spec": {"activeDeadlineSeconds": seconds}});
    let lowered = admin.patch(&path, "merge", to(json!(50))).await.ok();
    assert_eq!(lowered["spec"]["activeDeadlineSeconds"], 50);
    let message = admin.patch(&path, "merge", to(json!(60))).await.refused(422);
    assert!(
        message.contains(
            "spec.activeDeadlineSeconds: Invalid value: 60: must be less than or equal to previous value"
        ),
        "{message}"
    );
    admin.patch(&path, "merge", to(Value::Null)).await.refused(422);
}
