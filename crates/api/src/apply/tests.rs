use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn writer(manager: &str) -> Writer<'_> {
    Writer {
        manager,
        api_version: "v1",
        subresource: "",
        ignored: &["status"],
        now: "2026-01-01T00:00:00Z",
    }
}

fn config_map() -> Type<'static> {
    Type::of_kind("v1", "ConfigMap").unwrap()
}

fn pod() -> Type<'static> {
    Type::of_kind("v1", "Pod").unwrap()
}

fn data(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
}

fn apply(
    managed: Managed,
    live: &Value,
    exists: bool,
    config: &Value,
    ty: Type<'_>,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Applied, Refused> {
    let present = Present {
        object: live,
        blank: &json!({}),
        managed,
        exists,
    };
    super::apply(present, config, ty, writer, force, Ok)
}

fn create(config: &Value, ty: Type<'_>, manager: &str) -> Applied {
    apply(
        Managed::default(),
        &json!({}),
        false,
        config,
        ty,
        &writer(manager),
        false,
    )
    .unwrap()
}

fn again(on: &Applied, config: &Value, ty: Type<'_>, manager: &str, force: bool) -> Result<Applied, Refused> {
    apply(
        on.managed.clone(),
        &on.object,
        true,
        config,
        ty,
        &writer(manager),
        force,
    )
}

fn fields(managed: &Managed, manager: &str) -> Value {
    let entry = managed.entries.iter().find(|e| e.manager == manager);
    entry.map_or(Value::Null, |e| e.fields.to_value())
}

/// P08: an Apply entry with the applied fields only.
#[test]
fn an_apply_owns_what_it_lists() {
    let applied = create(&data(json!({"a": "1"})), config_map(), "m1");
    assert_eq!(fields(&applied.managed, "m1"), json!({"f:data": {"f:a": {}}}));
    let container = json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c", "image": "i", "ports": [{"containerPort": 80}], "args": ["a", "b"], "resources": {}}]}});
    let applied = create(&container, pod(), "m1");
    assert_eq!(
        fields(&applied.managed, "m1"),
        json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
            ".": {}, "f:name": {}, "f:image": {}, "f:args": {}, "f:resources": {},
            "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}})
    );
}

/// P09: another's field is a conflict; force takes it; the same value is shared.
#[test]
fn conflicts_are_refused_and_forced() {
    let first = create(&data(json!({"a": "1", "b": "1"})), config_map(), "m1");
    let refused = again(&first, &data(json!({"a": "2"})), config_map(), "m2", false).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Apply failed with 1 conflict: conflict with \"m1\": .data.a"
    );
    let refused = again(
        &first,
        &data(json!({"a": "2", "b": "2"})),
        config_map(),
        "m2",
        false,
    )
    .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .data.a\n- .data.b"
    );
    let forced = again(&first, &data(json!({"a": "2"})), config_map(), "m2", true).unwrap();
    assert_eq!(forced.object["data"], json!({"a": "2", "b": "1"}));
    assert_eq!(fields(&forced.managed, "m1"), json!({"f:data": {"f:b": {}}}));
    assert_eq!(fields(&forced.managed, "m2"), json!({"f:data": {"f:a": {}}}));
    let shared = again(&first, &data(json!({"a": "1"})), config_map(), "m2", false).unwrap();
    assert_eq!(
        fields(&shared.managed, "m1"),
        json!({"f:data": {"f:a": {}, "f:b": {}}})
    );
}

/// P10: what nobody lists any more goes; what another owns stays.
#[test]
fn fields_that_are_no_longer_listed_go() {
    let first = create(&data(json!({"a": "1", "b": "1"})), config_map(), "m1");
    let second = again(&first, &data(json!({"a": "1"})), config_map(), "m2", false).unwrap();
    let third = again(&second, &data(json!({})), config_map(), "m1", false).unwrap();
    assert_eq!(third.object["data"], json!({"a": "1"}));
    assert_eq!(fields(&third.managed, "m1"), json!({"f:data": {}}));
    let fourth = again(
        &third,
        &json!({"metadata": {"name": "c"}}),
        config_map(),
        "m2",
        false,
    )
    .unwrap();
    assert_eq!(fourth.object.get("data"), None);
}

