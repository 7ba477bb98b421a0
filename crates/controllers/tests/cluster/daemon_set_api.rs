//! What the API makes of DaemonSets and ControllerRevisions (contract §10, A01 to A13): defaults, generations, and how
//! invalid ones are refused, with nothing of them applied.

use futures::StreamExt;
use http::{Method, Request};
use kube::api::{WatchEvent, WatchParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, PATIENCE, eventually};

const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const REVISIONS: &str = "/apis/apps/v1/namespaces/default/controllerrevisions";

fn minimal(more: Value) -> Value {
    let mut set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "img:1"}]}}}});
    orlop_api::patch::merge(&mut set, &more);
    set
}

/// Sends; the code and the answer's body.
async fn send(cluster: &Cluster, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let content = if method == Method::PATCH {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content)
        .body(serde_json::to_vec(body).unwrap())
        .unwrap();
    match cluster.client.request::<Value>(request).await {
        Ok(answer) => (200, answer),
        Err(kube::Error::Api(status)) => (status.code, serde_json::to_value(&status).unwrap()),
        Err(error) => panic!("{path}: {error}"),
    }
}

async fn ok(cluster: &Cluster, method: Method, path: &str, body: &Value) -> Value {
    let (code, answer) = send(cluster, method, path, body).await;
    assert_eq!(code, 200, "{answer}");
    answer
}

async fn get(cluster: &Cluster, path: &str) -> Value {
    ok(cluster, Method::GET, path, &Value::Null).await
}

/// Sends what must be refused as invalid; `field: message` of each cause.
async fn refused(cluster: &Cluster, method: Method, path: &str, body: &Value) -> Vec<String> {
    let (code, status) = send(cluster, method, path, body).await;
    assert_eq!(
        (code, status["reason"].as_str()),
        (422, Some("Invalid")),
        "{status}"
    );
    assert_eq!(status["status"], "Failure");
    let details = &status["details"];
    assert_eq!(details["group"], "apps", "{status}");
    let (kind, name) = (
        details["kind"].as_str().unwrap(),
        details["name"].as_str().unwrap(),
    );
    let causes: Vec<String> = details["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| {
            let [field, message] = ["field", "message"].map(|part| cause[part].as_str().unwrap());
            format!("{field}: {message}")
        })
        .collect();
    // The sentence is made of the causes.
    let all = if let [one] = &causes[..] {
        one.clone()
    } else {
        format!("[{}]", causes.join(", "))
    };
    let message = format!("{kind}.apps \"{name}\" is invalid: {all}");
    assert_eq!(status["message"], message.as_str());
    causes
}

/// A creation that must be refused and leave nothing behind.
async fn refused_whole(cluster: &Cluster, more: Value) -> Vec<String> {
    let causes = refused(cluster, Method::POST, SETS, &minimal(more)).await;
    let list = get(cluster, SETS).await;
    assert_eq!(list["items"], json!([]), "nothing is half-applied");
    causes
}

fn rolling(limits: Value) -> Value {
    json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": limits}}})
}

const GENERATION: &str = "deprecated.daemonset.template.generation";

