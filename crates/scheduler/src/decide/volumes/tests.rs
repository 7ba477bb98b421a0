//! Cases of volumes.

use super::*;
use crate::known::volumes::SELECTED_NODE;
use crate::testing::{cluster, pending_pod, world};
use serde_json::{Value, json};

fn volume(name: &str, size: &str, host: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"],
        "storageClassName": "local", "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions":
            [{"key": "host", "operator": "In", "values": [host]}]}]}}}})
}

fn claim(name: &str, size: &str, more: Value) -> Value {
    let mut claim = json!({"metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"storageClassName": "local", "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}}}});
    orlop_api::patch::merge(&mut claim, &more);
    claim
}

fn given(volumes: &[Value], claims: &[Value]) -> World {
    let world = world();
    for class in [
        json!({"metadata": {"name": "local"}, "provisioner": NO_PROVISIONER, "volumeBindingMode": "WaitForFirstConsumer"}),
        json!({"metadata": {"name": "made"}, "provisioner": "example.com/disk", "volumeBindingMode": "WaitForFirstConsumer",
            "allowedTopologies": [{"matchLabelExpressions": [{"key": "host", "values": ["b"]}]}]}),
        json!({"metadata": {"name": "at-once"}, "provisioner": "example.com/disk", "volumeBindingMode": "Immediate"}),
    ] {
        world.classes.apply(serde_json::from_value(class).unwrap());
    }
    for volume in volumes {
        world
            .volumes
            .apply(serde_json::from_value(volume.clone()).unwrap());
    }
    for claim in claims {
        world.claims.apply(serde_json::from_value(claim.clone()).unwrap());
    }
    world
}

/// For nodes a and b: the volumes that meet the claims in their order, or why not.
fn verdicts(world: &World, claims: &[&str]) -> Result<Vec<String>, String> {
    let volumes: Vec<Value> = claims
        .iter()
        .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}))
        .collect();
    let pod = pending_pod(
        "default",
        "p",
        json!({}),
        json!({"containers": [], "volumes": volumes}),
    );
    let found = Volumes::of(&ObjectKey::new("default", "p"), &pod, world)?.unwrap();
    let host = |host: &str| json!({"metadata": {"labels": {"host": host}}});
    let mut cluster = cluster(json!({"a": host("a"), "b": host("b")}));
    let verdict = |node: &NodeView| match found.refuses(node) {
        Some(reason) => reason.to_string(),
        None => {
            let chosen = found.choose(node).unwrap();
            let names = chosen.iter().map(|met| match met {
                Met::By { volume, .. } => volume.to_string(),
                Met::Made { claim, .. } => format!("made for {}", claim.name),
            });
            names.collect::<Vec<_>>().join(" ")
        }
    };
    Ok(cluster
        .candidates()
        .map(|candidate| verdict(candidate.node))
        .collect())
}

const NONE: &str = "node(s) didn't find available persistent volumes to bind";

#[test]
fn a_claim_that_waits_is_met_by_the_smallest_volume_of_the_node_that_is_large_enough() {
    let volumes = [
        volume("tiny", "1Gi", "a"),
        volume("large", "9Gi", "a"),
        volume("fitting", "5Gi", "a"),
        volume("elsewhere", "1Gi", "b"),
    ];
    let world = given(
        &volumes,
        &[claim("c", "2Gi", json!({})), claim("d", "3Gi", json!({}))],
    );
    assert_eq!(verdicts(&world, &["c"]).unwrap(), ["fitting", NONE]);
    assert_eq!(
        verdicts(&world, &["d", "c"]).unwrap(),
        ["fitting large", NONE],
        "each its own"
    );
    world.promise("fitting".into(), ObjectKey::new("default", "other"));
    assert_eq!(
        verdicts(&world, &["c"]).unwrap(),
        ["large", NONE],
        "promised to another"
    );
}

