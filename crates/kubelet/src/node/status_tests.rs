//! Statuses of a machine with 2 cores, 8 GiB of memory and a disk of 100 GiB.
use super::super::machine::Disk;
use super::super::post::{differs, given_by_others, is_overruled, patch};
use super::*;
use serde_json::{Value, json};

fn machine() -> Machine {
    Machine {
        cores: 2,
        boot_id: "boot".into(),
        ..Machine::default()
    }
}

fn measures() -> Measures {
    Measures {
        memory: 8 << 30,
        memory_available: 6 << 30,
        swap: 0,
        disk: Disk {
            bytes: 100 << 30,
            available: 50 << 30,
            inodes: 1000,
            inodes_free: 900,
        },
    }
}

/// The status after `change` was made to what is known.
fn status_with(
    configuration: &KubeletConfiguration,
    machine: &Machine,
    change: impl FnOnce(&mut Facts<'_>),
) -> NodeStatus {
    let addresses = ["10.0.0.7".parse().unwrap()];
    let mut facts = Facts {
        node_name: "n1",
        configuration,
        addresses: &addresses,
        machine,
        measures: measures(),
        runtime_version: "containerd://1.6.20",
        runtime_handlers: &[],
        runtime_features: None,
        images: &[],
        devices: BTreeMap::new(),
        manifest_error: None,
        pressures: &[],
        troubles: Vec::new(),
    };
    change(&mut facts);
    node_status(&facts, None, Timestamp::UNIX_EPOCH)
}

fn status(change: impl FnOnce(&mut Facts<'_>)) -> NodeStatus {
    status_with(&KubeletConfiguration::default(), &machine(), change)
}

#[test]
fn devices_of_plugins_are_capacity_and_the_healthy_ones_may_be_given() {
    let status = status(|facts| {
        let count = Count { all: 3, healthy: 2 };
        facts.devices = [("a.io/x".to_owned(), count)].into();
    });
    let of = |list: Option<BTreeMap<String, Quantity>>| list.unwrap()["a.io/x"].0.clone();
    assert_eq!(
        (of(status.capacity), of(status.allocatable)),
        ("3".into(), "2".into())
    );
}

fn conditions(status: &NodeStatus) -> Vec<(String, String)> {
    let conditions = status.conditions.iter().flatten();
    conditions
        .map(|c| (format!("{}={}", c.type_, c.status), c.reason.clone().unwrap()))
        .collect()
}

fn ready(status: &NodeStatus) -> &NodeCondition {
    status.conditions.as_ref().unwrap().last().unwrap()
}

fn bytes(list: &Option<BTreeMap<String, Quantity>>, name: &str) -> i64 {
    orlop_api::quantity::value(&list.as_ref().unwrap()[name])
}

#[test]
fn conditions_come_in_order_with_ready_last() {
    let expected = [
        ("MemoryPressure=False", "KubeletHasSufficientMemory"),
        ("DiskPressure=False", "KubeletHasNoDiskPressure"),
        ("PIDPressure=False", "KubeletHasSufficientPID"),
        ("Ready=True", "KubeletReady"),
    ];
    let status = status(|_| {});
    assert_eq!(
        conditions(&status),
        expected.map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
    assert!(is_ready(&status));
}

#[test]
fn g01_g02_g04_g05_pressures_are_told_as_conditions() {
    let pressed = |pressures: &[Pressure]| {
        let addresses = ["10.0.0.7".parse().unwrap()];
        let facts = Facts {
            node_name: "n1",
            configuration: &KubeletConfiguration::default(),
            addresses: &addresses,
            machine: &machine(),
            measures: measures(),
            runtime_version: "",
            runtime_handlers: &[],
            runtime_features: None,
            images: &[],
            devices: BTreeMap::new(),
            manifest_error: None,
            pressures,
            troubles: Vec::new(),
        };
        let all = conditions(&node_status(&facts, None, Timestamp::UNIX_EPOCH));
        let all = all.into_iter().map(|(condition, _)| condition);
        all.filter(|condition| condition.ends_with("Pressure=True"))
            .collect::<Vec<_>>()
    };
    assert!(pressed(&[]).is_empty());
    assert_eq!(
        pressed(&[Pressure::Memory, Pressure::Pids]),
        ["MemoryPressure=True", "PIDPressure=True"]
    );
    assert_eq!(pressed(&[Pressure::Disk]), ["DiskPressure=True"]);
}

#[test]
fn n03_n04_not_ready_says_why_and_joins_several_reasons() {
    let one = status(|facts| facts.troubles = vec!["container runtime is down".into()]);
    assert_eq!(ready(&one).message.as_deref(), Some("container runtime is down"));
    let two = status(|facts| facts.troubles = vec!["a".into(), "b".into()]);
    assert_eq!(ready(&two).message.as_deref(), Some("[a, b]"));
    assert_eq!(ready(&two).reason.as_deref(), Some("KubeletNotReady"));
}

#[test]
fn s10_allocatable_is_capacity_less_what_is_reserved_and_the_thresholds() {
    let configuration = KubeletConfiguration {
        system_reserved: BTreeMap::from([("cpu".into(), "200m".into()), ("memory".into(), "1Gi".into())]),
        kube_reserved: BTreeMap::from([("cpu".into(), "300m".into())]),
        pods_per_core: 10,
        ..KubeletConfiguration::default()
    };
    let mut machine = machine();
    machine.huge_pages.insert("2Mi".into(), 1 << 30);
    let status = status_with(&configuration, &machine, |_| {});
    assert_eq!(bytes(&status.capacity, "memory"), 8 << 30);
    assert_eq!(bytes(&status.capacity, "pods"), 20);
    assert_eq!(bytes(&status.capacity, "hugepages-2Mi"), 1 << 30);
    assert_eq!(status.allocatable.as_ref().unwrap()["cpu"].0, "1500m");
    // 8 Gi − 1 Gi reserved − 100 Mi threshold − 1 Gi of huge pages.
    assert_eq!(bytes(&status.allocatable, "memory"), (6 << 30) - (100 << 20));
    assert_eq!(bytes(&status.allocatable, "ephemeral-storage"), 90 << 30);
    assert_eq!(bytes(&status.allocatable, "hugepages-2Mi"), 1 << 30);
    let greedy = KubeletConfiguration {
        kube_reserved: BTreeMap::from([("cpu".into(), "9".into())]),
        ..KubeletConfiguration::default()
    };
    assert_eq!(
        bytes(&status_with(&greedy, &machine, |_| {}).allocatable, "cpu"),
        0
    );
}

#[test]
fn n01_heartbeats_alone_are_no_difference() {
    let early = status(|_| {});
    let configuration = KubeletConfiguration::default();
    let machine = machine();
    let addresses = ["10.0.0.7".parse().unwrap()];
    let facts = |troubles| Facts {
        node_name: "n1",
        configuration: &configuration,
        addresses: &addresses,
        machine: &machine,
        measures: measures(),
        runtime_version: "containerd://1.6.20",
        runtime_handlers: &[],
        runtime_features: None,
        images: &[],
        devices: BTreeMap::new(),
        manifest_error: None,
        pressures: &[],
        troubles,
    };
    let minute = Timestamp::from_second(60).unwrap();
    let late = node_status(&facts(vec![]), Some(&early), minute);
    assert!(!differs(&early, &late));
    assert_eq!(
        ready(&late).last_transition_time,
        ready(&early).last_transition_time
    );
    let broken = node_status(&facts(vec!["x".into()]), Some(&early), minute);
    assert!(differs(&early, &broken));
    assert_eq!(ready(&broken).last_transition_time, Some(Time(minute)));
}

#[test]
fn first_status_tells_every_condition_and_later_only_changes() {
    let good = status(|_| {});
    let all = [
        "NodeHasSufficientMemory",
        "NodeHasNoDiskPressure",
        "NodeHasSufficientPID",
        "NodeReady",
    ];
    assert_eq!(transitions(None, &good), all);
    assert!(transitions(Some(&good), &good).is_empty());
    let bad = status(|facts| {
        facts.troubles = vec!["x".into()];
        facts.pressures = &[Pressure::Memory];
    });
    assert_eq!(
        transitions(Some(&good), &bad),
        ["NodeHasInsufficientMemory", "NodeNotReady"]
    );
}

#[test]
fn images_are_the_largest_with_digests_before_tags() {
    let image = |size: u64, names: usize| v1::Image {
        id: size.to_string(),
        size,
        repo_tags: vec!["t".into()],
        repo_digests: (0..names).map(|n| format!("d{n}")).collect(),
        ..v1::Image::default()
    };
    let all = images(vec![image(1, 1), image(3, 9), image(2, 0)], 2);
    let sizes: Vec<_> = all.iter().map(|image| image.size_bytes.unwrap()).collect();
    assert_eq!(sizes, [3, 2]);
    assert_eq!(all[0].names.as_ref().unwrap(), &["d0", "d1", "d2", "d3", "d4"]);
    assert_eq!(images(vec![image(1, 1), image(2, 1)], -1).len(), 2);
}

#[test]
fn patch_replaces_addresses_which_would_merge_by_type() {
    let patch = patch(&status(|_| {}), &BTreeMap::new());
    let addresses = patch["status"]["addresses"].as_array().unwrap();
    assert_eq!(addresses.len(), 3);
    assert_eq!(addresses[2], json!({"$patch": "replace"}));
    assert_eq!(
        patch["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"],
        10250
    );
}

#[test]
fn node_of_a_cloud_has_the_addresses_that_the_cloud_tells() {
    let configuration = KubeletConfiguration {
        register_with_taints: vec![cloud::taint()],
        ..KubeletConfiguration::default()
    };
    let status = status_with(&configuration, &machine(), |facts| facts.addresses = &[]);
    assert_eq!(status.addresses, None);
    let patch = patch(&status, &BTreeMap::new());
    assert_eq!(
        patch["status"].get("addresses"),
        None,
        "null would remove the cloud's"
    );
}

#[test]
fn faulty_manifest_is_a_condition_that_ends_when_it_is_mended() {
    let of = |status: &NodeStatus| {
        let mut conditions = status.conditions.iter().flatten();
        let found = conditions.find(|condition| condition.type_ == "StaticPodManifestError");
        found.map(|condition| (condition.status.clone(), condition.message.clone().unwrap()))
    };
    assert_eq!(of(&status(|_| {})), None, "no node speaks of it without need");
    let bad = status(|facts| facts.manifest_error = Some("manifest /m/a.yaml: line 3".into()));
    assert_eq!(
        of(&bad).unwrap(),
        ("True".to_owned(), "manifest /m/a.yaml: line 3".to_owned())
    );
    assert!(is_ready(&bad));
    let configuration = KubeletConfiguration::default();
    let (machine, addresses) = (machine(), []);
    let facts = Facts {
        node_name: "n1",
        configuration: &configuration,
        addresses: &addresses,
        machine: &machine,
        measures: measures(),
        runtime_version: "",
        runtime_handlers: &[],
        runtime_features: None,
        images: &[],
        devices: BTreeMap::new(),
        manifest_error: None,
        pressures: &[],
        troubles: Vec::new(),
    };
    let mended = node_status(&facts, Some(&bad), Timestamp::UNIX_EPOCH);
    assert_eq!(of(&mended).unwrap().0, "False");
}

#[test]
fn resources_that_others_gave_the_node_can_be_used_until_they_are_taken_away() {
    let own = status(|_| {});
    let name = || "example.com/dongle".to_owned();
    let mut shown = own.clone();
    assert!(given_by_others(&shown, &own).is_empty());
    shown
        .capacity
        .as_mut()
        .unwrap()
        .insert(name(), Quantity("4".into()));
    assert!(is_overruled(&own, &shown));
    let given = given_by_others(&shown, &own);
    assert_eq!(given, [(name(), Some(Quantity("4".into())))].into());
    let posted = patch(&own, &given);
    assert_eq!(posted["status"]["allocatable"]["example.com/dongle"], "4");
    assert_eq!(posted["status"]["capacity"]["example.com/dongle"], Value::Null);
    shown
        .allocatable
        .as_mut()
        .unwrap()
        .insert(name(), Quantity("4000m".into()));
    assert!(!is_overruled(&own, &shown));
    shown.capacity = own.capacity.clone();
    assert_eq!(given_by_others(&shown, &own), [(name(), None)].into());
}

#[test]
fn whoever_says_other_things_of_the_machine_is_overruled_in_turn() {
    let own = status(|_| {});
    let mut shown = own.clone();
    shown.images = Some(Vec::new());
    shown.node_info.as_mut().unwrap().swap = Some(NodeSwapStatus { capacity: Some(1) });
    assert!(!is_overruled(&own, &shown));
    let changes: [fn(&mut NodeStatus); 4] = [
        |status| status.node_info = None,
        |status| status.daemon_endpoints = None,
        |status| status.addresses = None,
        |status| drop(status.allocatable.as_mut().unwrap().remove("cpu")),
    ];
    for change in changes {
        let mut shown = own.clone();
        change(&mut shown);
        assert!(is_overruled(&own, &shown), "{shown:?}");
    }
}