#[tokio::test]
async fn a01_a_minimal_daemon_set_gets_its_defaults() {
    let cluster = Cluster::bare().await;
    let set = ok(&cluster, Method::POST, SETS, &minimal(json!({}))).await;
    assert_eq!(
        set["spec"]["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
    );
    assert_eq!(set["spec"]["revisionHistoryLimit"], 10);
    assert_eq!(set["metadata"]["generation"], 1);
    assert_eq!(set["metadata"]["annotations"], json!({GENERATION: "1"}));
    assert_eq!(
        set["status"],
        json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
    );
}

#[tokio::test]
async fn a02_the_selector_is_immutable() {
    let cluster = Cluster::bare().await;
    let set = ok(&cluster, Method::POST, SETS, &minimal(json!({}))).await;
    let labels = json!({"app": "d", "more": "yes"});
    let mut changed = set.clone();
    changed["spec"]["selector"]["matchLabels"] = labels.clone();
    changed["spec"]["template"]["metadata"]["labels"] = labels;
    let path = format!("{SETS}/d");
    let causes = refused(&cluster, Method::PUT, &path, &changed).await;
    assert_eq!(causes.len(), 1);
    assert!(
        causes[0].starts_with("spec.selector: Invalid value: "),
        "{causes:?}"
    );
    assert!(causes[0].ends_with(": field is immutable"), "{causes:?}");
    let kept = get(&cluster, &path).await;
    assert_eq!(kept, set, "nothing is half-applied");
}

#[tokio::test]
async fn a03_a04_the_selector_must_select_the_template_and_not_everything() {
    let cluster = Cluster::bare().await;
    let other = json!({"spec": {"template": {"metadata": {"labels": {"app": "other"}}}}});
    assert_eq!(
        refused_whole(&cluster, other).await,
        [
            "spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`"
        ]
    );
    let everything = json!({"spec": {"selector": {"matchLabels": null}}});
    let causes = refused_whole(&cluster, everything).await;
    assert_eq!(
        causes,
        ["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"]
    );
}

#[tokio::test]
async fn a05_templates_that_cannot_be_daemons_are_refused() {
    let cluster = Cluster::bare().await;
    let template = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    assert_eq!(
        refused_whole(&cluster, template(json!({"restartPolicy": "OnFailure"}))).await,
        ["spec.template.spec.restartPolicy: Unsupported value: \"OnFailure\": supported values: \"Always\""]
    );
    let causes = refused_whole(&cluster, template(json!({"activeDeadlineSeconds": 5}))).await;
    assert!(
        causes.len() == 1 && causes[0].starts_with("spec.template.spec.activeDeadlineSeconds: Forbidden: "),
        "{causes:?}"
    );
}

#[tokio::test]
async fn a06_surge_has_to_be_asked_for_with_no_unavailability() {
    let cluster = Cluster::bare().await;
    assert_eq!(
        refused_whole(&cluster, rolling(json!({"maxSurge": 1}))).await,
        [
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"
        ]
    );
    let accepted = minimal(rolling(json!({"maxSurge": 1, "maxUnavailable": 0})));
    let set = ok(&cluster, Method::POST, SETS, &accepted).await;
    assert_eq!(
        set["spec"]["updateStrategy"]["rollingUpdate"],
        json!({"maxSurge": 1, "maxUnavailable": 0})
    );
}

#[tokio::test]
async fn a07_limits_and_strategies_that_make_no_sense_are_refused() {
    let cluster = Cluster::bare().await;
    let path = "spec.updateStrategy.rollingUpdate";
    for zero in [json!(0), json!("0%")] {
        assert_eq!(
            refused_whole(&cluster, rolling(json!({"maxUnavailable": zero}))).await,
            [format!(
                "{path}.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"
            )]
        );
    }
    assert_eq!(
        refused_whole(&cluster, rolling(json!({"maxUnavailable": "101%"}))).await,
        [format!(
            "{path}.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"
        )]
    );
    let foo = json!({"spec": {"updateStrategy": {"type": "Foo"}}});
    assert_eq!(
        refused_whole(&cluster, foo).await,
        [
            "spec.updateStrategy: Unsupported value: \"Foo\": supported values: \"RollingUpdate\", \"OnDelete\""
        ]
    );
    let below = json!({"spec": {"minReadySeconds": -1, "revisionHistoryLimit": -2}});
    let mut causes = refused_whole(&cluster, below).await;
    causes.sort();
    assert_eq!(
        causes,
        [
            "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
            "spec.revisionHistoryLimit: Invalid value: -2: must be greater than or equal to 0"
        ]
    );
    ok(
        &cluster,
        Method::POST,
        SETS,
        &minimal(json!({"spec": {"revisionHistoryLimit": 0}})),
    )
    .await;
}

#[tokio::test]
async fn a08_a12_generations_count_what_changed_and_are_the_servers_own() {
    let cluster = Cluster::bare().await;
    ok(&cluster, Method::POST, SETS, &minimal(json!({}))).await;
    let path = format!("{SETS}/d");
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "img:2"}]}}}});
    for (change, generation, template_generation) in [
        (json!({"metadata": {"labels": {"a": "b"}}}), 1, "1"),
        (json!({"spec": {"minReadySeconds": 3}}), 2, "1"),
        (image, 3, "2"),
        (json!({"metadata": {"annotations": {GENERATION: "99"}}}), 3, "2"),
        (json!({"metadata": {"annotations": {"note": "x"}}}), 3, "2"),
    ] {
        let set = ok(&cluster, Method::PATCH, &path, &change).await;
        assert_eq!(set["metadata"]["generation"], generation, "{change}");
        assert_eq!(
            set["metadata"]["annotations"][GENERATION], template_generation,
            "{change}"
        );
    }
}

#[tokio::test]
async fn a09_spec_and_status_are_written_apart() {
    let cluster = Cluster::bare().await;
    let mut set = ok(&cluster, Method::POST, SETS, &minimal(json!({}))).await;
    let (path, status) = (format!("{SETS}/d"), format!("{SETS}/d/status"));
    set["status"]["numberReady"] = json!(7);
    set["spec"]["minReadySeconds"] = json!(1);
    let mut set = ok(&cluster, Method::PUT, &path, &set).await;
    assert_eq!(
        (&set["status"]["numberReady"], &set["spec"]["minReadySeconds"]),
        (&json!(0), &json!(1))
    );
    set["status"]["numberReady"] = json!(7);
    set["spec"]["minReadySeconds"] = json!(2);
    let set = ok(&cluster, Method::PUT, &status, &set).await;
    assert_eq!(
        (&set["status"]["numberReady"], &set["spec"]["minReadySeconds"]),
        (&json!(7), &json!(1))
    );
    assert_eq!(set["metadata"]["generation"], 2, "never moved by a status");
}

