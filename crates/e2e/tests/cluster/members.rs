//! Three masters and their workers.
use crate::faults::{self, Machines};
use crate::{row, schedule};
use orlop_e2e::{CONTROL_PLANE, Cluster, eventually};
use serde_json::json;

const SIX: [&str; 6] = [
    "master-01",
    "master-02",
    "master-03",
    "worker-01",
    "worker-02",
    "worker-03",
];

/// Issue 7: the picture, its listings, and what may break in it.
#[test]
fn three_masters_and_their_workers_are_one_cluster_that_outlives_what_breaks() {
    // `make torture` sets `ORLOP_TORTURE=1` for all six and all faults; `make test` does with one worker and few.
    // `ORLOP_FAULTS=Part,KillAll` chooses them.
    let is_torture = std::env::var_os("ORLOP_TORTURE").is_some();
    let machines = if is_torture { &SIX[..] } else { &SIX[..4] };
    let mut cluster = Cluster::of(machines);
    let nodes = cluster.kubectl.ok("get nodes");
    for &name in machines {
        let role = if name.starts_with("master") {
            "control-plane"
        } else {
            "<none>"
        };
        assert_eq!(row(&nodes, name)[1..3], ["Ready", role], "{nodes}");
    }
    for master in &SIX[..3] {
        cluster.wait_control_plane(master);
    }
    let pods = cluster.kubectl.ok("get pods -n kube-system");
    for master in &SIX[..3] {
        for part in CONTROL_PLANE {
            assert_eq!(
                row(&pods, &format!("{part}-{master}"))[1..3],
                ["1/1", "Running"],
                "{pods}"
            );
        }
    }
    cluster
        .kubectl
        .feed("apply", include_str!("../../../../examples/kube-proxy-like.yaml"));
    cluster
        .kubectl
        .ok("rollout status -n kube-system --timeout=120s daemonset/kube-proxy");
    let sets = cluster.kubectl.ok("get daemonsets -A");
    let all = machines.len().to_string();
    assert_eq!(row(&sets, "kube-proxy")[2..5], [all.as_str(); 3], "{sets}");

    pods_reach_each_other(&cluster);
    let machines = Machines::of(machines);
    let seed = faults::seed();
    let chosen = std::env::var("ORLOP_FAULTS").ok();
    let faults = match (chosen, is_torture) {
        (Some(names), _) => schedule::named(&names, seed, &machines.masters, &machines.workers).unwrap(),
        (None, true) => schedule::every(seed, &machines.masters, &machines.workers),
        (None, false) => schedule::few(seed, &machines.masters),
    };
    faults::suffer(&mut cluster, &machines, &faults, seed);
}

/// From a pod of one node to one of another, by the routes between their ranges.
fn pods_reach_each_other(cluster: &Cluster) {
    let run = |name: &str, node: &str, command: &str| {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "c",
                    "image": "orlop.local/busybox:debian",
                    "command": ["sh", "-c", command],
                }],
            },
        });
        cluster.kubectl.feed("apply", &pod.to_string());
        cluster
            .kubectl
            .ok(&format!("wait --for=condition=Ready --timeout=90s pod/{name}"));
    };
    run(
        "server",
        "worker-01",
        "mkdir /w; echo hello from $(hostname) > /w/index.html; exec httpd -f -h /w",
    );
    let address = cluster.kubectl.field("pod server", "/status/podIP");
    let range = cluster.kubectl.field("node worker-01", "/spec/podCIDR");
    let prefix = range.rsplit_once('.').unwrap().0;
    assert!(
        address.starts_with(&format!("{prefix}.")),
        "{address} is not in {range}"
    );
    let ask = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} 80");
    run(
        "client",
        "master-03",
        &format!("until {ask} | grep hello; do sleep 1; done; exec sleep 3600"),
    );
    eventually("the server answers another node's pod", || {
        let said = cluster.kubectl.ok("logs client");
        said.contains("hello from server").then_some(()).ok_or(said)
    });
}