/// Volumes are many, and so are nodes: what could meet a claim is found out before the nodes are looked at.
#[test]
fn all_nodes_are_judged_by_the_volumes_that_there_were_when_the_pod_had_its_turn() {
    let world = given(&[volume("here", "5Gi", "a")], &[claim("c", "2Gi", json!({}))]);
    let pod = pending_pod(
        "default",
        "p",
        json!({}),
        json!({"containers": [], "volumes": [{"name": "c", "persistentVolumeClaim": {"claimName": "c"}}]}),
    );
    let found = Volumes::of(&ObjectKey::new("default", "p"), &pod, &world)
        .unwrap()
        .unwrap();
    for late in [volume("smaller", "2Gi", "a"), volume("there", "5Gi", "b")] {
        world.volumes.apply(serde_json::from_value(late).unwrap());
    }
    let host = |host: &str| json!({"metadata": {"labels": {"host": host}}});
    let mut cluster = cluster(json!({"a": host("a"), "b": host("b")}));
    let met = Met::By {
        claim: ObjectKey::new("default", "c"),
        uid: "c".into(),
        volume: "here".into(),
    };
    assert_eq!(
        found.choose(cluster.candidate("a").unwrap().node),
        Some(vec![met])
    );
    assert_eq!(found.choose(cluster.candidate("b").unwrap().node), None);
}

#[test]
fn class_modes_selector_and_reservation_decide_besides_the_size() {
    let mut reserved = volume("reserved", "5Gi", "a");
    reserved["spec"]["claimRef"] = json!({"namespace": "default", "name": "other"});
    let mut mine = volume("mine", "7Gi", "a");
    mine["spec"]["claimRef"] = json!({"namespace": "default", "name": "c"});
    let mut block = volume("block", "5Gi", "a");
    block["spec"]["volumeMode"] = json!("Block");
    let mut other = volume("other-class", "5Gi", "a");
    other["spec"]["storageClassName"] = json!("made");
    let volumes = [reserved, block, other, mine];
    let world = given(&volumes, &[claim("c", "2Gi", json!({}))]);
    assert_eq!(verdicts(&world, &["c"]).unwrap(), ["mine", NONE]);
    let many = claim("c", "2Gi", json!({"spec": {"accessModes": ["ReadWriteMany"]}}));
    assert_eq!(verdicts(&given(&volumes, &[many]), &["c"]).unwrap(), [NONE, NONE]);
    let picky = claim(
        "c",
        "2Gi",
        json!({"spec": {"selector": {"matchLabels": {"disk": "fast"}}}}),
    );
    let mut fast = volume("fast", "9Gi", "b");
    fast["metadata"]["labels"] = json!({"disk": "fast"});
    let world = given(&[volume("slow", "3Gi", "b"), fast], &[picky]);
    assert_eq!(verdicts(&world, &["c"]).unwrap(), [NONE, "fast"]);
}

#[test]
fn a_bound_claim_confines_its_pod_and_one_without_volume_shuts_it_out() {
    let bound = claim(
        "c",
        "2Gi",
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}}),
    );
    let world = given(&[volume("v", "5Gi", "b")], std::slice::from_ref(&bound));
    assert_eq!(
        verdicts(&world, &["c"]).unwrap(),
        ["node(s) had volume node affinity conflict", ""]
    );
    let lost = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
    assert_eq!(verdicts(&given(&[], &[bound]), &["c"]).unwrap(), [lost, lost]);
}

