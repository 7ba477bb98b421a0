use super::*;
use serde_json::json;

fn pod(change: impl Fn(&mut Value)) -> Value {
    let mut pod = json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {
        "containers": [{"name": "c", "image": "i:1"}],
        "initContainers": [{"name": "i", "image": "i:1"}],
        "activeDeadlineSeconds": 100,
        "restartPolicy": "Never",
        "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute"}],
    }});
    change(&mut pod);
    pod
}

fn texts(new: &Value, old: &Value) -> Vec<String> {
    pod_update(new, old).iter().map(ToString::to_string).collect()
}

/// O05, O06, O07
#[test]
fn little_may_change() {
    let old = pod(|_| {});
    let a = json!({"key": "a", "operator": "Exists", "effect": "NoExecute"});
    let cases: &[(&str, Value, &[&str])] = &[
        ("/spec/containers/0/image", json!("i:2"), &[]),
        ("/spec/initContainers/0/image", json!("i:2"), &[]),
        (
            "/spec/containers/0/image",
            json!(""),
            &["spec.containers[0].image: Required value"],
        ),
        (
            "/spec/initContainers/0/image",
            json!(" i:2"),
            &[
                "spec.initContainers[0].image: Invalid value: \" i:2\": must not have leading or trailing whitespace",
            ],
        ),
        (
            "/spec/containers/0/name",
            json!("x"),
            &["spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"],
        ),
        // One that no type of ours knows.
        (
            "/spec/containers/0",
            json!({"name": "c", "image": "i:1", "later": 1}),
            &["spec: Forbidden: pod updates may not change fields other than"],
        ),
        ("/spec/activeDeadlineSeconds", json!(50), &[]),
        (
            "/spec/activeDeadlineSeconds",
            json!(200),
            &["spec.activeDeadlineSeconds: Invalid value: 200: must be less than or equal to previous value"],
        ),
        (
            "/spec/activeDeadlineSeconds",
            json!(0),
            &["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
        (
            "/spec/activeDeadlineSeconds",
            Value::Null,
            &[
                "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
            ],
        ),
        (
            "/spec/tolerations",
            json!([{"key": "b", "operator": "Exists"}, a]),
            &[],
        ),
        (
            "/spec/tolerations/0",
            json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}),
            &[],
        ),
        (
            "/spec/tolerations",
            json!([]),
            &[
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
            ],
        ),
        (
            "/spec/tolerations",
            json!([a, {"key": "b", "operator": "Exists", "effect": "No"}]),
            &["spec.tolerations[1].effect: Unsupported value: \"No\""],
        ),
        ("/spec/restartPolicy", json!("Always"), &["spec: Forbidden"]),
        (
            "/spec/containers",
            json!([]),
            &["spec.containers: Forbidden: pod updates may not add or remove containers"],
        ),
    ];
    for (pointer, value, want) in cases {
        let new = pod(|p| *p.pointer_mut(pointer).unwrap() = value.clone());
        let found = texts(&new, &old);
        assert_eq!(found.len(), want.len(), "{pointer}: {found:?}");
        for (found, want) in found.iter().zip(*want) {
            assert!(found.starts_with(want), "{found}");
        }
    }
    let both = pod(|p| {
        p["spec"]["tolerations"] = json!([]);
        p["spec"]["restartPolicy"] = json!("Always");
    });
    assert_eq!(texts(&both, &old).len(), 2, "all that is wrong is told");
}

#[test]
fn a_mirror_stays_one_and_nothing_becomes_one() {
    let (plain, mirror) = (
        pod(|_| {}),
        pod(|p| p["metadata"]["annotations"] = json!({CONFIG_MIRROR: "h"})),
    );
    let field = "metadata.annotations[kubernetes.io/config.mirror]: Forbidden";
    assert_eq!(
        texts(&mirror, &plain),
        [format!("{field}: may not add mirror pod annotation")]
    );
    assert_eq!(
        texts(&plain, &mirror),
        [format!("{field}: may not remove or update mirror pod annotation")]
    );
}

