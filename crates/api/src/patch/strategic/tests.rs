use proptest::prelude::*;
use serde_json::{Value, json as j};

use super::strategic;

fn pod(spec: Value) -> Value {
    j!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
}

fn patched(current: &Value, patch: Value) -> Value {
    let kind = current["kind"].as_str().unwrap();
    strategic(kind, current, &patch).unwrap()
}

/// P03
#[test]
fn a_container_is_found_by_name_and_the_other_kept() {
    let current = pod(
        j!({"containers": [{"name": "a", "image": "a:1", "args": ["x"]}, {"name": "b", "image": "b:1"}]}),
    );
    let result = patched(
        &current,
        j!({"spec": {"containers": [{"name": "a", "image": "a:2"}]}}),
    );
    assert_eq!(
        result["spec"]["containers"],
        j!([{"name": "a", "image": "a:2", "args": ["x"]}, {"name": "b", "image": "b:1"}])
    );
}

/// P04
#[test]
fn patch_delete_removes_a_template_container() {
    let current = j!({"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": {"template": {"spec": {
        "containers": [{"name": "a"}, {"name": "b"}]}}}});
    let result = patched(
        &current,
        j!({"spec": {"template": {"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}}}),
    );
    assert_eq!(
        result["spec"]["template"]["spec"]["containers"],
        j!([{"name": "b"}])
    );
}

/// P04
#[test]
fn retain_keys_replaces_the_volume_source() {
    let current = pod(j!({"volumes": [{"name": "v", "emptyDir": {}}], "containers": []}));
    let result = patched(
        &current,
        j!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}}),
    );
    assert_eq!(
        result["spec"]["volumes"],
        j!([{"name": "v", "hostPath": {"path": "/x"}}])
    );
}

/// P05
#[test]
fn delete_from_primitive_list_takes_only_that_finalizer() {
    let mut current = pod(j!({}));
    current["metadata"]["finalizers"] = j!(["a/x", "b/y"]);
    let result = patched(
        &current,
        j!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/x"]}}),
    );
    assert_eq!(result["metadata"]["finalizers"], j!(["b/y"]));
}

#[test]
fn finalizers_are_a_set() {
    let mut current = pod(j!({}));
    current["metadata"]["finalizers"] = j!(["a/x", "b/y"]);
    let result = patched(&current, j!({"metadata": {"finalizers": ["b/y", "c/z"]}}));
    let mut list: Vec<&str> = result["metadata"]["finalizers"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    list.sort_unstable();
    assert_eq!(list, ["a/x", "b/y", "c/z"]);
}

#[test]
fn new_elements_come_first_without_a_stated_order() {
    let current = pod(j!({"containers": [{"name": "a"}, {"name": "b"}]}));
    let result = patched(&current, j!({"spec": {"containers": [{"name": "z"}]}}));
    assert_eq!(
        result["spec"]["containers"],
        j!([{"name": "z"}, {"name": "a"}, {"name": "b"}])
    );
}

#[test]
fn set_element_order_decides() {
    let current = pod(j!({"containers": [{"name": "a"}, {"name": "b"}]}));
    let order = j!([{"name": "b"}, {"name": "z"}, {"name": "a"}]);
    let result = patched(
        &current,
        j!({"spec": {"$setElementOrder/containers": order, "containers": [{"name": "z", "image": "i"}]}}),
    );
    assert_eq!(
        result["spec"]["containers"],
        j!([{"name": "b"}, {"name": "z", "image": "i"}, {"name": "a"}])
    );
    let only_order = patched(
        &current,
        j!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
    );
    assert_eq!(
        only_order["spec"]["containers"],
        j!([{"name": "b"}, {"name": "a"}])
    );
}

#[test]
fn what_kubectl_set_env_sends_is_applied() {
    let current = pod(
        j!({"containers": [{"name": "a", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}]}),
    );
    let result = patched(
        &current,
        j!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a",
            "$setElementOrder/env": [{"name": "A"}, {"name": "C"}],
            "env": [{"$patch": "delete", "name": "B"}, {"name": "C", "value": "3"}]}]}}),
    );
    assert_eq!(
        result["spec"]["containers"][0],
        j!({"name": "a", "env": [{"name": "A", "value": "1"}, {"name": "C", "value": "3"}]})
    );
}