#[test]
fn a_bound_volume_confines_its_pod_to_the_zones_of_its_labels() {
    let bound = claim(
        "c",
        "2Gi",
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}}),
    );
    let reasons = |labels: Value, node: Value| {
        let mut disk = volume("v", "5Gi", "a");
        disk["spec"]["nodeAffinity"] = json!(null);
        disk["metadata"]["labels"] = labels;
        let world = given(&[disk], std::slice::from_ref(&bound));
        let pod = pending_pod(
            "default",
            "p",
            json!({}),
            json!({"containers": [], "volumes": [
            {"name": "c", "persistentVolumeClaim": {"claimName": "c"}}]}),
        );
        let key = ObjectKey::new("default", "p");
        let found = Volumes::of(&key, &pod, &world).unwrap().unwrap();
        let mut cluster = cluster(json!({"n": {"metadata": {"labels": node}}}));
        let candidate = cluster.candidate("n").unwrap();
        found.refuses(candidate.node)
    };
    const ZONE: &str = "topology.kubernetes.io/zone";
    const OLD: &str = "failure-domain.beta.kubernetes.io/zone";
    for (volume, node, refusal) in [
        (json!({ZONE: "x"}), json!({ZONE: "x"}), None),
        (json!({ZONE: "x"}), json!({ZONE: "y"}), Some(Reason::VolumeZone)),
        (json!({ZONE: "x__y"}), json!({ZONE: "y"}), None),
        (json!({OLD: "x"}), json!({ZONE: "x"}), None),
        (
            json!({ZONE: "x"}),
            json!({"topology.kubernetes.io/region": "r"}),
            Some(Reason::VolumeZone),
        ),
        (json!({ZONE: "x"}), json!({"host": "a"}), None),
        (json!({"zone": "x"}), json!({ZONE: "y"}), None),
    ] {
        assert_eq!(reasons(volume.clone(), node.clone()), refusal, "{volume} {node}");
    }
}

#[test]
fn a_claim_that_two_pods_share_is_met_once() {
    let anywhere = json!({"metadata": {"name": "anywhere"}, "provisioner": "example.com/disk",
        "volumeBindingMode": "WaitForFirstConsumer"});
    let made = |annotation: Value| {
        let more = json!({"metadata": {"annotations": {SELECTED_NODE: annotation}}, "spec": {"storageClassName": "anywhere"}});
        let world = given(&[], &[claim("c", "2Gi", more)]);
        world
            .classes
            .apply(serde_json::from_value(anywhere.clone()).unwrap());
        world
    };
    let key = ObjectKey::new("default", "c");
    assert_eq!(verdicts(&made(json!("b")), &["c"]).unwrap(), [NONE, "made for c"]);
    let world = made(json!(null));
    assert_eq!(verdicts(&world, &["c"]).unwrap(), ["made for c", "made for c"]);
    world.select(&key, "a");
    assert_eq!(
        verdicts(&world, &["c"]).unwrap(),
        ["made for c", NONE],
        "the claim doesn't say so yet"
    );
    world.forget_selection(&key);
    assert_eq!(verdicts(&world, &["c"]).unwrap(), ["made for c", "made for c"]);

    let volumes = [volume("here", "3Gi", "a"), volume("there", "2Gi", "b")];
    let world = given(&volumes, &[claim("c", "2Gi", json!({}))]);
    assert_eq!(verdicts(&world, &["c"]).unwrap(), ["here", "there"]);
    world.promise("here".into(), key);
    assert_eq!(verdicts(&world, &["c"]).unwrap(), ["here", NONE]);
}

#[test]
fn what_no_node_could_change_is_said_at_once() {
    let at_once = claim("at-once", "1Gi", json!({"spec": {"storageClassName": "at-once"}}));
    let going = claim(
        "going",
        "1Gi",
        json!({"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"}}),
    );
    let lost = claim(
        "lost",
        "1Gi",
        json!({"spec": {"volumeName": "gone"}, "status": {"phase": "Lost"}}),
    );
    let world = given(&[], &[at_once, going, lost]);
    for (claim, want) in [
        (
            "lost",
            "persistentvolumeclaim \"lost\" bound to non-existent persistentvolume \"gone\"",
        ),
        ("absent", "persistentvolumeclaim \"absent\" not found"),
        ("going", "persistentvolumeclaim \"going\" is being deleted"),
        ("at-once", "pod has unbound immediate PersistentVolumeClaims"),
    ] {
        assert_eq!(verdicts(&world, &[claim]).unwrap_err(), want);
    }
}

