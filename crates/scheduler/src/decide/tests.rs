use super::*;
use crate::known::traits::Spreading;
use crate::known::view::PodView;
use crate::profile::{Room, Weights};
use crate::testing::{cluster, hold, hold_pod, pending, pending_pod, with_cpu, world};
use orlop_client::informer::Projection;
use serde_json::{Value, json};

mod nodes;

fn decided(pod: &Pending, cluster: &mut Cluster) -> String {
    decided_by(pod, cluster, &Profile::default())
}

fn decided_by(pod: &Pending, cluster: &mut Cluster, profile: &Profile) -> String {
    match decide(&ObjectKey::new("ns", "p"), pod, cluster, &world(), profile) {
        Decision::Bind(node) => node.to_string(),
        Decision::Unschedulable(refusals) => refusals.message(),
    }
}

#[test]
fn what_others_look_after_is_not_looked_at() {
    let mut cluster = cluster(json!({"a": {}}));
    let pod = pending(json!({"containers": [{"name": "c", "resources": {
        "limits": {"example.com/gpu": "1"}, "requests": {"example.com/gpu": "1", "cpu": "1"}}}]}));
    let world = world();
    let key = ObjectKey::new("ns", "p");
    let rules = Rules::default();
    assert!(!fits(&key, &pod, &mut cluster, &world, &rules, "a"));
    let deaf = Rules {
        ignored_groups: vec!["example.com/".to_owned()],
        ..Rules::default()
    };
    assert!(fits(&key, &pod, &mut cluster, &world, &deaf, "a"));
    let rules = Rules {
        ignored: vec!["example.com/gpu".to_owned()],
        ..Rules::default()
    };
    assert!(fits(&key, &pod, &mut cluster, &world, &rules, "a"));
    hold(&mut cluster, "h", "a", 0, 4);
    assert!(!fits(&key, &pod, &mut cluster, &world, &rules, "a"), "cpu is");
}

#[test]
fn a_profile_may_demand_something_of_nodes_for_all_pods() {
    let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
    let mut cluster = cluster(json!({"a": zone("x"), "b": zone("y"), "c": zone("z"),
        "d": {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}}));
    let in_zones =
        |zones: Value| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": zones}]});
    let affinity = json!({
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [in_zones(json!(["y", "z"]))]},
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": in_zones(json!(["z"]))}]});
    let demanding = Profile {
        rules: Rules {
            affinity: serde_json::from_value(affinity).unwrap(),
            ..Rules::default()
        },
        ..Profile::default()
    };
    assert_eq!(decided_by(&pending(with_cpu("1")), &mut cluster, &demanding), "c");
    let mut in_x = with_cpu("1");
    in_x["nodeSelector"] = json!({"zone": "x"});
    assert_eq!(
        decided_by(&pending(in_x), &mut cluster, &demanding),
        "0/4 nodes are available: 1 node(s) didn't match scheduler-enforced node affinity, 1 node(s) had untolerated \
         taint(s), 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/4 nodes are available: 4 \
         Preemption is not helpful for scheduling."
    );
}

#[test]
fn a_profile_may_say_how_copies_spread_that_say_nothing() {
    let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
    let mut cluster = cluster(json!({"a": zone("x"), "b": zone("x"), "c": zone("y")}));
    let copy = |name: &str| {
        let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}]);
        let pod = json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "ownerReferences": owner},
            "spec": with_cpu("1")});
        match PodView::project(serde_json::from_value(pod).unwrap()) {
            PodView::Pending(pending) => pending,
            other => panic!("not pending: {other:?}"),
        }
    };
    let profile = |spreading: Value| Profile {
        rules: Rules {
            spreading: Some(
                serde_json::from_value::<Vec<_>>(spreading)
                    .unwrap()
                    .iter()
                    .map(Spreading::of_copies)
                    .collect(),
            ),
            ..Rules::default()
        },
        ..Profile::default()
    };
    let held = copy("held").holder("held".into());
    cluster.hold(&ObjectKey::new("ns", "held"), &"c".into(), held);
    hold(&mut cluster, "full", "a", 0, 3);
    hold(&mut cluster, "half", "b", 0, 2);
    let by_zone = |when: &str| json!([{"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": when}]);
    for when in ["DoNotSchedule", "ScheduleAnyway"] {
        let chosen = decided_by(&copy("p"), &mut cluster, &profile(by_zone(when)));
        assert_eq!(chosen, "b", "{when}: c has a copy, and a more to do");
    }
    assert_eq!(
        decided_by(&copy("p"), &mut cluster, &profile(json!([]))),
        "c",
        "nothing is spread, and c has least to do"
    );
    let required = profile(by_zone("DoNotSchedule"));
    assert!(required.rules.minds_copies(&copy("p")));
    assert!(
        !required.rules.minds_copies(&pending(with_cpu("1"))),
        "it is nobody's copy"
    );
    assert_eq!(decided_by(&pending(with_cpu("1")), &mut cluster, &required), "c");
}

