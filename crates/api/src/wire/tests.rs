use serde_json::{Value, json as j};

use super::{Finding, findings, json, normalize};

fn normal(api_version: &str, kind: &str, object: Value) -> Value {
    normalize(api_version, kind, object).unwrap()
}

fn refused(api_version: &str, kind: &str, object: Value) -> String {
    normalize(api_version, kind, object).unwrap_err().to_string()
}

#[test]
fn a_pod_gets_what_upstreams_types_always_write() {
    let pod = normal(
        "v1",
        "Pod",
        j!({"metadata": {"name": "p", "labels": {}, "creationTimestamp": null},
        "spec": {"containers": [{"name": "a", "image": "", "args": []}], "hostNetwork": false, "priority": 0}}),
    );
    assert_eq!(
        pod,
        j!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {},
            "spec": {"containers": [{"name": "a", "resources": {}}], "priority": 0}})
    );
}

#[test]
fn always_present_fields_of_the_contract() {
    let event = normal("v1", "Event", j!({}));
    for (field, value) in [
        ("source", j!({})),
        ("firstTimestamp", Value::Null),
        ("lastTimestamp", Value::Null),
        ("eventTime", Value::Null),
        ("reportingComponent", j!("")),
        ("reportingInstance", j!("")),
    ] {
        assert_eq!(event.get(field), Some(&value), "{field}");
    }
    assert_eq!(
        normal("rbac.authorization.k8s.io/v1", "ClusterRole", j!({})).get("rules"),
        Some(&Value::Null)
    );
    let ds = normal("apps/v1", "DaemonSet", j!({}));
    assert_eq!(
        ds["status"],
        j!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
    );
    let node = normal("v1", "Node", j!({}));
    assert_eq!(
        node["status"]["daemonEndpoints"],
        j!({"kubeletEndpoint": {"Port": 0}})
    );
    assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "");
    assert_eq!(
        normal("v1", "Service", j!({}))["status"],
        j!({"loadBalancer": {}})
    );
    let condition = j!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    assert_eq!(
        normal("v1", "Pod", condition)["status"]["conditions"][0],
        j!({"type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": null})
    );
}

#[test]
fn unknown_fields_go_and_embedded_json_stays() {
    let map = normal(
        "v1",
        "ConfigMap",
        j!({"bogus": 1, "data": {"a": "b"}, "metadata": {"x": 1, "name": "m"}}),
    );
    assert_eq!(
        map,
        j!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}})
    );
    let data = j!({"spec": {"template": {"$patch": "replace", "bogus": null}}});
    let revision = normal("apps/v1", "ControllerRevision", j!({"data": data, "revision": 3}));
    assert_eq!(revision["data"], data);
}

/// daemonsets §4.4: kubectl compares the bytes.
#[test]
fn controller_revision_data_is_written_sorted_and_escaped() {
    let bytes = br#"{"kind":"ControllerRevision","apiVersion":"apps/v1","metadata":{"name":"r"},"data":{"spec":{"template":{"$patch":"replace","spec":{"containers":[{"args":["\u003ca\u0026\u003e"],"kind":"z","name":"c"}]}}}},"revision":1}"#;
    let object = normal("apps/v1", "ControllerRevision", json::decode(bytes).unwrap());
    assert_eq!(
        String::from_utf8(json::encode(&object)).unwrap(),
        String::from_utf8(bytes.to_vec()).unwrap()
    );
}

#[test]
fn times_are_whole_seconds_in_utc() {
    let pod = normal(
        "v1",
        "Pod",
        j!({"status": {"startTime": "2026-01-02T04:04:05.987+01:00"}}),
    );
    assert_eq!(pod["status"]["startTime"], "2026-01-02T03:04:05Z");
    for bad in ["yesterday", "", "2026-01-02 03:04:05Z", "2026-13-02T03:04:05Z"] {
        let text = refused("v1", "Pod", j!({"status": {"startTime": bad}}));
        assert!(
            text.contains(&format!(
                "parsing time \"{bad}\" as \"2006-01-02T15:04:05Z07:00\""
            )),
            "{text}"
        );
    }
}

#[test]
fn the_core_group_has_no_name() {
    assert_eq!(super::group_and_version("v1"), ("", "v1"));
    assert_eq!(super::group_and_version("apps/v1"), ("apps", "v1"));
}

