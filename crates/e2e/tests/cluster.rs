//! A cluster as kubeadm's users know it: a control plane of static pods, each machine with its own network and files.
#![allow(clippy::unwrap_used)]
use orlop_e2e::{CONTROL_PLANE, Cluster};

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// The columns after the name of a listing's line.
fn row<'a>(listing: &'a str, name: &str) -> Vec<&'a str> {
    let mut lines = listing.lines().map(|line| words(line));
    let line = lines.find(|line| line.contains(&name));
    line.unwrap_or_else(|| panic!("{name} is missing:\n{listing}"))
}

/// Issue 7: the first master.
#[test]
fn init_brings_up_a_control_plane_of_static_pods_in_kubeadms_layout() {
    let cluster = Cluster::machines(&["master-01"]);
    let printed = cluster.init("master-01", "");
    assert!(
        printed.contains("orlop join 10.77.0.1:6443 --token "),
        "{printed}"
    );
    assert!(
        printed.contains("--discovery-token-ca-cert-hash sha256:"),
        "{printed}"
    );

    let kubectl = &cluster.kubectl;
    kubectl.ok("wait --for=condition=Ready --timeout=90s node/master-01");
    cluster.wait_control_plane("master-01");
    let pods = kubectl.ok("get pods -n kube-system");
    for part in CONTROL_PLANE {
        assert_eq!(
            row(&pods, &format!("{part}-master-01"))[1..3],
            ["1/1", "Running"],
            "{pods}"
        );
    }
    let node = kubectl.json("get node master-01");
    assert_eq!(
        node["metadata"]["labels"]["node-role.kubernetes.io/control-plane"],
        ""
    );
    assert_eq!(
        node["spec"]["taints"][0]["key"],
        "node-role.kubernetes.io/control-plane"
    );
    assert_eq!(node["spec"]["podCIDR"], "10.244.0.0/24");
    for map in [
        "kube-system/kubeadm-config",
        "kube-system/kubelet-config",
        "kube-public/cluster-info",
        "default/kube-root-ca.crt",
    ] {
        let (namespace, name) = map.split_once('/').unwrap();
        kubectl.ok(&format!("get configmap -n {namespace} {name}"));
    }
    let manifests = cluster
        .lab
        .run("master-01", "ls /etc/kubernetes/manifests")
        .unwrap();
    let manifests = String::from_utf8_lossy(&manifests.stdout).into_owned();
    assert_eq!(
        words(&manifests),
        CONTROL_PLANE.map(|part| format!("{part}.yaml"))
    );
    let containers = cluster.ok("master-01", "ps");
    for part in CONTROL_PLANE {
        assert!(containers.contains(part), "{containers}");
    }
}