/// A default that was filled into something owned as a whole is no conflict with who applied it without.
#[test]
fn what_means_the_same_conflicts_with_nobody() {
    let env = |field: Value| {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "env": [
            {"name": "N", "valueFrom": {"fieldRef": field}}]}]}})
    };
    let (short, long) = (
        env(json!({"fieldPath": "f"})),
        env(json!({"apiVersion": "v1", "fieldPath": "f"})),
    );
    let live = update(Managed::default(), &json!({}), &long, pod(), &writer("m1"));
    assert!(apply(live.clone(), &long, true, &short, pod(), &writer("m2"), false).is_err());
    let complete = |_| Ok(long.clone());
    let present = Present {
        object: &long,
        blank: &json!({}),
        managed: live,
        exists: true,
    };
    let applied = super::apply(present, &short, pod(), &writer("m2"), false, complete).unwrap();
    assert_eq!(applied.object, long);
}

/// Items with the same key are owned together, and by nobody in part.
#[test]
fn items_that_cannot_be_told_apart_are_owned_as_one() {
    let env = |values: &[&str]| {
        let items: Vec<Value> = values
            .iter()
            .map(|value| json!({"name": "PATH", "value": value}))
            .collect();
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "env": items}]}})
    };
    let of_env = |managed: &Managed, manager: &str| {
        fields(managed, manager)["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"]["f:env"].clone()
    };
    let (one, two, others) = (env(&["a"]), env(&["a", "b"]), env(&["a", "c"]));
    let made = update(Managed::default(), &json!({}), &two, pod(), &writer("m1"));
    assert_eq!(of_env(&made, "m1"), json!({".": {}, "k:{\"name\":\"PATH\"}": {}}));
    let changed = update(made, &two, &others, pod(), &writer("m2"));
    assert_eq!(of_env(&changed, "m1"), json!({}));
    assert_eq!(of_env(&changed, "m2"), json!({"k:{\"name\":\"PATH\"}": {}}));
    let fields = super::members::members(&two, pod()).to_value();
    let items = &fields["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"]["f:env"];
    assert_eq!(*items, json!({"k:{\"name\":\"PATH\"}": {}}));
    let replaced = apply(changed, &others, true, &one, pod(), &writer("m3"), true).unwrap();
    assert_eq!(replaced.object["spec"], one["spec"]);
}

/// A binder owns as a whole what users name in part: that has been so, and keeps nobody from applying again.
#[test]
fn a_volumes_claim_is_owned_field_by_field() {
    let ty = Type::of_kind("v1", "PersistentVolume").unwrap();
    let volume = |claim: Value| json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"}, "spec": {"claimRef": claim}});
    let live = volume(json!({"name": "c", "namespace": "n", "uid": "u"}));
    let whole = json!([{"manager": "binder", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:claimRef": {}}}}]);
    let managed = Managed::parse(&whole).unwrap();
    let config = volume(json!({"name": "c", "namespace": "n"}));
    let applied = apply(managed, &live, true, &config, ty, &writer("m1"), false).unwrap();
    assert_eq!(applied.object, live);
    assert_eq!(
        fields(&applied.managed, "m1"),
        json!({"f:spec": {"f:claimRef": {"f:name": {}, "f:namespace": {}}}})
    );
    assert_eq!(
        fields(&applied.managed, "binder"),
        json!({"f:spec": {"f:claimRef": {}}})
    );
}

/// Who applied by kubectl alone before owns what is as it was, and nothing that others changed since.
#[test]
fn kubectl_takes_over_what_it_applied_before() {
    let mut live = data(json!({"a": "1", "b": "2"}));
    let last = data(json!({"a": "1", "b": "1"})).to_string();
    live["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": last});
    let managed = update(
        Managed::default(),
        &json!({}),
        &live,
        config_map(),
        &writer("kubectl-client-side-apply"),
    );
    let again = |config: Value, manager: &str| {
        apply(
            managed.clone(),
            &live,
            true,
            &data(config),
            config_map(),
            &writer(manager),
            false,
        )
    };
    let applied = again(json!({"a": "3"}), "kubectl").unwrap();
    assert_eq!(applied.object["data"], json!({"a": "3", "b": "2"}));
    assert!(again(json!({"a": "3"}), "other").is_err());
    let refused = again(json!({"a": "3", "b": "3"}), "kubectl")
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains(".data.b") && !refused.contains(".data.a"),
        "{refused}"
    );
}

/// False is written as nothing, and null is nothing; both change what somebody else has set.
#[test]
fn who_empties_a_field_of_others_is_in_conflict_with_them() {
    let node =
        |spec: Value| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": spec});
    let ty = Type::of_kind("v1", "Node").unwrap();
    let set = create(&node(json!({"unschedulable": true})), ty, "m1");
    for value in [json!(false), Value::Null] {
        let config = node(json!({"unschedulable": value}));
        let applied = |force: bool| {
            let present = Present {
                object: &set.object,
                blank: &json!({}),
                managed: set.managed.clone(),
                exists: true,
            };
            super::apply(present, &config, ty, &writer("m2"), force, |_| {
                Ok(node(json!({})))
            })
        };
        let refused = applied(false).unwrap_err().to_string();
        assert!(
            refused.contains("conflict with \"m1\": .spec.unschedulable"),
            "{refused}"
        );
        let forced = applied(true).unwrap();
        assert_eq!(forced.object, node(json!({})));
        assert_eq!(fields(&forced.managed, "m1"), Value::Null);
        assert_eq!(
            fields(&forced.managed, "m2"),
            json!({"f:spec": {"f:unschedulable": {}}})
        );
    }
}

/// An item of a keyed list goes with the defaults that were filled into it.
#[test]
fn a_container_that_is_no_longer_listed_goes_whole() {
    let two = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}});
    let mut first = create(&two, pod(), "m1");
    first.object["spec"]["containers"][1]["imagePullPolicy"] = json!("Always");
    let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "i"}]}});
    let second = again(&first, &one, pod(), "m1", false).unwrap();
    assert_eq!(
        second.object["spec"]["containers"],
        json!([{"name": "a", "image": "i"}])
    );
}