#[test]
fn micro_times_have_six_decimals() {
    let lease = |at: &str| normalize("coordination.k8s.io/v1", "Lease", j!({"spec": {"renewTime": at}}));
    assert_eq!(
        lease("2026-01-02T03:04:05.120000Z").unwrap()["spec"]["renewTime"],
        "2026-01-02T03:04:05.120000Z"
    );
    assert_eq!(
        lease("2026-01-02T03:04:05.000000Z").unwrap()["spec"]["renewTime"],
        "2026-01-02T03:04:05.000000Z"
    );
    let text = lease("2026-01-02T03:04:05Z").unwrap_err().to_string();
    assert!(text.contains(r#"cannot parse "Z" as ".000000""#), "{text}");
}

#[test]
fn quantities_are_canonical() {
    let limits = |q: Value| {
        let pod = normal(
            "v1",
            "Pod",
            j!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"x": q}}}]}}),
        );
        pod["spec"]["containers"][0]["resources"]["limits"]["x"].clone()
    };
    for (given, canonical) in [
        (j!("0.1"), "100m"),
        (j!("1000m"), "1"),
        (j!("1024Mi"), "1Gi"),
        (j!("128974848"), "128974848"),
        (j!(2), "2"),
        (j!(0.5), "500m"),
    ] {
        assert_eq!(limits(given), canonical);
    }
    assert!(
        refused(
            "v1",
            "PersistentVolume",
            j!({"spec": {"capacity": {"storage": "lots"}}})
        )
        .contains("quantities must match")
    );
}

