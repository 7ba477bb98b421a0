//! The first master: what `init` makes, changes, refuses and takes back.
use crate::joining::fails;
use crate::{certificates, commands, joining, printed, row, traces, words};
use orlop_e2e::{CONTROL_PLANE, Cluster, eventually};
use orlop_lab::steps::init_line;
use serde_json::json;
use std::collections::BTreeSet;

/// Issue 7: the first master.
#[test]
fn init_brings_up_a_control_plane_of_static_pods_in_kubeadms_layout() {
    let cluster = Cluster::machines(&["master-01", "worker-01"]);
    a_failed_init_takes_everything_back(&cluster);
    let before = traces::of(&cluster, "master-01");
    let said = cluster.init("master-01", "");
    assert!(said.contains("orlop join 10.77.0.1:6443 --token "), "{said}");
    assert!(said.contains("--discovery-token-ca-cert-hash sha256:"), "{said}");

    let kubectl = &cluster.kubectl;
    kubectl.ok("wait --for=condition=Ready --timeout=90s node/master-01");
    cluster.wait_control_plane("master-01");
    let pods = kubectl.ok("get pods -n kube-system");
    for part in CONTROL_PLANE {
        let pod = format!("{part}-master-01");
        assert_eq!(row(&pods, &pod)[1..3], ["1/1", "Running"], "{pods}");
    }
    // Controllers and scheduler end by themselves where they can't renew their leases, as on a disk that is too busy.
    for part in ["etcd", "kube-apiserver"] {
        let pod = format!("{part}-master-01");
        assert_eq!(row(&pods, &pod)[3], "0", "{pods}");
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

    // Run again, it changes nothing.
    let line = init_line(cluster.lab.machine("master-01").unwrap().address);
    let again = cluster.orlop("master-01", &format!("{line} --service-cidr 10.97.0.0/16"));
    assert!(!again.status.success());
    assert!(printed(&again).contains("this node is a member of a cluster already"));
    let pods = kubectl.ok("get pods -n kube-system");
    assert_eq!(
        row(&pods, "kube-apiserver-master-01")[1..4],
        ["1/1", "Running", "0"],
        "{pods}"
    );

    tokens_and_certificates(&cluster);
    commands::beside_init_and_join(&cluster);
    certificates::renew_under_running_parts(&cluster);
    joining::refusals(&cluster);
    joining::failures(&cluster);
    joining::comes_and_goes(&cluster);
    upgrades(&cluster);
    reset(&cluster, &before);
}

/// Early, where nothing runs yet, and late, where everything but the API server does.
fn a_failed_init_takes_everything_back(cluster: &Cluster) {
    let line = init_line(cluster.lab.machine("master-01").unwrap().address);
    let early = fails(cluster, "master-01", &format!("{line} --images /etc/hostname"));
    assert!(early.contains("/etc/hostname"), "{early}");
    assert!(early.contains("this machine is as it was"), "{early}");
    let named = fails(cluster, "master-01", &format!("{line} --node-name Not_A_Name"));
    assert!(named.contains("is no name for a node"), "{named}");
    let range = fails(
        cluster,
        "master-01",
        &format!("{line} --service-cidr 10.96.0.0/30"),
    );
    assert!(range.contains("is too small"), "{range}");
    let late = format!("{line} --kubernetes-version v1.36.9 --timeout 15s");
    let late = fails(cluster, "master-01", &late);
    assert!(late.contains("kube-apiserver is not healthy"), "{late}");
    assert!(late.contains("this machine is as it was"), "{late}");
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
    assert!(row(&listed, "apiserver").ends_with(&["ca", "no"]), "{listed}");
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

/// A kube-proxy that somebody has changed, and whose next image the master has.
fn an_addon_of_an_older_version(cluster: &Cluster) {
    let labels = json!({"k8s-app": "kube-proxy"});
    let metadata = json!({"name": "kube-proxy", "namespace": "kube-system"});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {}},
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "nodeSelector": {"mine": "yes"},
                "containers": [{"name": "kube-proxy", "image": "registry.k8s.io/kube-proxy:v1.35.0"}],
            }},
        }},
    ]});
    cluster.kubectl.feed("apply", &list.to_string());
    let tag = "ctr --address /run/orlop/containerd.sock --namespace k8s.io images tag --force";
    let line = format!("{tag} orlop.local/busybox:debian registry.k8s.io/kube-proxy:v1.36.0");
    let tagged = cluster.lab.run("master-01", &line).unwrap();
    assert!(tagged.status.success(), "{}", printed(&tagged));
}

/// Without images nothing is changed; a version that never becomes healthy is followed by the old one, by itself.
fn upgrades(cluster: &Cluster) {
    let plan = cluster.ok("master-01", "upgrade plan");
    assert_eq!(
        row(&plan, "kube-apiserver")[1..],
        ["master-01", "v1.36.0", "v1.36.0"],
        "{plan}"
    );
    let config = || {
        let of = |name: &str| {
            cluster
                .kubectl
                .json(&format!("get configmap -n kube-system {name}"))["data"]
                .clone()
        };
        [of("kubeadm-config"), of("kubelet-config")]
    };
    let before = config();
    let newer = printed(&cluster.orlop("master-01", "upgrade apply v1.37.0"));
    assert!(newer.contains("install a newer one first"), "{newer}");
    let told = cluster.ok("master-01", "upgrade apply v1.36.9 --dry-run");
    assert!(told.contains("kube-apiserver would be exchanged"), "{told}");
    an_addon_of_an_older_version(cluster);
    let certificate = cluster.lab.path("master-01", "/etc/kubernetes/pki/apiserver.crt");
    let certificate = || std::fs::read_to_string(certificate.as_ref().unwrap()).unwrap();
    let old = certificate();
    let same = cluster.ok("master-01", "upgrade apply v1.36.0");
    for want in [
        "\"kube-scheduler\" is up to date",
        "The kubelet's configuration is up to date",
        "Renewed the certificate admin.conf",
        "This cluster does without CoreDNS",
        "Upgraded kube-proxy to registry.k8s.io/kube-proxy:v1.36.0",
    ] {
        assert!(same.contains(want), "{same}");
    }
    assert_ne!(certificate(), old);
    let proxy = cluster.kubectl.json("get daemonset -n kube-system kube-proxy");
    let template = &proxy["spec"]["template"]["spec"];
    assert_eq!(
        template["containers"][0]["image"],
        "registry.k8s.io/kube-proxy:v1.36.0"
    );
    assert_eq!(template["nodeSelector"]["mine"], "yes");
    cluster
        .kubectl
        .ok("delete -n kube-system daemonset/kube-proxy configmap/kube-proxy");
    assert_eq!(config(), before);
    let missing = cluster.orlop("master-01", "upgrade apply v1.36.9 --timeout 15s");
    assert!(!missing.status.success());
    let error = printed(&missing);
    assert!(
        error.contains("nothing was changed") && error.contains("kube-apiserver:v1.36.9"),
        "{error}"
    );
    cluster.break_version("master-01", "v1.36.9");
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

/// The machine is what it was before it was a member.
fn reset(cluster: &Cluster, before: &BTreeSet<String>) {
    let done = cluster.ok("master-01", "reset --force");
    assert!(done.contains("Deleting /etc/kubernetes/manifests"), "{done}");
    traces::assert_none(cluster, "master-01", before, "reset");
}