/// Lists of both sides keep their orders.
#[test]
fn merged_items_keep_both_orders() {
    let names = |list: &[&str]| -> Value {
        let env: Vec<Value> = list.iter().map(|n| json!({"name": n, "value": "v"})).collect();
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "env": env}]}})
    };
    for (live, config, merged) in [
        (&["a", "b"][..], &["c"][..], &["a", "b", "c"][..]),
        (&["a", "b", "c"], &["x", "b"], &["a", "x", "b", "c"]),
        (&["a", "b"], &["b", "a"], &["b", "a"]),
        (&["a", "k", "b"], &["b", "a"], &["k", "b", "a"]),
        (&["b", "a", "c"], &["c", "b"], &["a", "c", "b"]),
    ] {
        let first = create(&names(live), pod(), "m1");
        let second = again(&first, &names(config), pod(), "m2", false).unwrap();
        let env = second.object["spec"]["containers"][0]["env"].as_array().unwrap();
        let got: Vec<&str> = env.iter().map(|e| e["name"].as_str().unwrap()).collect();
        assert_eq!(got, merged, "{config:?} over {live:?}");
    }
}

#[test]
fn configurations_that_do_not_fit_are_refused_with_their_path() {
    for (spec, text) in [
        (json!({"bogus": 1}), ".spec.bogus: field not declared in schema"),
        (
            json!({"containers": [{"name": "c", "imag": "x"}]}),
            ".spec.containers[name=\"c\"].imag: field not declared in schema",
        ),
        (
            json!({"containers": [{"name": "c"}, {"name": "c"}]}),
            ".spec.containers: duplicate entries for key [name=\"c\"]",
        ),
        (
            json!({"bogus": 1, "containers": [{"name": "c", "imag": "x"}, {"image": "x"}, {"image": "y"}]}),
            "errors:\n  .spec.bogus: field not declared in schema\n  .spec.containers[name=\"c\"].imag: field not declared in schema\n  \
             .spec.containers: duplicate entries for key [name=\"\"]",
        ),
    ] {
        let config = json!({"metadata": {"name": "p"}, "spec": spec});
        let refused = apply(
            Managed::default(),
            &json!({}),
            false,
            &config,
            pod(),
            &writer("m"),
            false,
        )
        .unwrap_err();
        assert_eq!(refused.to_string(), text);
    }
}

