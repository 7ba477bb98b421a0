use super::*;
use k8s_openapi::api::core::v1::HostPathVolumeSource;
use serde_json::{Value, json};

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn pod() -> Pod {
    of(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}}))
}

fn claim(of_volume: Value) -> Claim {
    Claim::of(&pod(), &of(of_volume)).unwrap()
}

#[test]
fn a_claim_has_to_be_bound_to_be_used() {
    let plain = claim(json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}}));
    let own = claim(json!({"name": "v", "ephemeral": {}}));
    assert_eq!(own.name, "p-v");
    let bound = json!({"metadata": {}, "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}});
    let with = |pointer: &str, value: Value| {
        let mut object = bound.clone();
        *object.pointer_mut(pointer).unwrap() = value;
        object
    };
    let owner = |uid: &str| json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true}]});
    let stranger = "PVC was not created for pod ns/p (pod is not owner)";
    for (claim, object, want) in [
        (&plain, bound.clone(), Ok("pv")),
        (
            &plain,
            with("/status", json!({"phase": "Pending"})),
            Err("PVC is not bound"),
        ),
        (&plain, with("/spec", json!({})), Err("PVC is not bound")),
        (
            &plain,
            with("/metadata", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})),
            Err("PVC is being deleted"),
        ),
        (&own, bound.clone(), Err(stranger)),
        (&own, with("/metadata", owner("other")), Err(stranger)),
        (&own, with("/metadata", owner("u")), Ok("pv")),
    ] {
        let found = claim.bound_to(&of(object.clone()), &pod());
        assert_eq!(
            found.as_deref().map_err(String::as_str),
            want,
            "{claim:?} {object}"
        );
    }
}

#[test]
fn a_volume_is_the_claims_and_of_a_kind_that_lies_on_the_node() {
    let of_pod = claim(json!({"name": "v", "persistentVolumeClaim": {"claimName": "c", "readOnly": true}}));
    let object: PersistentVolumeClaim = of(json!({"metadata": {"uid": "c1"}}));
    let lead = |spec: Value| {
        let volume = of(json!({"metadata": {"name": "pv"}, "spec": spec}));
        of_pod.lead(&object, &volume).map_err(|fault| fault.to_string())
    };
    let bound = |source| {
        Ok(Bound {
            volume: "pv".to_owned(),
            source,
            read_only: true,
            options: mount_options::Change::of(["ro"]).unwrap(),
        })
    };
    let mine = json!({"uid": "c1"});
    assert_eq!(
        lead(json!({"claimRef": mine, "local": {"path": "/d"}})),
        bound(Source::Local("/d".into()))
    );
    let host = HostPathVolumeSource {
        path: "/h".to_owned(),
        type_: None,
    };
    assert_eq!(
        lead(json!({"claimRef": mine, "hostPath": {"path": "/h"}})),
        bound(Source::HostPath(host))
    );
    for (spec, want) in [
        (
            json!({"local": {"path": "/d"}}),
            "belongs to the claim with uid \"\"",
        ),
        (
            json!({"claimRef": {"uid": "c2"}, "local": {"path": "/d"}}),
            "uid \"c2\", not to c with \"c1\"",
        ),
        (
            json!({"claimRef": mine, "volumeMode": "Block", "local": {"path": "/d"}}),
            "volumeMode Block, but is specified in volumeMounts",
        ),
        (
            json!({"capacity": {"storage": "1Gi"}, "claimRef": mine, "nfs": {"server": "s", "path": "/"}}),
            "volume type nfs (PersistentVolume pv) is not supported by this node agent",
        ),
        (
            json!({"claimRef": mine, "csi": {"driver": "x.example.org", "volumeHandle": "h"}}),
            "volume type csi of x.example.org (PersistentVolume pv) is not supported",
        ),
        (
            json!({"claimRef": mine, "mountOptions": ["noexec"], "hostPath": {"path": "/h"}}),
            "mount option \"noexec\" of pv: hostPath volumes have no mount options",
        ),
        (
            json!({"claimRef": mine, "mountOptions": ["noexec", "discard"], "local": {"path": "/d"}}),
            "mount option \"discard\" is not supported",
        ),
    ] {
        let error = lead(spec.clone()).unwrap_err();
        assert!(error.contains(want), "{spec}: {error}");
    }
}

#[test]
fn a_volume_says_which_nodes_reach_it() {
    let volume = |required: Value| -> PersistentVolume {
        of(json!({"spec": {"nodeAffinity": {"required": required}}}))
    };
    let on_a = json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "In", "values": ["a"]}]}]});
    let node = |label: &str| -> Node { of(json!({"metadata": {"labels": {"k": label}}})) };
    assert!(is_reachable_from(&volume(on_a.clone()), &node("a")));
    assert!(!is_reachable_from(&volume(on_a.clone()), &node("b")));
    assert!(is_confined(&volume(on_a)) && !is_confined(&PersistentVolume::default()));
}
