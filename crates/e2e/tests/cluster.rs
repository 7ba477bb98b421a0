//! A cluster as kubeadm's users know it: a control plane of static pods, each machine with its own network and files.
#![allow(clippy::unwrap_used)]
use orlop_e2e::{CONTROL_PLANE, Cluster, eventually};
use serde_json::json;
use std::process::{Output, Stdio};

const SIX: [&str; 6] = [
    "master-01",
    "master-02",
    "master-03",
    "worker-01",
    "worker-02",
    "worker-03",
];

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
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
    let cluster = Cluster::machines(&["master-01", "worker-01"]);
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
            row(&pods, &format!("{part}-master-01"))[1..4],
            ["1/1", "Running", "0"],
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

    // Run again, it finds everything done.
    cluster.init("master-01", "");
    let pods = kubectl.ok("get pods -n kube-system");
    assert_eq!(
        row(&pods, "kube-apiserver-master-01")[1..4],
        ["1/1", "Running", "0"],
        "{pods}"
    );

    tokens_and_certificates(&cluster);
    bad_joins(&cluster);
    upgrades(&cluster);
    reset(&cluster);
}

/// Each ends in one sentence and leaves the machine as it was.
fn bad_joins(cluster: &Cluster) {
    let files = || {
        let output = cluster.lab.run(
            "worker-01",
            "find /etc/kubernetes /etc/cni /var/lib -not -path *containerd*",
        );
        printed(&output.unwrap())
    };
    let before = files();
    let line = cluster.ok("master-01", "token create --print-join-command");
    let line = line.trim().trim_start_matches("orlop ").to_owned();
    let front = line.rsplit_once(' ').unwrap().0;
    let token = words(&line)[3];
    let old = cluster.ok("master-01", "token create --ttl 1s --usages authentication");
    eventually("the token expires", || {
        let listed = cluster.ok("master-01", "token list");
        (!listed.contains(old.trim())).then_some(()).ok_or(listed)
    });
    let unknown = "aaaaaa.0123456789abcdef";
    for (line, want) in [
        (
            format!("{front} sha256:{}", "0".repeat(64)),
            "this is another cluster",
        ),
        (line.replace(token, unknown), "does not know the token aaaaaa"),
        (line.replace(token, old.trim()), "or it has expired"),
        (
            format!("{line} --node-name master-01"),
            "is in the cluster already",
        ),
        (format!("{line} --node-name Not_A_Name"), "is no name for a node"),
        (
            front.rsplit_once(' ').unwrap().0.to_owned(),
            "--discovery-token-ca-cert-hash",
        ),
        (line.replace("10.77.0.1:6443", "10.77.0.1:6444"), "10.77.0.1:6444"),
    ] {
        let output = cluster.orlop("worker-01", &line);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{line}");
        assert!(error.contains(want), "{line}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert_eq!(files(), before, "{line}");
    }
    let mut listener = cluster.lab.command("worker-01", "busybox").unwrap();
    let listener = listener.args(["nc", "-l", "-p", "10250"]).stdin(Stdio::null());
    let mut listener = listener.spawn().unwrap();
    eventually("the port is refused", || {
        let error = printed(&cluster.orlop("worker-01", &line));
        error.contains("port 10250 is in use").then_some(()).ok_or(error)
    });
    // It ends with its first visitor.
    cluster
        .lab
        .run("worker-01", "busybox nc -w 1 127.0.0.1 10250")
        .unwrap();
    listener.wait().unwrap();
    let explained = cluster.ok("worker-01", &format!("{line} --explain"));
    assert!(
        explained.contains("All checks passed; nothing was changed"),
        "{explained}"
    );
    assert_eq!(files(), before);
}

fn tokens_and_certificates(cluster: &Cluster) {
    let token = cluster.ok("master-01", "token create --ttl 1h --description mine");
    let listed = cluster.ok("master-01", "token list");
    assert!(row(&listed, token.trim()).contains(&"mine"), "{listed}");
    let id = token.split('.').next().unwrap();
    eventually("cluster-info is signed with the new token", || {
        let info = cluster.kubectl.json("get configmap -n kube-public cluster-info");
        let signed = info["data"].get(format!("jws-kubeconfig-{id}")).is_some();
        signed.then_some(()).ok_or_else(|| info.to_string())
    });
    cluster.ok("master-01", &format!("token delete {id}"));
    assert!(!cluster.ok("master-01", "token list").contains(token.trim()));

    let listed = cluster.ok("master-01", "certs check-expiration");
    assert_eq!(row(&listed, "apiserver").last(), Some(&"ca"), "{listed}");
    let certificate = || {
        let path = cluster
            .lab
            .path("master-01", "/etc/kubernetes/pki/apiserver.crt")
            .unwrap();
        std::fs::read_to_string(path).unwrap()
    };
    let old = certificate();
    cluster.ok("master-01", "certs renew apiserver");
    assert_ne!(certificate(), old);
}

/// A version whose image nobody has never becomes healthy: the old one is back by itself.
fn upgrades(cluster: &Cluster) {
    let plan = cluster.ok("master-01", "upgrade plan");
    assert_eq!(
        row(&plan, "kube-apiserver")[1..],
        ["master-01", "v1.36.0", "v1.36.0"],
        "{plan}"
    );
    let broken = cluster.orlop("master-01", "upgrade apply v1.36.9 --timeout 15s");
    assert!(!broken.status.success());
    let error = printed(&broken);
    assert!(error.contains("the old one is back"), "{error}");
    cluster.wait_control_plane("master-01");
    let image = cluster.kubectl.field(
        "pod -n kube-system kube-apiserver-master-01",
        "/spec/containers/0/image",
    );
    assert_eq!(image, "registry.k8s.io/kube-apiserver:v1.36.0");
}

fn reset(cluster: &Cluster) {
    let done = cluster.ok("master-01", "reset --force");
    assert!(done.contains("Deleting /etc/kubernetes/manifests"), "{done}");
    let left = cluster
        .lab
        .run("master-01", "find /etc/kubernetes /var/lib/etcd")
        .unwrap();
    assert_eq!(words(&String::from_utf8_lossy(&left.stdout)), ["/etc/kubernetes"]);
}

/// Issue 7: the picture, its listings, and what may break in it.
#[test]
fn three_masters_and_their_workers_are_one_cluster_that_outlives_a_master() {
    // `make torture` sets `ORLOP_TORTURE=1` for all six; `make test` does with one worker.
    let machines = match std::env::var_os("ORLOP_TORTURE") {
        Some(_) => &SIX[..],
        None => &SIX[..4],
    };
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
        .feed("apply", include_str!("../../../examples/kube-proxy-like.yaml"));
    cluster
        .kubectl
        .ok("rollout status -n kube-system --timeout=120s daemonset/kube-proxy");
    let sets = cluster.kubectl.ok("get daemonsets -A");
    let all = machines.len().to_string();
    assert_eq!(row(&sets, "kube-proxy")[2..5], [all.as_str(); 3], "{sets}");

    pods_reach_each_other(&cluster);
    a_master_dies(&mut cluster);
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

/// What was acknowledged is there, writes go on, and the master comes back as it was.
fn a_master_dies(cluster: &mut Cluster) {
    cluster.kubectl.ok("create configmap before --from-literal=x=1");
    cluster.lab.kill("master-01").unwrap();
    eventually("writes go on", || {
        let output = cluster.kubectl.run("create configmap after --from-literal=x=1");
        match output.status.success() || printed(&output).contains("already exists") {
            true => Ok(()),
            false => Err(printed(&output)),
        }
    });
    cluster.kubectl.ok("get configmap before");
    // Daemon pods of others don't notice.
    let pods = cluster
        .kubectl
        .ok("get pods -n kube-system -l k8s-app=kube-proxy --field-selector=spec.nodeName=worker-01");
    assert!(pods.contains("1/1"), "{pods}");
    cluster.boot("master-01");
    cluster
        .kubectl
        .ok("wait --for=condition=Ready --timeout=120s node/master-01");
    cluster.wait_control_plane("master-01");
    cluster.kubectl.ok("get configmap before after");
}