/// P12: a custom resource with a keyed list.
#[test]
fn items_of_a_custom_resource_merge_by_their_keys() {
    let schema = crate::structural::compile(
        &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"parts": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}}}}}}),
        "",
    )
    .unwrap();
    let part =
        |name: &str| json!({"metadata": {"name": "w"}, "spec": {"parts": [{"name": name, "size": 1}]}});
    let first = create(&part("a"), Type::Custom(&schema), "m1");
    let second = again(&first, &part("b"), Type::Custom(&schema), "m2", false).unwrap();
    assert_eq!(
        second.object["spec"]["parts"],
        json!([{"name": "a", "size": 1}, {"name": "b", "size": 1}])
    );
    assert_eq!(
        fields(&second.managed, "m2"),
        json!({"f:spec": {"f:parts": {"k:{\"name\":\"b\"}": {".": {}, "f:name": {}, "f:size": {}}}}})
    );
    let third = again(
        &second,
        &json!({"metadata": {"name": "w"}}),
        Type::Custom(&schema),
        "m1",
        false,
    )
    .unwrap();
    assert_eq!(third.object["spec"]["parts"], json!([{"name": "b", "size": 1}]));
    let unknown = json!({"spec": {"bogus": 1}});
    assert!(again(&third, &unknown, Type::Custom(&schema), "m1", false).is_err());
    let keyless = json!({"spec": {"parts": [{"size": 1}]}});
    let refused = again(&third, &keyless, Type::Custom(&schema), "m1", false).unwrap_err();
    assert_eq!(
        refused.to_string(),
        ".spec.parts: element 0: associative list with keys has an element that omits all key fields [\"name\"] (and doesn't \
         have default values for any key fields)"
    );
}

fn custom(properties: Value) -> crate::structural::Node {
    let spec = json!({"type": "object", "properties": properties});
    crate::structural::compile(&json!({"type": "object", "properties": {"spec": spec}}), "").unwrap()
}

/// A key that is not given has its schema's default, not the one that built-in types have.
#[test]
fn keys_of_custom_items_have_the_defaults_of_their_schema() {
    let schema = custom(json!({"ports": {
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
        "items": {"type": "object", "properties": {
            "port": {"type": "integer"}, "protocol": {"type": "string", "default": "SCTP"}}}}}));
    let config = json!({"metadata": {"name": "w"}, "spec": {"ports": [{"port": 1}]}});
    let applied = create(&config, Type::Custom(&schema), "m");
    assert_eq!(
        fields(&applied.managed, "m"),
        json!({"f:spec": {"f:ports": {"k:{\"port\":1,\"protocol\":\"SCTP\"}": {".": {}, "f:port": {}}}}})
    );
}

/// Null is a value: it is written, taken away, and filled like any other; where parts are, they stay.
#[test]
fn null_is_there_and_holds_nothing() {
    let schema = custom(json!({"inner": {
        "type": "object", "nullable": true, "properties": {"x": {"type": "string"}}}}));
    let ty = Type::Custom(&schema);
    let object = |spec: Value| json!({"metadata": {"name": "w"}, "spec": spec});
    let null = object(json!({"inner": null}));
    let applied = create(&null, ty, "m1");
    assert_eq!(fields(&applied.managed, "m1"), json!({"f:spec": {"f:inner": {}}}));
    for (new, of_m1, of_m2) in [
        (json!({}), Value::Null, Value::Null),
        (
            json!({"inner": {}}),
            Value::Null,
            json!({"f:spec": {"f:inner": {}}}),
        ),
        (
            json!({"inner": {"x": "1"}}),
            json!({"f:spec": {"f:inner": {}}}),
            json!({"f:spec": {"f:inner": {"f:x": {}}}}),
        ),
    ] {
        let managed = update(
            applied.managed.clone(),
            &null,
            &object(new.clone()),
            ty,
            &writer("m2"),
        );
        assert_eq!(fields(&managed, "m1"), of_m1, "{new}");
        assert_eq!(fields(&managed, "m2"), of_m2, "{new}");
    }
    let filled = create(&object(json!({"inner": {"x": "1"}})), ty, "m1");
    let kept = again(&filled, &null, ty, "m2", false).unwrap();
    assert_eq!(kept.object, filled.object);
    assert_eq!(fields(&kept.managed, "m2"), json!({"f:spec": {"f:inner": {}}}));
}

/// What gives way to another form goes with all its parts, whoever owns them.
#[test]
fn parts_go_with_the_form_they_were_parts_of() {
    let schema = custom(json!({"free": {"x-kubernetes-preserve-unknown-fields": true}}));
    let ty = Type::Custom(&schema);
    let object = |free: Value| json!({"metadata": {"name": "w"}, "spec": {"free": free}});
    let applied = create(&object(json!({"a": {"b": 1}})), ty, "m1");
    let managed = update(
        applied.managed,
        &applied.object,
        &object(json!("text")),
        ty,
        &writer("m2"),
    );
    assert_eq!(fields(&managed, "m1"), Value::Null);
    assert_eq!(fields(&managed, "m2"), json!({"f:spec": {"f:free": {}}}));
}