#[test]
fn a_profile_may_pack_what_is_dear() {
    let mut cluster = cluster(json!({"a": {}, "b": {}}));
    hold(&mut cluster, "h", "a", 0, 1);
    let packs = |resources: &[(&str, f64)]| Profile {
        room: Room::Shaped(vec![(0.0, 0.0), (100.0, 100.0)]),
        resources: resources
            .iter()
            .map(|(name, counts)| ((*name).to_owned(), *counts))
            .collect(),
        weights: Weights {
            room: 1.0,
            ..Weights::none()
        },
        ..Profile::default()
    };
    let pod = pending(with_cpu("1"));
    assert_eq!(decided_by(&pod, &mut cluster, &packs(&[("cpu", 1.0)])), "a");
    hold(&mut cluster, "m", "b", 0, 2);
    assert_eq!(decided_by(&pod, &mut cluster, &packs(&[("cpu", 1.0)])), "b");
    assert_eq!(
        decided_by(&pod, &mut cluster, &packs(&[("example.com/gpu", 1.0)])),
        "a",
        "neither has one"
    );
}

#[test]
fn what_a_shape_gives_nothing_for_does_not_count_and_disk_always_does() {
    let takes = |cpu: &str, memory: &str, disk: &str| {
        json!({"containers": [{"name": "c", "resources": {"requests": {
            "cpu": cpu, "memory": memory, "ephemeral-storage": disk}}}]})
    };
    let status = json!({"status": {"allocatable": {
        "cpu": "10", "memory": "10Gi", "ephemeral-storage": "10Gi", "pods": "10"}}});
    let mut cluster = cluster(json!({"a": status, "b": status}));
    hold_pod(
        &mut cluster,
        "ns",
        "on-a",
        "a",
        json!({}),
        takes("0", "7.5Gi", "1Gi"),
    );
    hold_pod(&mut cluster, "ns", "on-b", "b", json!({}), takes("6", "7Gi", "0"));
    let by = |room: Room, resources: &[&str]| Profile {
        room,
        resources: resources.iter().map(|name| ((*name).to_owned(), 1.0)).collect(),
        weights: Weights {
            room: 1.0,
            ..Weights::none()
        },
        ..Profile::default()
    };
    let shape = Room::Shaped(vec![(50.0, 0.0), (100.0, 100.0)]);
    let pod = pending(takes("1", "0", "0"));
    assert_eq!(
        decided_by(&pod, &mut cluster, &by(shape, &["cpu", "memory"])),
        "a"
    );
    let pod = pending(with_cpu("1"));
    assert_eq!(
        decided_by(&pod, &mut cluster, &by(Room::Free, &["ephemeral-storage"])),
        "b"
    );
}

#[test]
fn s01_s03_a_pod_goes_to_the_emptiest_node_it_tolerates() {
    let mut cluster = cluster(json!({
        "a": {}, "b": {},
        "tainted": {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}},
    }));
    hold(&mut cluster, "h", "a", 0, 3);
    assert_eq!(decided(&pending(with_cpu("1")), &mut cluster), "b");
    assert_eq!(
        decided(&pending(with_cpu("5")), &mut cluster),
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. \
         preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
}