#[test]
fn wrong_types_name_the_field() {
    for (object, cause) in [
        (
            j!({"spec": {"containers": "x"}}),
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            j!({"spec": {"containers": [{"name": 5}]}}),
            "json: cannot unmarshal number into Go struct field Container.spec.containers.name of type string",
        ),
        (
            j!({"metadata": {"labels": []}}),
            "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        (
            j!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            j!({"spec": {"hostNetwork": "true"}}),
            "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool",
        ),
        (
            j!({"spec": {"priority": 1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            j!({"spec": {"priority": 4294967296i64}}),
            "json: cannot unmarshal number 4294967296 into Go struct field PodSpec.spec.priority of type int32",
        ),
    ] {
        assert_eq!(
            refused("v1", "Pod", object),
            format!("Pod in version \"v1\" cannot be handled as a Pod: {cause}")
        );
    }
    assert!(
        refused("v1", "Secret", j!({"data": {"a": "?"}})).ends_with("illegal base64 data at input byte 0")
    );
}

#[test]
fn the_core_group_may_be_written_with_its_slash() {
    let pod = normalize("v1", "Pod", j!({"kind": "Pod", "apiVersion": "/v1"})).unwrap();
    assert_eq!(pod["apiVersion"], "v1");
}

#[test]
fn another_kind_is_refused() {
    assert_eq!(
        refused("v1", "Pod", j!({"kind": "ConfigMap", "apiVersion": "v1"})),
        "ConfigMap in version \"v1\" cannot be handled as a Pod: converting (v1.ConfigMap) to (core.Pod): unknown conversion"
    );
    assert!(normalize("v1", "Widget", j!({})).is_err());
    assert!(refused("v1", "Pod", j!([])).contains("cannot unmarshal array into Go value of type v1.Pod"));
}

#[test]
fn broken_json_has_upstreams_words() {
    let text = json::decode(b"").unwrap_err().to_string();
    assert_eq!(
        text,
        "couldn't get version/kind; json parse error: unexpected end of JSON input"
    );
    assert!(json::decode(b"{}x").is_err());
    let deep = vec![b'['; 100_000];
    assert!(json::decode(&deep).is_err());
}

/// V01
#[test]
fn unknown_and_duplicate_fields_are_found_with_their_paths() {
    let body = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","labels":{"a":"1","a":"2"}},
        "spec":{"containers":[{"name":"c","image":"x","image":"y","bogus":{"deeper":1}}],"volumes":[{"name":"v","emptyDir":{"nope":null}}]},
        "status":null,"bogus":null}"#;
    assert_eq!(
        findings("v1", "Pod", body),
        [
            Finding::Duplicate("metadata.labels.a".to_owned()),
            Finding::Duplicate("spec.containers[0].image".to_owned()),
            Finding::Unknown("spec.containers[0].bogus".to_owned()),
            Finding::Unknown("spec.volumes[0].emptyDir.nope".to_owned()),
            Finding::Unknown("bogus".to_owned()),
        ]
    );
    let (object, _) = json::decode_with_findings("v1", "Pod", body).unwrap();
    assert_eq!(object["spec"]["containers"][0]["image"], "y");
    assert_eq!(
        Finding::Unknown("spec.bogus".to_owned()).to_string(),
        "unknown field \"spec.bogus\""
    );
}

/// V01: in the order of the body; what is unknown is no duplicate as well.
#[test]
fn findings_come_in_the_order_of_the_body() {
    let body =
        br#"{"kind":"Pod","apiVersion":"v1","spec":{"unknown":1,"hostname":"a","hostname":"b","unknown":2}}"#;
    assert_eq!(
        findings("v1", "Pod", body),
        [
            Finding::Unknown("spec.unknown".to_owned()),
            Finding::Duplicate("spec.hostname".to_owned()),
        ]
    );
}

#[test]
fn unknown_fields_of_a_tree() {
    let pod = j!({"spec": {"containers": [{"name": "a", "bogus": 1}]}, "more": {}});
    assert_eq!(
        super::unknown_fields("v1", "Pod", &pod),
        [
            Finding::Unknown("more".to_owned()),
            Finding::Unknown("spec.containers[0].bogus".to_owned())
        ]
    );
}

#[test]
fn errors_name_the_version_without_its_group_and_the_cause_alone() {
    let error = normalize("apps/v1", "DaemonSet", j!({"spec": 1})).unwrap_err();
    let cause = "json: cannot unmarshal number into Go struct field DaemonSet.spec of type v1.DaemonSetSpec";
    assert_eq!(
        error.to_string(),
        format!("DaemonSet in version \"v1\" cannot be handled as a DaemonSet: {cause}")
    );
    assert_eq!(error.cause(), cause);
}

#[test]
fn options_belong_to_every_group() {
    let options = j!({"apiVersion": "policy/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
    assert_eq!(normal("policy/v1", "DeleteOptions", options.clone()), options);
    assert_eq!(
        normal("v1", "DeleteOptions", j!({"dryRun": ["All"]}))["dryRun"],
        j!(["All"])
    );
}

#[test]
fn nulls_empty_values_and_embedded_json_are_no_findings() {
    let body = br#"{"kind":"ControllerRevision","apiVersion":"apps/v1","metadata":{"name":"","labels":null},"data":{"x":1,"y":{"x":2}}}"#;
    assert_eq!(findings("apps/v1", "ControllerRevision", body), []);
    let set = br#"{"spec":{"volumeClaimTemplates":[{"kind":"PersistentVolumeClaim","apiVersion":"v1","metadata":{"name":"d"}}]}}"#;
    assert_eq!(findings("apps/v1", "StatefulSet", set), []);
    assert_eq!(findings("example.com/v1", "Widget", br#"{"a":1}"#), []);
}

#[test]
fn normal_form_is_stable() {
    for kind in super::kinds() {
        let once = normal(kind.api_version, kind.kind, j!({"metadata": {"name": "x"}}));
        assert_eq!(
            normal(kind.api_version, kind.kind, once.clone()),
            once,
            "{}",
            kind.kind
        );
    }
}

#[test]
fn the_typed_structs_read_what_is_written() {
    fn reads<K: serde::de::DeserializeOwned>(api_version: &str, kind: &str) {
        serde_json::from_value::<K>(normal(api_version, kind, j!({"metadata": {"name": "x"}}))).unwrap();
    }
    use k8s_openapi::api;
    reads::<api::core::v1::Pod>("v1", "Pod");
    reads::<api::core::v1::Node>("v1", "Node");
    reads::<api::core::v1::Event>("v1", "Event");
    reads::<api::core::v1::Service>("v1", "Service");
    reads::<api::core::v1::Namespace>("v1", "Namespace");
    reads::<api::apps::v1::DaemonSet>("apps/v1", "DaemonSet");
    reads::<api::apps::v1::ControllerRevision>("apps/v1", "ControllerRevision");
    reads::<api::apps::v1::Deployment>("apps/v1", "Deployment");
    reads::<api::coordination::v1::Lease>("coordination.k8s.io/v1", "Lease");
    reads::<api::rbac::v1::ClusterRole>("rbac.authorization.k8s.io/v1", "ClusterRole");
    reads::<api::discovery::v1::EndpointSlice>("discovery.k8s.io/v1", "EndpointSlice");
    reads::<api::events::v1::Event>("events.k8s.io/v1", "Event");
}

#[test]
fn many_empty_objects_are_refused_before_they_grow() {
    let containers = vec![j!({}); 200_000];
    assert!(refused("v1", "Pod", j!({"spec": {"containers": containers}})).contains("holds more than"));
}

#[test]
fn yaml_modes_are_octal() {
    let yaml =
        b"kind: Pod\nspec:\n  volumes:\n  - name: v\n    configMap: {defaultMode: 0644}\n---\nkind: Other\n";
    match super::from_yaml(yaml) {
        Ok(pod) => assert_eq!(pod["spec"]["volumes"][0]["configMap"]["defaultMode"], 420),
        Err(e) => panic!("{e}"),
    }
    assert!(super::from_yaml(b"a: [").is_err());
    assert!(super::from_yaml(b"\xff").is_err());
}

mod any_object {
    use proptest::prelude::*;
    use serde_json::{Value, json as j};

    use super::super::schema::{Field, MessageId, Other, Schema, Shape, Type};
    use super::super::{findings, json, normalize, protobuf};

    /// An object of the message with about half its fields set, some of them to their zero.
    fn object(id: MessageId, depth: usize, seed: &mut impl FnMut() -> u8) -> Value {
        let mut object = serde_json::Map::new();
        for field in Schema::builtin().message(id).json_fields() {
            if seed().is_multiple_of(3) && depth < 12 {
                object.insert(field.name.to_owned(), value(field, depth, seed));
            }
        }
        Value::Object(object)
    }

    fn value(field: &Field, depth: usize, seed: &mut impl FnMut() -> u8) -> Value {
        match field.shape {
            Shape::One => single(field, depth, seed),
            Shape::List => (0..seed() % 3).map(|_| single(field, depth, seed)).collect(),
            Shape::Map => (0..seed() % 3)
                .map(|i| (format!("k{i}"), single(field, depth, seed)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    fn single(field: &Field, depth: usize, seed: &mut impl FnMut() -> u8) -> Value {
        let n = seed();
        match field.ty {
            Type::String => {
                if n.is_multiple_of(2) {
                    j!("")
                } else {
                    j!(format!("s{n}<"))
                }
            }
            Type::Bytes => {
                if n.is_multiple_of(2) {
                    j!("")
                } else {
                    j!("eQ==")
                }
            }
            Type::Int32 | Type::Int64 => j!(i64::from(n % 4) - 1),
            Type::Double => j!([0.0, 1.0, -2.5, 1e20][usize::from(n % 4)]),
            Type::Bool => j!(n.is_multiple_of(2)),
            Type::Time => j!(["2026-01-02T03:04:05Z", "0001-01-01T00:00:00Z"][usize::from(n % 2)]),
            Type::MicroTime => j!("2026-01-02T03:04:05.000006Z"),
            Type::Quantity => j!(["0", "1500m", "1024Mi"][usize::from(n % 3)]),
            Type::IntOrString => {
                if n.is_multiple_of(2) {
                    j!(0)
                } else {
                    j!("10%")
                }
            }
            Type::Raw => j!({"a": {"$patch": n}}),
            Type::Strings => j!(["x"]),
            Type::Message(id) => object(id, depth + 1, seed),
            Type::Either(_, Other::Bool) if n.is_multiple_of(2) => j!(n.is_multiple_of(4)),
            Type::Either(_, Other::Strings) if n.is_multiple_of(2) => j!(["x"]),
            Type::Either(id, Other::List) if n.is_multiple_of(2) => j!([object(id, depth + 1, seed)]),
            Type::Either(id, _) => object(id, depth + 1, seed),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// The normal form is a fixed point, has no findings, and survives JSON and protobuf unchanged.
        #[test]
        fn survives_both_encodings(which in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 1..400)) {
            let kinds: Vec<_> = super::super::kinds().collect();
            let kind = which.get(&kinds);
            let (api_version, kind) = (kind.api_version, kind.kind);
            let mut at = 0;
            let mut seed = || { at += 1; bytes[at % bytes.len()].wrapping_add((at / bytes.len()) as u8) };
            let id = Schema::builtin().kind(api_version, kind).unwrap();
            let normal = normalize(api_version, kind, object(id, 0, &mut seed)).unwrap();
            prop_assert_eq!(&normalize(api_version, kind, normal.clone()).unwrap(), &normal);
            let text = json::encode(&normal);
            prop_assert_eq!(findings(api_version, kind, &text), vec![]);
            prop_assert_eq!(&json::decode(&text).unwrap(), &normal);
            let decoded = protobuf::decode(&protobuf::encode(&normal).unwrap()).unwrap();
            prop_assert_eq!(&normalize(api_version, kind, decoded).unwrap(), &normal);
        }

        #[test]
        fn no_json_makes_it_panic(which in any::<prop::sample::Index>(), text in "[\\[\\]{}\":,a-z0-9 ]{0,60}") {
            let kinds: Vec<_> = super::super::kinds().collect();
            let kind = which.get(&kinds);
            if let Ok(object) = json::decode(text.as_bytes()) {
                let _ = normalize(kind.api_version, kind.kind, object);
            }
            let _ = super::super::from_yaml(text.as_bytes());
        }
    }
}