/// An entry has the time at which its manager last wrote something. Who only agrees has none.
#[test]
fn the_time_of_an_entry_is_that_of_the_last_write() {
    let later = |manager: &'static str| Writer {
        now: "2026-02-02T00:00:00Z",
        ..writer(manager)
    };
    let time = |managed: &Managed, manager: &str| {
        let entry = managed.entries.iter().find(|e| e.manager == manager);
        entry.unwrap().time.clone()
    };
    let (first, second) = ("2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z");
    let one = create(&data(json!({"a": "1", "b": "1"})), config_map(), "m1");
    let on = |on: &Applied, config: Value, manager: &'static str| {
        apply(
            on.managed.clone(),
            &on.object,
            true,
            &data(config),
            config_map(),
            &later(manager),
            true,
        )
        .unwrap()
    };
    assert_eq!(
        time(&on(&one, json!({"a": "1", "b": "1"}), "m1").managed, "m1").as_deref(),
        Some(first)
    );
    assert_eq!(
        time(&on(&one, json!({"a": "2", "b": "1"}), "m1").managed, "m1").as_deref(),
        Some(second)
    );
    assert_eq!(time(&on(&one, json!({"a": "1"}), "m2").managed, "m2"), None);

    let made = update(
        Managed::default(),
        &json!({}),
        &data(json!({"a": "1", "b": "1"})),
        config_map(),
        &writer("m"),
    );
    let updated = |new: Value| {
        let old = data(json!({"a": "1", "b": "1"}));
        update(made.clone(), &old, &data(new), config_map(), &later("m"))
    };
    assert_eq!(
        time(&updated(json!({"a": "2", "b": "1"})), "m").as_deref(),
        Some(second)
    );
    assert_eq!(time(&updated(json!({"a": "1"})), "m").as_deref(), Some(first));
}

/// Conflicts are told level by level: what stands at one before what stands below it.
#[test]
fn conflicts_of_a_level_come_before_those_below_it() {
    let object = |image: &str, policy: &str| json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": policy, "containers": [{"name": "c", "image": image}]}});
    let first = create(&object("i", "Always"), pod(), "m1");
    let refused = again(&first, &object("j", "Never"), pod(), "m2", false).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .spec.restartPolicy\n- .spec.containers[name=\"c\"].image"
    );
}

/// What is owned as a whole, as upstream's types declare it.
#[test]
fn structures_that_are_owned_as_a_whole() {
    let binding = json!({"metadata": {"name": "b"}, "spec": {
        "policyName": "p", "paramRef": {"name": "a"}, "matchResources": {"matchPolicy": "Exact"}}});
    let ty = Type::of_kind(
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicyBinding",
    );
    let applied = create(&binding, ty.unwrap(), "m");
    assert_eq!(
        fields(&applied.managed, "m"),
        json!({"f:spec": {"f:policyName": {}, "f:paramRef": {}, "f:matchResources": {}}})
    );
    let scaled =
        json!({"metadata": {"name": "h"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}}});
    for (version, owned) in [
        ("autoscaling/v1", json!({})),
        ("autoscaling/v2", json!({"f:kind": {}, "f:name": {}})),
    ] {
        let applied = create(
            &scaled,
            Type::of_kind(version, "HorizontalPodAutoscaler").unwrap(),
            "m",
        );
        assert_eq!(
            fields(&applied.managed, "m"),
            json!({"f:spec": {"f:scaleTargetRef": owned}})
        );
    }
}