#[test]
fn a_claim_for_an_ephemeral_volume_has_to_be_made_for_the_pod_itself() {
    let volumes = json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]);
    let pod = pending_pod(
        "default",
        "p",
        json!({}),
        json!({"containers": [], "volumes": volumes}),
    );
    let why =
        |claims: &[Value]| Volumes::of(&ObjectKey::new("default", "p"), &pod, &given(&[], claims)).err();
    let of = |uid: &str| {
        let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true});
        claim("p-v", "1Gi", json!({"metadata": {"ownerReferences": [owner]}}))
    };
    assert_eq!(
        why(&[]).unwrap(),
        "waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-v\""
    );
    let anothers = "PVC default/p-v was not created for pod default/p (pod is not owner)";
    assert_eq!(why(&[claim("p-v", "1Gi", json!({}))]).unwrap(), anothers);
    assert_eq!(why(&[of("one of its name before it")]).unwrap(), anothers);
    assert_eq!(why(&[of("p")]), None);
}

#[test]
fn a_provisioner_makes_volumes_where_its_class_allows() {
    let world = given(
        &[],
        &[claim("c", "2Gi", json!({"spec": {"storageClassName": "made"}}))],
    );
    assert_eq!(verdicts(&world, &["c"]).unwrap(), [NONE, "made for c"]);
}

#[test]
fn a_volume_is_made_only_where_its_driver_tells_of_room_for_it() {
    const FULL: &str = "node(s) did not have enough free storage";
    let with = |tells_room: bool, rooms: &[Value]| {
        let more = json!({"spec": {"storageClassName": "counted"}});
        let world = given(&[], &[claim("c", "2Gi", more)]);
        let class = json!({"metadata": {"name": "counted"}, "provisioner": "counted.example.com",
            "volumeBindingMode": "WaitForFirstConsumer"});
        world.classes.apply(serde_json::from_value(class).unwrap());
        let driver =
            json!({"metadata": {"name": "counted.example.com"}, "spec": {"storageCapacity": tells_room}});
        world.drivers.apply(serde_json::from_value(driver).unwrap());
        for (number, room) in rooms.iter().enumerate() {
            let mut whole = json!({"metadata": {"name": number.to_string(), "namespace": "ns"}, "storageClassName": "counted",
                "nodeTopology": {"matchLabels": {"host": "a"}}});
            orlop_api::patch::merge(&mut whole, room);
            world.capacities.apply(serde_json::from_value(whole).unwrap());
        }
        verdicts(&world, &["c"]).unwrap()
    };
    assert_eq!(with(false, &[]), ["made for c", "made for c"]);
    let large = json!({"capacity": "2Gi"});
    for (more, want) in [
        (json!({"capacity": "2Gi"}), ["made for c", FULL]),
        (json!({"capacity": "1Gi"}), [FULL, FULL]),
        (json!({}), [FULL, FULL]),
        (
            json!({"capacity": "9Gi", "maximumVolumeSize": "1Gi"}),
            [FULL, FULL],
        ),
        (
            json!({"capacity": "9Gi", "storageClassName": "other"}),
            [FULL, FULL],
        ),
        (json!({"capacity": "9Gi", "nodeTopology": null}), [FULL, FULL]),
        (
            json!({"capacity": "9Gi", "nodeTopology": {"matchLabels": null}}),
            ["made for c", "made for c"],
        ),
        (
            json!({"capacity": "9Gi", "nodeTopology": {"matchLabels": {"host": "b"}}}),
            [FULL, "made for c"],
        ),
    ] {
        assert_eq!(with(true, std::slice::from_ref(&more)), want, "{more}");
    }
    let elsewhere = json!({"capacity": "9Gi", "nodeTopology": {"matchLabels": {"host": "b"}}});
    assert_eq!(with(true, &[large, elsewhere]), ["made for c", "made for c"]);
}