#[test]
fn a_negative_grace_may_be_mended() {
    let grace = |seconds: i64| pod(|p| p["spec"]["terminationGracePeriodSeconds"] = json!(seconds));
    assert_eq!(texts(&grace(1), &grace(-1)), [""; 0]);
    for (new, old) in [(2, -1), (1, 30)] {
        assert!(texts(&grace(new), &grace(old))[0].starts_with("spec: Forbidden"));
    }
}

fn term(requirements: Value) -> Value {
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchExpressions": requirements}]}}})
}

/// §12.4: while a pod is gated, gates may go, and it may be aimed at fewer nodes.
#[test]
fn gated_pods_may_be_aimed() {
    let key = |key: &str| json!({"key": key, "operator": "Exists"});
    let (a, b) = (key("a"), key("b"));
    let gated = pod(|p| {
        p["spec"]["schedulingGates"] = json!([{"name": "x.y/z"}]);
        p["spec"]["nodeSelector"] = json!({"k": "v"});
        p["spec"]["affinity"] = term(json!([a]));
    });
    let with = |pointer: &str, value: Value| {
        let mut pod = gated.clone();
        *pod.pointer_mut(pointer).unwrap() = value;
        texts(&pod, &gated)
    };
    let terms =
        "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let at = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let additions = "only additions are allowed (no mutations or deletions)";
    let none: [&str; 0] = [];
    assert_eq!(with("/spec/nodeSelector", json!({"k": "v", "l": "w"})), none);
    assert_eq!(with("/spec/affinity", term(json!([a, b]))), none);
    assert_eq!(
        with("/spec/nodeSelector", json!({"k": "w"})),
        [
            "spec.nodeSelector: Invalid value: {\"k\":\"w\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        ]
    );
    let found = with("/spec/nodeSelector", json!({"k": "v", "l": "a b"}));
    assert!(
        found[0].starts_with("spec.nodeSelector: Invalid value: \"a b\""),
        "{found:?}"
    );
    for other in [json!([b]), json!([b, a])] {
        let found = with("/spec/affinity", term(other));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("{at}[0]: ")) && found[0].ends_with(additions));
    }
    let odd = json!([{"matchExpressions": [a], "matchFields": [{"key": "metadata.uid", "operator": "In", "values": ["u"]}]}]);
    let found = with(terms, odd);
    assert!(
        found[0].starts_with(&format!("{at}[0].matchFields[0].key: ")),
        "{found:?}"
    );
    let more = json!([{"matchExpressions": [a]}, {"matchExpressions": [b]}]);
    for found in [with(terms, more), with("/spec/affinity", json!({}))] {
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with("no additions/deletions to non-empty NodeSelectorTerms list are allowed"));
    }
    assert_eq!(
        with(
            "/spec/schedulingGates",
            json!([{"name": "x.y/z"}, {"name": "x.y/a"}])
        ),
        [
            "spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'x.y/a'"
        ]
    );
    // All at once, by the write that lets it go.
    let released = pod(|p| {
        p["spec"]["nodeSelector"] = json!({"k": "v", "l": "w"});
        p["spec"]["affinity"] = term(json!([a, b]));
    });
    assert_eq!(texts(&released, &gated), none);
    let aimed = pod(|p| {
        p["spec"]["schedulingGates"] = json!([{"name": "x.y/z"}]);
        p["spec"]["affinity"] = term(json!([a]));
    });
    let unaimed = pod(|p| p["spec"]["schedulingGates"] = json!([{"name": "x.y/z"}]));
    assert_eq!(texts(&aimed, &unaimed), none);
    // Without gates it is too late.
    let late = |p: &mut Value| p["spec"]["affinity"] = term(json!([a]));
    assert!(texts(&pod(late), &pod(|_| {}))[0].starts_with("spec: Forbidden"));
}