#[test]
fn a_profile_may_pack_pods_and_let_nothing_else_count() {
    let mut cluster = cluster(json!({"a": {}, "b": {}}));
    hold(&mut cluster, "h", "b", 0, 1);
    // A pod that asks for cpu alone makes a node less even.
    let packs = Profile {
        room: Room::Used,
        weights: Weights {
            balance: 0.0,
            ..Weights::default()
        },
        ..Profile::default()
    };
    let pod = pending(with_cpu("1"));
    assert_eq!(decided_by(&pod, &mut cluster, &Profile::default()), "a");
    assert_eq!(decided_by(&pod, &mut cluster, &packs), "b");
    let indifferent = Profile {
        weights: Weights::none(),
        ..packs.clone()
    };
    assert_eq!(
        decided_by(&pod, &mut cluster, &indifferent),
        "a",
        "the first by name"
    );
}

#[test]
fn a_daemon_pod_only_ever_goes_to_its_node() {
    let mut cluster = cluster(json!({"a": {}, "b": {}, "c": {}}));
    let pinned = |node: &str| {
        let mut spec = with_cpu("1");
        spec["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": [node]}]}]}}});
        pending(spec)
    };
    assert_eq!(decided(&pinned("b"), &mut cluster), "b");
    assert_eq!(
        decided(&pinned("gone"), &mut cluster),
        "0/3 nodes are available: 3 node(s) didn't satisfy plugin(s) [NodeAffinity]. \
         preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
}

#[test]
fn a_pod_that_is_for_two_nodes_at_once_is_for_none() {
    let mut cluster = cluster(json!({"a": {}, "b": {}}));
    let named = |node: &str| json!({"key": "metadata.name", "operator": "In", "values": [node]});
    let spec = json!({"containers": [], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchFields": [named("a"), named("b")]}]}}}});
    assert_eq!(
        decided(&pending(spec), &mut cluster),
        "0/2 nodes are available: pod affinity terms conflict. preemption: 0/2 nodes are available: 2 Preemption is not \
         helpful for scheduling."
    );
}

#[test]
fn soft_taints_and_preferred_affinity_only_lower_the_score() {
    let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
    assert_eq!(
        decided(&pending(with_cpu("1")), &mut cluster(json!({"a": soft, "b": {}}))),
        "b"
    );
    assert_eq!(
        decided(&pending(with_cpu("1")), &mut cluster(json!({"a": soft}))),
        "a"
    );
    let mut spec = with_cpu("1");
    spec["affinity"] = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 5, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]}});
    let nodes = json!({"a": {}, "b": {"metadata": {"labels": {"disk": "fast"}}}});
    assert_eq!(decided(&pending(spec), &mut cluster(nodes)), "b");
}

#[test]
fn pods_that_ask_for_nothing_are_spread_and_copies_of_one_keep_apart() {
    let zone = |zone: &str| json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
    let mut cluster = cluster(json!({"a1": zone("a"), "a2": zone("a"), "b": zone("b")}));
    let mut place = |name: &str, owner: Value| {
        let owners: Vec<Value> = owner
            .as_str()
            .map(|uid| {
                json!({"kind": "ReplicaSet", "controller": true,
            "apiVersion": "apps/v1", "name": uid, "uid": uid})
            })
            .into_iter()
            .collect();
        let pod = json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "ownerReferences": owners},
            "spec": {"containers": [{"name": "c"}]}});
        let PodView::Pending(pod) = PodView::project(serde_json::from_value(pod).unwrap()) else {
            panic!("it waits");
        };
        let node = decided(&pod, &mut cluster);
        let holder = pod.holder(name.into());
        cluster.hold(&ObjectKey::new("ns", name), &node.as_str().into(), holder);
        node
    };
    let bare: Vec<String> = (0..4)
        .map(|number| place(&format!("bare-{number}"), json!(null)))
        .collect();
    assert_eq!(bare, ["a1", "a2", "b", "a1"]);
    let of = |name: &str, set: &str| (name.to_owned(), json!(set));
    let placed: Vec<String> = [of("x1", "x"), of("x2", "x"), of("x3", "x"), of("y1", "y")]
        .into_iter()
        .map(|(name, owner)| place(&name, owner))
        .collect();
    assert_eq!(
        placed,
        ["a2", "b", "a1", "a2"],
        "by zone first, and families by themselves"
    );
}

#[test]
fn the_fewer_soft_taints_the_better() {
    let taint = |key: &str| json!({"key": key, "effect": "PreferNoSchedule"});
    let mut cluster = cluster(json!({"a": {"spec": {"taints": [taint("k"), taint("l")]}},
        "b": {"spec": {"taints": [taint("k")]}}}));
    assert_eq!(decided(&pending(with_cpu("1")), &mut cluster), "b");
}