/// Updates own what they changed, maps and items they made included, and take fields without a conflict.
#[test]
fn updates_own_what_they_changed() {
    let empty = json!({"metadata": {}, "spec": {}});
    let old = json!({"metadata": {"name": "p", "labels": {"a": "1"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = update(Managed::default(), &empty, &old, pod(), &writer("m1"));
    assert_eq!(
        fields(&made, "m1"),
        json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}}}}})
    );
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = json!("j");
    new["metadata"]["labels"] = json!({});
    let changed = update(made, &old, &new, pod(), &writer("m2"));
    assert_eq!(
        fields(&changed, "m2"),
        json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {"f:image": {}}}}})
    );
    assert_eq!(
        fields(&changed, "m1"),
        json!({"f:metadata": {"f:labels": {}}, "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}}}}})
    );
}

/// A heartbeat: the same fields by the same manager have another time, and what others own is as it was.
#[test]
fn a_write_of_the_same_fields_again_moves_the_time() {
    let old = data(json!({"a": "1", "b": "1"}));
    let made = update(
        Managed::default(),
        &data(json!({})),
        &old,
        config_map(),
        &writer("m2"),
    );
    let mut list = json!([
        {"manager": "m0", "operation": "Apply", "apiVersion": "v1", "time": "2026-01-05T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:c": {}}}},
        made.to_value()[0],
        {"manager": "m1", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:01Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:x": {}}}}},
    ]);
    let before = list.clone();
    let later = Writer {
        now: "2026-01-01T00:00:02Z",
        ..writer("m2")
    };
    let updated = |list: &Value, new: &Value| {
        update_list(list.to_string().as_bytes(), &old, new, config_map(), &later)
            .map(|list| serde_json::from_slice::<Value>(&list).unwrap())
    };
    assert_eq!(updated(&list, &old), None, "nothing was written");
    let new = data(json!({"a": "2", "b": "1"}));
    list = updated(&list, &new).unwrap();
    let mut expected = json!([before[0], before[2], before[1]]);
    expected[2]["time"] = json!("2026-01-01T00:00:02Z");
    assert_eq!(list, expected);
    assert_eq!(updated(&json!([{"manager": "m"}]), &new), Some(json!([])));
}

/// P15
#[test]
fn the_oldest_updates_are_folded() {
    let mut managed = Managed::default();
    let mut object = data(json!({}));
    for number in 0..11 {
        let mut new = object.clone();
        new["data"][format!("k{number}")] = json!("v");
        let (manager, now) = (format!("m{number}"), format!("2026-01-01T00:00:{number:02}Z"));
        let writer = Writer {
            now: &now,
            ..writer(&manager)
        };
        managed = update(managed, &object, &new, config_map(), &writer);
        object = new;
    }
    assert_eq!(managed.entries.len(), 10);
    assert_eq!(
        fields(&managed, "ancient-changes"),
        json!({"f:data": {"f:k0": {}, "f:k1": {}}})
    );
}