#[test]
fn tolerations_and_taints_replace() {
    let current = pod(j!({"tolerations": [{"key": "a"}]}));
    let result = patched(&current, j!({"spec": {"tolerations": [{"key": "b"}]}}));
    assert_eq!(result["spec"]["tolerations"], j!([{"key": "b"}]));
    let node =
        j!({"kind": "Node", "apiVersion": "v1", "spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}});
    assert_eq!(patched(&node, j!({"spec": {"taints": null}}))["spec"], j!({}));
}

#[test]
fn the_kubelets_status_patch_merges_conditions_by_type() {
    let node = j!({"kind": "Node", "apiVersion": "v1", "status": {"conditions": [
        {"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "False", "reason": "x"}]}});
    let result = patched(
        &node,
        j!({"status": {"$setElementOrder/conditions": [{"type": "MemoryPressure"}, {"type": "Ready"}],
            "conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    assert_eq!(
        result["status"]["conditions"],
        j!([{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True", "reason": "x"}])
    );
}

/// daemonsets §4.4, §4.5: a rollback sends the revision's data as a patch.
#[test]
fn a_controller_revision_replaces_the_template() {
    let ds = j!({"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": {"minReadySeconds": 3, "template": {
        "metadata": {"labels": {"app": "x", "new": "y"}},
        "spec": {"hostNetwork": true, "containers": [{"name": "a", "image": "2", "args": ["x"]}, {"name": "b"}]}}}});
    let data = j!({"spec": {"template": {"$patch": "replace", "metadata": {"labels": {"app": "x"}},
        "spec": {"containers": [{"name": "a", "image": "1", "resources": {}}]}}}});
    let result = patched(&ds, data);
    assert_eq!(
        result["spec"],
        j!({"minReadySeconds": 3, "template": {"metadata": {"labels": {"app": "x"}},
            "spec": {"containers": [{"name": "a", "image": "1", "resources": {}}]}}})
    );
}

#[test]
fn directives_on_whole_maps_and_lists() {
    let current =
        pod(j!({"containers": [{"name": "a"}, {"name": "b"}], "nodeSelector": {"a": "1", "b": "2"}}));
    let result = patched(
        &current,
        j!({"spec": {"nodeSelector": {"$patch": "replace", "c": "3"}}}),
    );
    assert_eq!(result["spec"]["nodeSelector"], j!({"c": "3"}));
    let result = patched(&current, j!({"spec": {"nodeSelector": {"$patch": "delete"}}}));
    assert_eq!(result["spec"]["nodeSelector"], j!({}));
    let result = patched(
        &current,
        j!({"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}}),
    );
    assert_eq!(result["spec"]["containers"], j!([{"name": "z"}]));
    let result = patched(
        &current,
        j!({"spec": {"containers": [{"$patch": "replace", "name": "y"}, {"name": "z"}]}}),
    );
    assert_eq!(result["spec"]["containers"], j!([{"name": "z"}]));
}

#[test]
fn directives_that_cannot_be_followed_are_refused() {
    let current = pod(
        j!({"containers": [{"name": "a"}, {"name": "b"}], "nodeSelector": {"a": "1"}, "volumes": [{"name": "v"}]}),
    );
    for (spec, code, text) in [
        (
            j!({"nodeSelector": {"$patch": "merge", "c": "3"}}),
            500,
            "unknown patch type: merge in map: map[$patch:merge c:3]",
        ),
        (
            j!({"containers": [{"$patch": "merge", "name": "a"}]}),
            500,
            "merging lists cannot yet be specified in the patch",
        ),
        (
            j!({"volumes": [{"name": "v", "emptyDir": {}, "$retainKeys": ["name"]}]}),
            400,
            "invalid patch format of retainKeys",
        ),
        (
            j!({"volumes": [{"name": "v", "$retainKeys": "name"}]}),
            400,
            "invalid patch format of retainKeys",
        ),
        (
            j!({"$setElementOrder/containers": "a"}),
            400,
            "invalid patch format of setElementOrder list",
        ),
        (
            j!({"$setElementOrder/containers": [{"image": "a"}]}),
            500,
            "map: map[image:a] does not contain declared merge key: name",
        ),
        (
            j!({"$setElementOrder/containers": ["a"]}),
            500,
            "value for key 0 is not a map",
        ),
        (
            j!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a"}, {"name": "b"}]}),
            500,
            "The order in patch list:\n[map[name:a] map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:b] map[name:a]]\n",
        ),
    ] {
        let error = strategic("Pod", &current, &j!({"spec": spec})).unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (code, text));
    }
    // Nothing comes of what is no directive at all.
    let same = patched(
        &current,
        j!({"spec": {"$bogus": 1, "$deleteFromPrimitiveList/volumes": "v"}}),
    );
    assert_eq!(same, current);
}

#[test]
fn deployment_strategy_and_pdb_selector() {
    let deployment = j!({"apiVersion": "apps/v1", "kind": "Deployment",
        "spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let result = patched(
        &deployment,
        j!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
    );
    assert_eq!(result["spec"]["strategy"], j!({"type": "Recreate"}));
    let pdb = j!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "spec": {"selector": {"matchLabels": {"a": "1"}}}});
    let result = patched(&pdb, j!({"spec": {"selector": {"matchLabels": {"b": "2"}}}}));
    assert_eq!(result["spec"]["selector"], j!({"matchLabels": {"b": "2"}}));
}

#[test]
fn nulls_and_directives_in_new_values_are_dropped() {
    let result = patched(
        &pod(j!({})),
        j!({"spec": {"nodeSelector": {"a": null, "b": "1"}, "$setElementOrder/containers": [{"name": "a"}],
            "containers": [{"name": "a", "image": null, "$retainKeys": ["name"]}, {"name": "b", "$patch": "delete"}]}}),
    );
    assert_eq!(
        result["spec"],
        j!({"nodeSelector": {"b": "1"}, "containers": [{"name": "a"}]})
    );
}

#[test]
fn mistakes_have_the_contracts_texts() {
    let current = pod(j!({"containers": [{"name": "a"}]}));
    let error = strategic("Pod", &current, &j!({"spec": {"containers": [{"image": "z"}]}})).unwrap_err();
    assert_eq!(error.code(), 500);
    assert_eq!(
        error.to_string(),
        "map: map[image:z] does not contain declared merge key: name"
    );
    let error = strategic("Pod", &current, &j!({"spec": {"$patch": "bogus"}})).unwrap_err();
    assert_eq!(error.code(), 500);
    assert_eq!(
        error.to_string(),
        "unknown patch type: bogus in map: map[$patch:bogus]"
    );
    assert_eq!(strategic("Pod", &current, &j!([])).unwrap_err().code(), 400);
    assert_eq!(strategic("Widget", &current, &j!({})).unwrap_err().code(), 415);
}

#[test]
fn events_of_both_groups_are_told_apart() {
    let current = j!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "a"});
    assert_eq!(patched(&current, j!({"note": "b"}))["note"], "b");
}

fn any_patch() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i8>().prop_map(Value::from),
        prop_oneof!["delete", "replace", "merge", "a", "b"].prop_map(Value::from),
    ];
    let key = prop_oneof![
        "spec|containers|env|name|volumes|finalizers|metadata|emptyDir|image|value",
        "\\$patch|\\$retainKeys|\\$setElementOrder/containers|\\$deleteFromPrimitiveList/finalizers",
    ];
    leaf.prop_recursive(6, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Named containers with named env: the shape clients patch.
fn containers() -> impl Strategy<Value = Value> {
    let env = prop::collection::btree_map("[A-D]", "[0-3]", 0..4).prop_map(|m| {
        m.into_iter()
            .map(|(k, v)| j!({"name": k, "value": v}))
            .collect::<Vec<_>>()
    });
    prop::collection::btree_map("[a-d]", (env, prop::option::of("[x-z]")), 0..4).prop_map(|m| {
        let list = m
            .into_iter()
            .map(|(name, (env, image))| j!({"name": name, "env": env, "image": image}));
        Value::Array(list.collect())
    })
}

proptest! {
    #[test]
    fn no_patch_makes_it_panic(current in any_patch(), patch in any_patch()) {
        let _ = strategic("Pod", &pod(current), &patch);
    }

    #[test]
    fn without_directives_a_second_time_changes_nothing(a in containers(), b in containers()) {
        let patch = j!({"spec": {"containers": b}});
        let once = strategic("Pod", &pod(j!({"containers": a})), &patch).unwrap();
        let twice = strategic("Pod", &once, &patch).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn every_named_element_survives_a_merge(a in containers(), b in containers()) {
        let names = |v: &Value| -> std::collections::BTreeSet<String> {
            v.as_array().into_iter().flatten().filter_map(|c| c["name"].as_str().map(str::to_owned)).collect()
        };
        let result = strategic("Pod", &pod(j!({"containers": a})), &j!({"spec": {"containers": b}})).unwrap();
        let expected = names(&a).union(&names(&b)).cloned().collect();
        prop_assert_eq!(names(&result["spec"]["containers"]), expected);
    }
}