#[test]
fn rules_about_other_pods_are_the_last_to_be_asked_and_their_reasons_are_counted() {
    let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
    let full = json!({"metadata": {"labels": {"zone": "c"}}, "spec": {"unschedulable": true}});
    let mut cluster = cluster(json!({"a": zone("a"), "b": zone("b"), "c": full, "d": {}}));
    let mut spec = with_cpu("1");
    spec["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]}});
    spec["topologySpreadConstraints"] = json!([{"topologyKey": "zone", "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]);
    hold_pod(
        &mut cluster,
        "default",
        "1",
        "a",
        json!({"app": "web"}),
        with_cpu("1"),
    );
    let pod = pending_pod("default", "p", json!({"app": "web"}), spec);
    let decision = decide(
        &ObjectKey::new("default", "p"),
        &pod,
        &mut cluster,
        &world(),
        &Profile::default(),
    );
    assert!(
        matches!(&decision, Decision::Bind(node) if &**node == "b"),
        "{decision:?}"
    );
    hold_pod(
        &mut cluster,
        "default",
        "2",
        "b",
        json!({"app": "web"}),
        with_cpu("1"),
    );
    let Decision::Unschedulable(refusals) = decide(
        &ObjectKey::new("default", "p"),
        &pod,
        &mut cluster,
        &world(),
        &Profile::default(),
    ) else {
        panic!("there is no place left");
    };
    assert_eq!(
        refusals.message(),
        "0/4 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label), \
         1 node(s) were unschedulable, 2 node(s) didn't match pod topology spread constraints. \
         preemption: 0/4 nodes are available: 2 No preemption victims found for incoming pod, \
         2 Preemption is not helpful for scheduling."
    );
}

#[test]
fn a_pod_goes_where_room_was_made_for_it_and_lesser_ones_do_not() {
    let mut cluster = cluster(json!({"a": {}, "b": {}}));
    hold(&mut cluster, "h", "b", 0, 1);
    let mut spec = with_cpu("3");
    spec["priority"] = json!(10);
    let mut important = pending(spec);
    important.nominated = Some("b".into());
    let nominee = important.nominee();
    cluster.nominate(&ObjectKey::new("ns", "important"), Some(("b".into(), nominee)));
    let mut lesser = with_cpu("3");
    lesser["nodeSelector"] = json!({});
    hold(&mut cluster, "i", "a", 0, 3);
    assert_eq!(
        decided(&pending(lesser), &mut cluster),
        "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: \
         2 No preemption victims found for incoming pod."
    );
    let decision = decide(
        &ObjectKey::new("ns", "important"),
        &important,
        &mut cluster,
        &world(),
        &Profile::default(),
    );
    assert!(
        matches!(&decision, Decision::Bind(node) if &**node == "b"),
        "{decision:?}"
    );
}

#[test]
fn preferred_company_and_spreading_that_only_asks_choose_among_nodes() {
    let host = |host: &str| json!({"metadata": {"labels": {"host": host}}});
    let mut cluster = cluster(json!({"a": host("a"), "b": host("b"), "c": host("c")}));
    hold_pod(
        &mut cluster,
        "default",
        "web",
        "b",
        json!({"app": "web"}),
        with_cpu("1"),
    );
    let near = json!([{"weight": 50, "podAffinityTerm":
        {"topologyKey": "host", "labelSelector": {"matchLabels": {"app": "web"}}}}]);
    let mut spec = with_cpu("1");
    spec["affinity"] = json!({"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": near}});
    let key = ObjectKey::new("default", "p");
    let mut chosen = |spec: Value| {
        let pod = pending_pod("default", "p", json!({"app": "web"}), spec);
        match decide(&key, &pod, &mut cluster, &world(), &Profile::default()) {
            Decision::Bind(node) => node.to_string(),
            Decision::Unschedulable(refusals) => refusals.message(),
        }
    };
    assert_eq!(chosen(spec), "b");
    let mut spec = with_cpu("1");
    spec["affinity"] = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [{"key": "host", "operator": "NotIn", "values": ["a"]}]}}]}});
    spec["topologySpreadConstraints"] = json!([{"topologyKey": "host", "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": "web"}}}]);
    assert_eq!(chosen(spec), "c");
}
