//! A control plane of static pods as kubeadm lays them out: the API server that the agent talks to is one of its own pods.
use crate::shared::IMAGE;
use orlop_e2e::{Node, NodeOptions, eventually, orlop};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A component as kubeadm writes it: ports by name, probes by that name, host paths only, the highest priority.
fn component(
    node: &Node,
    name: &str,
    command: &[String],
    port: u16,
    scheme: &str,
    paths: [&str; 3],
) -> Value {
    let probe = |path: &str, delay: u32, failures: u32, period: u32| {
        json!({
            "httpGet": {"host": "127.0.0.1", "path": path, "port": "probe-port", "scheme": scheme},
            "initialDelaySeconds": delay, "timeoutSeconds": 15, "failureThreshold": failures, "periodSeconds": period,
        })
    };
    let directories = [
        ("node", node.root().display().to_string()),
        ("usr", "/usr".to_owned()),
        ("lib", "/lib".to_owned()),
        ("lib64", "/lib64".to_owned()),
        ("program", orlop().parent().unwrap().display().to_string()),
    ];
    let mounts: Vec<Value> = directories
        .iter()
        .map(|(name, path)| json!({"name": name, "mountPath": path}))
        .collect();
    let volumes: Vec<Value> = directories
        .iter()
        .map(|(name, path)| json!({"name": name, "hostPath": {"path": path, "type": "Directory"}}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "kube-system", "labels": {"component": name, "tier": "control-plane"}},
        "spec": {
            "hostNetwork": true, "priority": 2_000_001_000, "priorityClassName": "system-node-critical",
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": command,
                "ports": [{"name": "probe-port", "containerPort": port, "protocol": "TCP"}],
                "livenessProbe": probe(paths[0], 10, 8, 10),
                "readinessProbe": probe(paths[1], 0, 3, 1),
                "startupProbe": probe(paths[2], 10, 24, 10),
                "resources": {"requests": {"cpu": "50m"}},
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    })
}

fn wait_mirror(node: &Node, name: &str) -> Value {
    let mirror = format!("{name}-{}", node.name);
    eventually(&format!("{mirror} is Running and Ready"), || {
        let output = node
            .kubectl
            .run(&format!("get pod -n kube-system {mirror} -o json"));
        let pod: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let status = &pod["status"];
        let is_ready = status["phase"] == "Running" && status["containerStatuses"][0]["ready"] == true;
        is_ready
            .then(|| pod.clone())
            .ok_or_else(|| format!("{status:#}{}", String::from_utf8_lossy(&output.stderr)))
    })
}

/// A66 and A67: with no API server at first the control plane comes up out of its manifests, one that is slow to start is
/// waited for, mirrors appear in kube-system; a manifest that is moved out and in again, changed, is run within minutes
/// and its mirror's hash is another.
#[test]
fn a66_a67_control_plane_comes_up_from_manifests_and_is_upgraded_by_moving_them() {
    let mut node = Node::lone(NodeOptions::default());
    let kubeconfig = node.root().join("etc/kubernetes/kubelet.conf");
    node.point_at(&kubeconfig);
    node.launch();
    let words = |line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let program = orlop().display().to_string();
    let apiserver = words(format!(
        "{program} apiserver --root={} --bind-address=127.0.0.1 --secure-port={}",
        node.root().display(),
        node.api_port
    ));
    let paths = ["/livez", "/readyz", "/livez"];
    let manifest = component(&node, "kube-apiserver", &apiserver, node.api_port, "HTTPS", paths);
    node.write_manifest("kube-apiserver.yaml", &manifest.to_string());
    // This one answers no sooner than its probes have failed once.
    let port = orlop_e2e::free_port();
    let script = format!(
        "sleep 14; mkdir -p /www && echo ok > /www/livez && exec busybox httpd -f -p 127.0.0.1:{port} -h /www"
    );
    let slow = ["/bin/sh", "-c", &script].map(str::to_owned);
    let manifest = component(&node, "etcd", &slow, port, "HTTP", ["/livez"; 3]);
    node.write_manifest("etcd.yaml", &manifest.to_string());

    let mirror = wait_mirror(&node, "kube-apiserver");
    assert_eq!(mirror["spec"]["priority"], 2_000_001_000);
    let slow = wait_mirror(&node, "etcd");
    assert_eq!(
        slow["status"]["containerStatuses"][0]["restartCount"], 0,
        "{slow:#}"
    );
    let hash = |pod: &Value| pod["metadata"]["annotations"]["kubernetes.io/config.hash"].clone();

    // A67: as an upgrade does it.
    let aside = node.root().join("etc/kubernetes/tmp");
    std::fs::create_dir_all(&aside).unwrap();
    let place = node.manifest("kube-apiserver.yaml");
    std::fs::rename(&place, aside.join("kube-apiserver.yaml")).unwrap();
    let mut upgraded: Value =
        serde_json::from_str(&std::fs::read_to_string(aside.join("kube-apiserver.yaml")).unwrap()).unwrap();
    upgraded["metadata"]["annotations"] = json!({"version": "next"});
    std::fs::write(aside.join("new.yaml"), upgraded.to_string()).unwrap();
    let began = Instant::now();
    std::fs::rename(aside.join("new.yaml"), &place).unwrap();
    let before = hash(&mirror);
    eventually("the mirror has another hash and is Running", || {
        let now = wait_mirror(&node, "kube-apiserver");
        (hash(&now) != before)
            .then_some(())
            .ok_or_else(|| format!("{:#}", now["metadata"]))
    });
    assert!(
        began.elapsed() < Duration::from_secs(300),
        "{:?}",
        began.elapsed()
    );
    // The other one was left alone.
    let other = wait_mirror(&node, "etcd");
    assert_eq!(
        other["status"]["containerStatuses"][0]["containerID"],
        slow["status"]["containerStatuses"][0]["containerID"]
    );
}