#[tokio::test]
async fn a10_conditions_of_clients_are_kept_by_the_controller() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    ok(&cluster, Method::POST, SETS, &minimal(json!({}))).await;
    cluster.expect_status("d", [1, 1, 1, 1, 1, 0]).await;
    let status = format!("{SETS}/d/status");
    eventually("the PUT", || async {
        let mut set = get(&cluster, &status).await;
        set["status"]["conditions"] =
            json!([{"type": "Put", "status": "True", "reason": "E2E", "message": "set by PUT"}]);
        let (code, _) = send(&cluster, Method::PUT, &status, &set).await;
        (code == 200).then_some(())
    })
    .await;
    let kept = |set: &Value, wanted: &str| {
        let conditions = set["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == wanted)
    };
    let before = get(&cluster, &status).await;
    assert!(kept(&before, "Put"));
    // As typed clients write a set of which they fill in the status alone.
    let patch = json!({"metadata": {}, "spec": {"selector": null, "updateStrategy": {},
        "template": {"metadata": {}, "spec": {"containers": null}}},
        "status": {"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
            "conditions": [{"type": "Patched", "status": "False", "lastTransitionTime": null}]}});
    let patched = ok(&cluster, Method::PATCH, &status, &patch).await;
    assert_eq!(patched["spec"], before["spec"]);
    let version = before["metadata"]["resourceVersion"].as_str().unwrap();
    let watch = cluster.sets().watch(&WatchParams::default(), version).await;
    let mut changes = Box::pin(watch.unwrap());
    let seen = async {
        while let Some(change) = changes.next().await {
            if let WatchEvent::Modified(set) = change.unwrap()
                && kept(&serde_json::to_value(&set).unwrap(), "Patched")
            {
                return true;
            }
        }
        false
    };
    let seen = tokio::time::timeout(PATIENCE, seen).await;
    assert_eq!(seen, Ok(true), "a watch shows it");
    // The controller counts anew and leaves it.
    cluster.add_node("n2", json!({})).await;
    cluster.expect_status("d", [2, 2, 2, 2, 2, 0]).await;
    let set = get(&cluster, &format!("{SETS}/d")).await;
    assert!(kept(&set, "Patched"), "{}", set["status"]);
}

#[tokio::test]
async fn a11_counters_are_not_negative_and_collisions_do_not_shrink() {
    let cluster = Cluster::bare().await;
    ok(&cluster, Method::POST, SETS, &minimal(json!({}))).await;
    let status = format!("{SETS}/d/status");
    ok(
        &cluster,
        Method::PATCH,
        &status,
        &json!({"status": {"collisionCount": 2}}),
    )
    .await;
    let lower = refused(
        &cluster,
        Method::PATCH,
        &status,
        &json!({"status": {"collisionCount": 1}}),
    )
    .await;
    assert_eq!(
        lower,
        ["status.collisionCount: Invalid value: 1: cannot be decremented"]
    );
    for counter in [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "observedGeneration",
    ] {
        let negative = json!({"status": {counter: -1}});
        assert_eq!(
            refused(&cluster, Method::PATCH, &status, &negative).await,
            [format!(
                "status.{counter}: Invalid value: -1: must be greater than or equal to 0"
            )]
        );
    }
    assert_eq!(get(&cluster, &status).await["status"]["collisionCount"], 2);
}

#[tokio::test]
async fn a13_a_revisions_data_is_immutable_and_its_number_is_not() {
    let cluster = Cluster::bare().await;
    let revision = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "r"},
        "data": {"b": 1, "a": "<&>"}, "revision": 1});
    ok(&cluster, Method::POST, REVISIONS, &revision).await;
    let path = format!("{REVISIONS}/r");
    let causes = refused(&cluster, Method::PATCH, &path, &json!({"data": {"b": 2}})).await;
    assert!(
        causes.len() == 1 && causes[0].starts_with("data: Invalid value: "),
        "{causes:?}"
    );
    assert!(causes[0].ends_with("field is immutable"), "{causes:?}");
    let renumbered = ok(&cluster, Method::PATCH, &path, &json!({"revision": 5})).await;
    assert_eq!(
        (&renumbered["revision"], &renumbered["data"]),
        (&json!(5), &json!({"b": 1, "a": "<&>"}))
    );
    let below = refused(&cluster, Method::PATCH, &path, &json!({"revision": -1})).await;
    assert_eq!(
        below,
        ["revision: Invalid value: -1: must be greater than or equal to 0"]
    );
}
