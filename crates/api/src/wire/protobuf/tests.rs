use proptest::prelude::*;
use serde_json::{Value, json as j};

use super::super::{DecodeError, json, normalize};
use super::{decode, encode};

fn supported(object: &Value) -> Option<(String, String)> {
    let (api_version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
    super::super::kind(api_version, kind)?;
    Some((api_version.to_owned(), kind.to_owned()))
}

#[test]
fn what_kubectl_create_configmap_sends() {
    // Envelope, then metadata { name "a", creationTimestamp {} }, data { k: v }; an empty string where nothing is set.
    let object = j!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": ""}, "data": {"k": "v"}});
    let decoded = decode(&encode(&object).unwrap()).unwrap();
    let normal = normalize("v1", "ConfigMap", decoded).unwrap();
    assert_eq!(
        normal,
        j!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}})
    );
}

#[test]
fn presence_of_a_pointer_survives_and_empty_values_go() {
    let object = j!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"replicas": 0, "minReadySeconds": 0, "selector": {}, "template": {"spec": {"containers": []}}}});
    let normal = normalize(
        "apps/v1",
        "Deployment",
        decode(&encode(&object).unwrap()).unwrap(),
    )
    .unwrap();
    assert_eq!(normal["spec"]["replicas"], 0);
    assert!(normal["spec"].get("minReadySeconds").is_none());
}

/// What a user has besides groups may have no values.
#[test]
fn lists_of_strings_in_a_map_may_be_null() {
    let review = j!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "u", "extra": {"a": null, "b": ["x"], "c": []}}});
    let decoded = decode(&encode(&review).unwrap()).unwrap();
    assert_eq!(decoded["spec"]["extra"], j!({"a": null, "b": ["x"], "c": null}));
}

/// "TestManagedFieldsTrailingData": such an entry is kept for the one who reads the list, and who finds it malformed.
#[test]
fn fields_that_are_no_json_do_not_refuse_the_object() {
    let object = j!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "managedFields": [
        {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:a": {}}}]}});
    let (good, bad) = (&br#"{"f:a":{}}"#[..], &br#"{"f":{}}{}"#[..]);
    let mut bytes = encode(&object).unwrap();
    let at = bytes.windows(good.len()).position(|part| part == good).unwrap();
    bytes[at..at + bad.len()].copy_from_slice(bad);
    let decoded = decode(&bytes).unwrap();
    assert_eq!(
        decoded["metadata"]["managedFields"][0]["fieldsV1"],
        r#"{"f":{}}{}"#
    );
}

#[test]
fn unknown_kinds_and_foreign_bytes_are_refused() {
    assert_eq!(
        encode(&j!({"apiVersion": "example.com/v1", "kind": "Widget"})),
        Err(DecodeError::NoProtobuf)
    );
    assert_eq!(decode(b"{}").unwrap_err().code(), 400);
    let widget = super::envelope("example.com/v1", "Widget", b"");
    assert_eq!(decode(&widget).unwrap_err().code(), 415);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        for (api_version, kind) in [("v1", "Pod"), ("v1", "Node"), ("apps/v1", "DaemonSet")] {
            if let Ok(object) = decode(&super::envelope(api_version, kind, &raw)) {
                let _ = normalize(api_version, kind, object);
            }
        }
        let _ = decode(&raw);
        let _ = super::super::findings("v1", "Pod", &raw);
    }

    #[test]
    fn flipping_a_byte_never_panics(at in 0usize..1000, byte in any::<u8>()) {
        let object = j!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"x": "y"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}},
                "livenessProbe": {"httpGet": {"port": "web"}}}], "volumes": [{"name": "v", "emptyDir": {}}]}});
        let mut bytes = encode(&object).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(object) = decode(&bytes) {
            let _ = normalize("v1", "Pod", object);
        }
    }
}

/// What kubectl 1.32 sends, byte for byte.
#[test]
fn bodies_of_kubectl() {
    for (body, object) in [
        // kubectl create configmap a --from-literal=k=v
        (
            "6b3873000a0f0a0276311209436f6e6669674d6170121b0a110a016112001a0022002a0032003800420012060a016b1201761a002200",
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"k":"v"}}"#,
        ),
        // kubectl create deployment d --image=i --port=80 --replicas=0
        (
            "6b3873000a150a07617070732f7631120a4465706c6f796d656e7412a7010a1b0a016412001a0022002a003200380042005a080a03617070120164127a0800120a0a080a036170701201641a620a1a0a0012001a0022002a003200380042005a080a03617070120164124412260a01691201692a00320a0a001000185022002a0042006a007200800100880100900100a201001a00320042004a0052005800600068008201008a01009a0100c2010022020a00280038001a0c0800100018002000280038001a002200",
            r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"d","labels":{"app":"d"}},"spec":{"replicas":0,"selector":{"matchLabels":{"app":"d"}},"template":{"metadata":{"labels":{"app":"d"}},"spec":{"containers":[{"name":"i","image":"i","ports":[{"containerPort":80}],"resources":{}}]}},"strategy":{}},"status":{}}"#,
        ),
        // kubectl create token sa --duration=10m
        (
            "6b3873000a280a1861757468656e7469636174696f6e2e6b38732e696f2f7631120c546f6b656e52657175657374121d0a100a0012001a0022002a00320038004200120320d8041a040a0012001a002200",
            r#"{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","metadata":{},"spec":{"audiences":null,"expirationSeconds":600},"status":{"token":"","expirationTimestamp":null}}"#,
        ),
    ] {
        let bytes: Vec<u8> = (0..body.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&body[i..i + 2], 16).unwrap())
            .collect();
        let decoded = decode(&bytes).unwrap();
        let (api_version, kind) = supported(&decoded).unwrap();
        let normal = normalize(&api_version, &kind, decoded).unwrap();
        assert_eq!(String::from_utf8(json::encode(&normal)).unwrap(), object);
    }
}
