//! `kill -9` of the agent at random points of pods' starts, updates and stops: what runs in the end is what the manifests
//! say, nothing is left over, and nothing restarts that ran already.
use crate::pods::{FOREVER, container, pod, running, wait_running, write};
use crate::{any_moment, first_seed, is_torture, random};
use orlop_e2e::{Node, NodeOptions, Running, eventually};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

const ROUNDS: u64 = 100;
/// What `make test` takes of them.
const SAMPLED_ROUNDS: u64 = 6;
/// The agent is killed so long after a manifest was changed, milliseconds: a start takes some hundreds.
const MOMENTS: Range<u64> = 0..1500;
const PODS_MAX: usize = 5;

/// What is in the directory: the version of each pod.
type Manifests = BTreeMap<String, u64>;

/// What is done to it.
#[derive(Debug)]
enum Change {
    Write(String),
    Remove(String),
    Nothing,
}

impl Change {
    fn draw(random: &mut StdRng, manifests: &Manifests) -> Self {
        let known: Vec<&String> = manifests.keys().collect();
        match random.random_range(0..10) {
            0..4 if known.len() < PODS_MAX => Self::Write(format!("p{}", random.random_range(0..1000))),
            0..7 if !known.is_empty() => Self::Write(known[random.random_range(0..known.len())].clone()),
            7..9 if !known.is_empty() => Self::Remove(known[random.random_range(0..known.len())].clone()),
            _ => Self::Nothing,
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Write(name) | Self::Remove(name) => Some(name),
            Self::Nothing => None,
        }
    }

    fn carry_out(&self, node: &Node, manifests: &mut Manifests, version: u64) {
        match self {
            Self::Write(name) => {
                write(node, &manifest(name, version));
                manifests.insert(name.clone(), version);
            }
            Self::Remove(name) => {
                std::fs::remove_file(node.manifest(&format!("{name}.yaml"))).unwrap();
                manifests.remove(name);
            }
            Self::Nothing => {}
        }
    }
}

/// The version is the container's name. Pods differ: some take their time to stop, some have init containers, a
/// sidecar, volumes.
fn manifest(name: &str, version: u64) -> Value {
    let script = match version % 3 {
        0 => FOREVER.to_owned(),
        _ => "trap 'sleep 0.5; exit' TERM; while :; do sleep 0.1; done".to_owned(),
    };
    let mut main = running(&format!("v{version}"), &script);
    let mut inits = Vec::new();
    if version.is_multiple_of(2) {
        inits.push(running("init", "sleep 0.3"));
        main["volumeMounts"] = json!([{"name": "scratch", "mountPath": "/scratch"}]);
    }
    if version % 4 == 1 {
        let mut sidecar = container("sidecar");
        sidecar["restartPolicy"] = json!("Always");
        inits.push(sidecar);
    }
    let mut pod = pod(name, main);
    pod["spec"]["initContainers"] = json!(inits);
    pod["spec"]["terminationGracePeriodSeconds"] = json!(2);
    pod["spec"]["volumes"] = json!([{"name": "scratch", "emptyDir": {"medium": "Memory"}}]);
    pod
}

/// Containers of pods' own, apart from init containers and sidecars.
fn mains(node: &Node) -> Vec<Running> {
    let mut running = node.running();
    running.retain(|one| one.container != "init" && one.container != "sidecar");
    running
}

/// Waits until what runs is what the manifests say, once; and until nothing else is left.
fn wait_settled(node: &Node, manifests: &Manifests) -> Vec<Running> {
    let expected: Vec<(String, String)> = manifests
        .iter()
        .map(|(name, version)| (format!("{name}-{}", node.name), format!("v{version}")))
        .collect();
    let settled = eventually("what runs is what the manifests say", || {
        let running = mains(node);
        let mut found: Vec<_> = running
            .iter()
            .map(|one| (one.pod.clone(), one.container.clone()))
            .collect();
        found.sort();
        let is_settled = found == expected;
        is_settled
            .then_some(running)
            .ok_or_else(|| format!("{found:?}\nin place of {expected:?}"))
    });
    let pods: BTreeMap<String, usize> = expected.iter().map(|(pod, _)| (pod.clone(), 1)).collect();
    eventually("one sandbox a pod", || {
        let sandboxes = node.sandboxes();
        (sandboxes == pods)
            .then_some(())
            .ok_or_else(|| format!("{sandboxes:?}\nin place of {pods:?}"))
    });
    wait_directories(node, "var/lib/kubelet/pods", manifests);
    settled
}

/// Waits until there is one directory a pod.
fn wait_directories(node: &Node, parent: &str, manifests: &Manifests) {
    eventually("one directory a pod", || {
        let entries = std::fs::read_dir(node.root().join(parent)).into_iter().flatten();
        let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        (names.len() == manifests.len())
            .then_some(())
            .ok_or_else(|| format!("{parent}: {names:?}, {} pods", manifests.len()))
    });
}

#[test]
fn agent_killed_at_any_moment_ends_where_the_manifests_say() {
    let mut node = Node::lone(NodeOptions::default());
    node.launch();
    let mut manifests = Manifests::from([("steady".to_owned(), 1)]);
    write(&node, &manifest("steady", 1));
    wait_running(&node, "steady", "v1");
    let first = first_seed();
    let rounds = if is_torture() { ROUNDS } else { SAMPLED_ROUNDS };
    let began = Instant::now();
    for seed in first..first + rounds {
        let mut random = random(seed);
        let before = wait_settled(&node, &manifests);
        let node_name = node.name.clone();
        let steady = |ones: &[Running], but: &[Option<&str>]| -> Vec<Running> {
            let is_one_of = |pod: &str| {
                but.iter()
                    .flatten()
                    .any(|name| pod == format!("{name}-{node_name}"))
            };
            ones.iter().filter(|one| !is_one_of(&one.pod)).cloned().collect()
        };
        let mut others = manifests.clone();
        others.remove("steady");
        let change = Change::draw(&mut random, &others);
        change.carry_out(&node, &mut manifests, random.random_range(2..1_000_000));
        let moment = any_moment(&mut random, MOMENTS);
        std::thread::sleep(moment);
        node.kill();
        let killed = mains(&node);
        // Now and then something changes while it is away.
        let mut others = manifests.clone();
        others.remove("steady");
        let away = match random.random_bool(0.3) {
            true => Change::draw(&mut random, &others),
            false => Change::Nothing,
        };
        away.carry_out(&node, &mut manifests, random.random_range(2..1_000_000));
        node.launch();
        let what = format!("seed {seed}: {change:?}, killed after {moment:?}, then {away:?}");
        eprintln!("{what}");
        let after = wait_settled(&node, &manifests);
        let touched = [change.name(), away.name()];
        assert_eq!(
            steady(&before, &touched),
            steady(&after, &touched),
            "{what}: others are left alone"
        );
        // What ran in the version that is wanted runs on.
        for one in killed {
            let wanted = manifests.iter().any(|(name, version)| {
                one.pod == format!("{name}-{}", node.name) && one.container == format!("v{version}")
            });
            let rewritten = away
                .name()
                .is_some_and(|name| one.pod == format!("{name}-{}", node.name));
            assert!(
                !wanted || rewritten || after.contains(&one),
                "{what}: {one:?} ran and was restarted:\n{after:#?}"
            );
        }
    }
    // Logs of pods that are gone go with the next collection.
    wait_directories(&node, "var/log/pods", &manifests);
    let log = node.log();
    assert!(!log.contains("panicked"), "{log}");
    eprintln!("{rounds} rounds in {:?}", began.elapsed());
}