#[test]
fn what_was_there_before_the_first_apply_is_credited() {
    let live = data(json!({"a": "1"}));
    let refused = apply(
        Managed::default(),
        &live,
        true,
        &data(json!({"a": "2"})),
        config_map(),
        &writer("m"),
        false,
    );
    assert_eq!(
        refused.unwrap_err().to_string(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a"
    );
    let shared = apply(
        Managed::default(),
        &live,
        true,
        &live,
        config_map(),
        &writer("m"),
        false,
    );
    assert_eq!(
        fields(&shared.unwrap().managed, "before-first-apply"),
        json!({"f:data": {".": {}, "f:a": {}}})
    );
}

#[test]
fn managed_fields_are_read_as_they_are_written() {
    let applied = create(&data(json!({"a": "1"})), config_map(), "m1");
    let list = applied.managed.to_value();
    assert_eq!(Managed::parse(&list).unwrap(), applied.managed);
    assert_eq!(
        Managed::parse(&json!([{"operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"x:y": {}}}])),
        None
    );
    assert!(Managed::is_reset(&json!([{}])) && Managed::is_reset(&json!([])));
    assert!(!Managed::is_reset(&list));
    let mut twice = list.as_array().unwrap().clone();
    twice.extend(list.as_array().unwrap().clone());
    assert_eq!(Managed::parse(&json!(twice)).unwrap(), applied.managed);
}

fn any_data() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map("[a-e]", "[0-2]", 0..4).prop_map(|map| data(json!(map)))
}

/// Pods of few forms, so that two of them are alike now and then.
fn any_pod() -> impl Strategy<Value = Value> {
    let container = ("[ab]", "[ab]?", proptest::option::of(80..82_i32)).prop_map(|(name, image, port)| {
        let mut container = json!({"name": name, "image": image});
        if let Some(port) = port {
            container["ports"] = json!([{"containerPort": port}]);
        }
        container
    });
    let label = proptest::option::of("[ab]?");
    let containers = proptest::collection::vec(container, 0..3);
    ("[ab]", label, containers, proptest::bool::ANY).prop_map(|(name, label, containers, host)| {
        let mut pod =
            json!({"metadata": {"name": name}, "spec": {"containers": containers, "hostNetwork": host}});
        if let Some(label) = label {
            pod["metadata"]["labels"] = json!({"l": label});
        }
        pod
    })
}

#[test]
fn daemon_pods_of_two_nodes_are_alike() {
    let made = |node: &str, image: &str| {
        json!({"metadata": {"generateName": "ds-", "labels": {"app": "ds"}},
        "spec": {"containers": [{"name": "c", "image": image, "args": [node]}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
                [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}}}}})
    };
    assert!(alike(&made("a", "i"), &made("b", "j"), pod()));
    let mut other = made("a", "i");
    other["spec"]["containers"][0]["name"] = json!("d");
    assert!(!alike(&made("a", "i"), &other, pod()), "another item");
}

/// P10: an object stays itself when the last label that was applied goes, whoever has set the rest of its metadata.
#[test]
fn the_last_label_goes_alone() {
    let with_label = json!({"metadata": {"name": "c", "labels": {"a": "b"}}, "data": {"k": "v"}});
    let mut first = create(&with_label, config_map(), "m1");
    first.object["metadata"]["uid"] = json!("u");
    let without = json!({"metadata": {"name": "c"}, "data": {"k": "v"}});
    let second = again(&first, &without, config_map(), "m1", false).unwrap();
    assert_eq!(second.object["metadata"], json!({"name": "c", "uid": "u"}));
}

proptest! {
    /// A list comes to the same whether it is taken apart or not.
    #[test]
    fn lists_are_updated_as_what_they_say(
        writes in proptest::collection::vec((any_data(), 0..3_usize, proptest::bool::ANY), 1..12)
    ) {
        let mut object = data(json!({}));
        let (mut managed, mut list) = (Managed::default(), json!([]));
        for (number, (new, who, labelled)) in writes.into_iter().enumerate() {
            let mut new = new;
            if labelled {
                new["metadata"]["labels"] = json!({"l": number.to_string()});
            }
            let (manager, now) = (format!("m{who}"), format!("2026-01-01T00:00:{number:02}Z"));
            let writer = Writer { now: &now, ..writer(&manager) };
            managed = update(managed, &object, &new, config_map(), &writer);
            if list == json!([]) {
                list = managed.to_value();
            } else {
                let text = list.to_string();
                if let Some(updated) = update_list(text.as_bytes(), &object, &new, config_map(), &writer) {
                    list = serde_json::from_slice(&updated).unwrap();
                    prop_assert_eq!(list.to_string().into_bytes(), updated, "as it is stored");
                }
            }
            prop_assert_eq!(&list, &managed.to_value());
            object = new;
        }
    }

    /// Of objects that are alike a creator owns the same fields.
    #[test]
    fn creators_of_alike_objects_own_the_same(a in any_pod(), b in any_pod()) {
        let owned = |made: &Value| update(Managed::default(), &json!({}), made, pod(), &writer("m"));
        if alike(&a, &b, pod()) {
            prop_assert_eq!(owned(&a), owned(&b));
        }
        prop_assert!(alike(&a, &a, pod()));
    }

    /// Applying the same twice is applying it once.
    #[test]
    fn applying_again_changes_nothing(live in any_data(), config in any_data()) {
        let first = create(&live, config_map(), "m1");
        let once = again(&first, &config, config_map(), "m2", true).unwrap();
        let twice = again(&once, &config, config_map(), "m2", false).unwrap();
        prop_assert_eq!(&once.object, &twice.object);
        prop_assert_eq!(once.managed.to_value(), twice.managed.to_value());
    }

    /// What is listed is there afterwards, and owned.
    #[test]
    fn what_is_applied_is_there(live in any_data(), config in any_data()) {
        let first = create(&live, config_map(), "m1");
        let applied = again(&first, &config, config_map(), "m2", true).unwrap();
        for (key, value) in config["data"].as_object().unwrap() {
            prop_assert_eq!(&applied.object["data"][key], value);
        }
    }

    /// An unforced apply never changes what others own.
    #[test]
    fn without_force_nothing_of_others_changes(live in any_data(), config in any_data()) {
        let first = create(&live, config_map(), "m1");
        if let Ok(applied) = again(&first, &config, config_map(), "m2", false) {
            for (key, value) in live["data"].as_object().unwrap() {
                prop_assert_eq!(&applied.object["data"][key], value);
            }
        }
    }
}
