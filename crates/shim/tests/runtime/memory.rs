//! What a pod costs outside its containers, beside containerd's shim; and that it sleeps.

use crate::node::{self, Node};
use crate::tasks::{shims, status_kb};
use orlop_cri::RuntimeService;
use orlop_cri::containerd::Shim;
use std::time::{Duration, Instant};

const PODS: usize = 5;
/// Shim and pause together, resident, kB.
const POD_MAX: u64 = 4096;

struct Cost {
    shim: u64,
    /// Its own pages alone.
    shim_private: u64,
    pause: u64,
    start: Duration,
}

async fn cost(shim: Shim) -> Cost {
    let node = Node::start_with(|config| config.shim = shim).await;
    node.import_busybox().await;
    let mut start = Duration::ZERO;
    for pod in 0..PODS {
        let began = Instant::now();
        let (_, id) = node.run(&format!("pod-{pod}"), true, "sleep 1000").await;
        start += began.elapsed();
        // A probe's work leaves its traces too.
        node.remote()
            .exec_sync(&id, vec!["true".to_owned()], Duration::from_secs(5))
            .await
            .unwrap();
    }
    let shims = shims(&node);
    assert_eq!(shims.len(), PODS);
    let children: Vec<i32> = shims.iter().flat_map(|pid| children(*pid)).collect();
    let pauses = children.iter().filter(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "pause")
    });
    let count = PODS as u64;
    let cost = Cost {
        shim: shims.iter().map(|pid| status_kb(*pid, "VmRSS:")).sum::<u64>() / count,
        shim_private: shims.iter().map(|pid| status_kb(*pid, "RssAnon:")).sum::<u64>() / count,
        pause: pauses.map(|pid| status_kb(*pid, "VmRSS:")).sum::<u64>() / count,
        start: start / PODS as u32,
    };
    node.finish().await;
    cost
}

fn children(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// A debug build is larger: its figures are printed, a release build's are judged.
#[tokio::test(flavor = "multi_thread")]
async fn pod_costs_four_megabytes_at_most_outside_its_containers() {
    if !node::is_possible() {
        return;
    }
    println!("per pod               shim RSS   (anonymous)    pause   pod start");
    for (name, shim) in [
        ("containerd's shim", Shim::Containerd),
        ("orlop's shim", node::shim()),
    ] {
        let is_ours = shim != Shim::Containerd;
        let cost = cost(shim).await;
        println!(
            "{name:20} {:>7} kB {:>10} kB {:>5} kB {:>8.0?}",
            cost.shim, cost.shim_private, cost.pause, cost.start
        );
        if is_ours && !cfg!(debug_assertions) {
            assert!(cost.shim + cost.pause <= POD_MAX);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_shim_sleeps() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    node.run("idle", true, "sleep 1000").await;
    let shim = shims(&node)[0];
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{shim}/status")).unwrap();
        let count = |key| {
            let line = status
                .lines()
                .find_map(|line: &str| line.strip_prefix(key))
                .unwrap();
            line.trim().parse::<u64>().unwrap()
        };
        count("voluntary_ctxt_switches:") + count("nonvoluntary_ctxt_switches:")
    };
    // What follows a start may take its moment.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = switches();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(switches(), before, "wake-ups of an idle shim");
    node.finish().await;
}
