use super::*;
use crate::status::cause::shown;

fn set(change: impl Fn(&mut Value)) -> Value {
    let mut set = json!({"metadata": {"name": "s", "namespace": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }});
    change(&mut set);
    orlop_api::defaults::daemon_set(&mut set);
    set
}

/// A02 to A07
#[test]
fn daemonset_texts() {
    assert_eq!(shown(&daemon_set_create(&set(|_| {}))), [] as [String; 0]);
    let rolling = |unavailable: Value, surge: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}});
    let template = "/spec/template/spec";
    let update = "/spec/updateStrategy";
    for (at, value, want) in [
        (
            "/spec/template/metadata/labels",
            json!({"a": "c"}),
            "spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`",
        ),
        (
            "/spec/template/metadata/labels",
            json!({"a": "b", "c": "-"}),
            "spec.template.labels: Invalid value: \"-\": ",
        ),
        (
            "/spec/template/metadata/annotations",
            json!({"a b": "x"}),
            "spec.template.annotations: Invalid value: \"a b\": ",
        ),
        (
            "/spec/minReadySeconds",
            json!(-1),
            "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "/spec/revisionHistoryLimit",
            json!(-1),
            "spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "/spec/template/spec/restartPolicy",
            json!("Never"),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            "/spec/template/spec/restartPolicy",
            json!("Odd"),
            "spec.template.spec.restartPolicy: Unsupported value: \"Odd\": supported values: \"Always\"",
        ),
        (
            "/spec/template/spec/activeDeadlineSeconds",
            json!(5),
            "spec.template.spec.activeDeadlineSeconds: Forbidden: ",
        ),
        (
            "/spec/template/spec/ephemeralContainers",
            json!([{"name": "e", "image": "i"}]),
            "spec.template.spec.ephemeralContainers: Forbidden: ",
        ),
        (
            template,
            json!({"containers": []}),
            "spec.template.spec.containers: Required value",
        ),
        (
            update,
            json!({"type": "Foo"}),
            "spec.updateStrategy: Unsupported value: \"Foo\": supported values: \"RollingUpdate\", \"OnDelete\"",
        ),
        (
            update,
            rolling(json!(1), json!(1)),
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
        ),
        (
            update,
            rolling(json!(0), json!(0)),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
        ),
        (
            update,
            rolling(json!("0%"), json!(0)),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
        ),
        (
            update,
            rolling(json!("101%"), json!(0)),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
        ),
        (
            update,
            rolling(json!("many"), json!(0)),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"many\": a valid percent string",
        ),
        (
            update,
            rolling(json!(-1), json!(0)),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: -1: must be greater than or equal to 0",
        ),
    ] {
        let (parent, key) = at.rsplit_once('/').unwrap();
        let found = shown(&daemon_set_create(&set(|s| {
            s.pointer_mut(parent).unwrap()[key] = value.clone()
        })));
        assert_eq!(found.len(), 1, "{at}: {found:?}");
        assert!(found[0].starts_with(want), "{at}: {found:?}");
    }
    for good in [
        rolling(json!(0), json!(1)),
        rolling(json!("10%"), json!(0)),
        json!({"type": "OnDelete"}),
    ] {
        assert_eq!(
            daemon_set_create(&set(|s| s["spec"]["updateStrategy"] = good.clone())),
            []
        );
    }
    assert_eq!(
        shown(&daemon_set_create(&set(|s| s["spec"]["selector"] = json!({})))),
        ["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"]
    );
}

#[test]
fn the_selector_stays() {
    let old = set(|_| {});
    let moved = set(|s| {
        s["spec"]["selector"]["matchLabels"] = json!({"a": "c"});
        s["spec"]["template"]["metadata"]["labels"] = json!({"a": "c"});
    });
    assert_eq!(
        shown(&daemon_set_update(&moved, &old)),
        ["spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"c\"}}: field is immutable"]
    );
    let same = set(|s| s["spec"]["selector"]["matchExpressions"] = json!([]));
    assert_eq!(daemon_set_update(&same, &old), []);
}

/// A11
#[test]
fn status_counters_do_not_shrink_below_sense() {
    let with =
        |collisions: i32, ready: i32| json!({"status": {"numberReady": ready, "collisionCount": collisions}});
    assert_eq!(daemon_set_status_update(&with(2, 0), &with(2, 0)), []);
    assert_eq!(
        shown(&daemon_set_status_update(&with(1, -1), &with(2, 0))),
        [
            "status.numberReady: Invalid value: -1: must be greater than or equal to 0",
            "status.collisionCount: Invalid value: 1: cannot be decremented"
        ]
    );
    let forgotten = json!({"status": {"numberReady": 0}});
    assert_eq!(
        shown(&daemon_set_status_update(&forgotten, &with(0, 0))),
        ["status.collisionCount: Invalid value: 0: cannot be decremented"]
    );
    assert_eq!(daemon_set_status_update(&with(0, 0), &forgotten), []);
}
