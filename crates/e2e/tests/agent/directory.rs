//! What may happen to the directory of manifests.
use crate::pods::{self, container, pod, wait_running, wait_stopped};
use crate::{first_seed, is_torture, random};
use orlop_e2e::{Node, NodeOptions, eventually};
use rand::Rng;
use rand::rngs::StdRng;
use std::time::{Duration, Instant};

/// How often the directory is read anew; the shortest there is, so that tests don't wait for it.
const RESCAN: &str = "fileCheckFrequency: 1s\n";
const FILES: usize = 1000;
/// How long garbage is written.
const FUZZED: Duration = Duration::from_secs(60);
/// What `make test` takes of it.
const SAMPLED: Duration = Duration::from_secs(6);

fn lone() -> Node {
    let mut node = Node::lone(NodeOptions {
        kubelet_configuration: RESCAN.to_owned(),
        ..NodeOptions::default()
    });
    node.launch();
    node
}

fn write(node: &Node, name: &str) {
    pods::write(node, &pod(name, container("c")));
}

/// A02 for a directory that was there before.
#[test]
fn directory_that_is_deleted_replaced_by_a_link_and_filled_is_followed() {
    let node = lone();
    let directory = node.manifest("");
    write(&node, "a");
    wait_running(&node, "a", "c");

    std::fs::remove_dir_all(&directory).unwrap();
    wait_stopped(&node, "a");
    let elsewhere = node.root().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, node.root().join("etc/kubernetes/manifests")).unwrap();
    write(&node, "b");
    let b = wait_running(&node, "b", "c");
    // The link is made to lead somewhere else, as a whole.
    let third = node.root().join("third");
    std::fs::create_dir(&third).unwrap();
    for name in ["b", "c"] {
        let text = pod(name, container("c")).to_string();
        std::fs::write(third.join(format!("{name}.yaml")), text).unwrap();
    }
    let link = node.root().join("etc/kubernetes/link");
    std::os::unix::fs::symlink(&third, &link).unwrap();
    std::fs::rename(&link, node.root().join("etc/kubernetes/manifests")).unwrap();
    wait_running(&node, "c", "c");
    assert_eq!(
        wait_running(&node, "b", "c"),
        b,
        "the same manifest at the same path"
    );

    // A thousand files, two of which are manifests that run.
    let began = Instant::now();
    for number in 0..FILES {
        let text = match number {
            500 => pod("n500", container("c")).to_string(),
            _ => format!("file: {number}\n"),
        };
        std::fs::write(third.join(format!("f{number}.yaml")), text).unwrap();
    }
    wait_running(&node, "n500", "c");
    write(&node, "z");
    wait_running(&node, "z", "c");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert_eq!(wait_running(&node, "b", "c"), b);
    let said = node.log().matches("f999.yaml").count();
    assert!((1..=3).contains(&said), "a faulty file is told of {said} times");
}

/// A manifest with some of its bytes changed, cut, doubled or exchanged.
fn garbage(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = pod("garbage", container("c")).to_string().into_bytes();
    for _ in 0..random.random_range(1..6) {
        if bytes.is_empty() {
            break;
        }
        let (from, to) = (
            random.random_range(0..bytes.len()),
            random.random_range(0..bytes.len()),
        );
        let (from, to) = (from.min(to), from.max(to));
        match random.random_range(0..6) {
            0 => bytes[from] = random.random(),
            1 => bytes.truncate(from),
            2 => drop(bytes.drain(from..to)),
            3 => bytes.extend_from_within(from..to),
            4 => bytes.swap(from, to),
            _ => {
                let odd: [&[u8]; 8] = [
                    b"\0",
                    b"null",
                    b"-1",
                    b"1e999",
                    b"{{{{{{",
                    b"&a [*a,*a]",
                    b"!!binary ",
                    b"\xff\xfe",
                ];
                let odd = odd[random.random_range(0..odd.len())];
                bytes.splice(from..from, odd.iter().copied());
            }
        }
    }
    bytes
}

/// The pod is the same throughout, the agent lives, and what is valid in the end runs.
#[test]
fn garbage_in_the_directory_stops_nothing() {
    let node = lone();
    write(&node, "steady");
    let steady = wait_running(&node, "steady", "c");
    let seed = first_seed();
    eprintln!("seed {seed}");
    let mut random = random(seed);
    let until = Instant::now() + if is_torture() { FUZZED } else { SAMPLED };
    let mut written = 0;
    while Instant::now() < until {
        let file = node.manifest(&format!("g{}.yaml", random.random_range(0..8)));
        match random.random_range(0..8) {
            0 => drop(std::fs::remove_file(&file)),
            1 => drop(std::fs::rename(&file, node.manifest("renamed.yaml"))),
            _ => std::fs::write(&file, garbage(&mut random)).unwrap(),
        }
        written += 1;
        std::thread::sleep(Duration::from_millis(random.random_range(0..20)));
    }
    eprintln!("{written} changes");
    assert!(node.is_alive(), "the agent ended:\n{}", node.log());
    assert_eq!(wait_running(&node, "steady", "c"), steady);
    for number in 0..8 {
        let _ = std::fs::remove_file(node.manifest(&format!("g{number}.yaml")));
    }
    let _ = std::fs::remove_file(node.manifest("renamed.yaml"));
    write(&node, "valid");
    wait_running(&node, "valid", "c");
    eventually("only what is valid runs", || {
        let mut pods: Vec<String> = node.running().into_iter().map(|one| one.pod).collect();
        pods.sort();
        let expected = ["steady", "valid"].map(|name| format!("{name}-{}", node.name));
        (pods == expected)
            .then_some(())
            .ok_or_else(|| format!("{pods:?}"))
    });
    assert!(!node.log().contains("panicked"), "{}", node.log());
}
