//! Static pods as the API server and its users see them.
use crate::shared::{FOREVER, IMAGE, node};
use orlop_e2e::{Kubectl, Node, NodeOptions, eventually};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn manifest(name: &str, container: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "hostNetwork": true, "terminationGracePeriodSeconds": 20,
            "containers": [{"name": container, "image": IMAGE, "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-c", script]}],
        },
    })
}

/// A16: of three hundred versions in thirty seconds, while the first takes its time to stop, the last one alone runs.
#[test]
fn a16_last_of_three_hundred_versions_runs_and_none_between_had_a_container() {
    let node = node();
    let stubborn = "trap '' TERM; while :; do sleep 0.1; done";
    let mut first = manifest("a16", "first", stubborn);
    // It outlasts all of them but the last.
    first["spec"]["terminationGracePeriodSeconds"] = json!(35);
    node.write_manifest("a16.yaml", &first.to_string());
    let mirror = format!("a16-{}", node.name);
    node.kubectl
        .ok(&format!("wait --for=create --timeout=60s pod/{mirror}"));
    node.kubectl
        .ok(&format!("wait --for=condition=Ready --timeout=60s pod/{mirror}"));
    let began = Instant::now();
    for version in 0..300_u32 {
        let text = manifest("a16", &format!("between{version}"), FOREVER).to_string();
        node.write_manifest("a16.yaml", &text);
        let due = Duration::from_millis(100) * (version + 1);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    node.write_manifest("a16.yaml", &manifest("a16", "last", FOREVER).to_string());
    eventually("the last version runs and the mirror shows it", || {
        let pod = node.kubectl.run(&format!(
            "get pod {mirror} -o jsonpath={{.spec.containers[0].name}}/{{.status.phase}}/{{.status.containerStatuses[0].ready}}"
        ));
        let shown = String::from_utf8_lossy(&pod.stdout).into_owned();
        (shown == "last/Running/true").then_some(()).ok_or(shown)
    });
    let log = node.log();
    let started: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("container started") && line.contains(&mirror))
        .collect();
    assert_eq!(started.len(), 2, "the first and the last: {started:#?}");
    std::fs::remove_file(node.manifest("a16.yaml")).unwrap();
}

/// A35: file-key variables from an init container, in a static pod, whose log is read through its mirror.
#[test]
fn a35_static_pod_reads_variables_from_a_file_and_logs_through_its_mirror() {
    let node = node();
    let mut pod = manifest("a35", "main", &format!("echo \"value: $V\"; {FOREVER}"));
    pod["spec"]["volumes"] = json!([{"name": "made", "emptyDir": {}}]);
    pod["spec"]["initContainers"] = json!([{
        "name": "init", "image": IMAGE, "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", "echo \"K='from a file'\" > /made/f"],
        "volumeMounts": [{"name": "made", "mountPath": "/made"}],
    }]);
    pod["spec"]["containers"][0]["env"] = json!([{"name": "V", "valueFrom":
        {"fileKeyRef": {"volumeName": "made", "path": "f", "key": "K"}}}]);
    node.write_manifest("a35.yaml", &pod.to_string());
    eventually("the log shows the value", || {
        let output = node.kubectl.run(&format!("logs a35-{} -c main", node.name));
        let log = String::from_utf8_lossy(&output.stdout).into_owned();
        (log == "value: from a file\n").then_some(()).ok_or(log)
    });
    std::fs::remove_file(node.manifest("a35.yaml")).unwrap();
}

/// A44 and A45: what the node's own identity may do to pods: make proper mirrors of its own, write their status, delete
/// its own pods.
#[test]
fn a44_a45_node_identity_may_make_mirrors_of_its_own_and_nothing_else() {
    let node = node();
    let as_node = Kubectl {
        kubeconfig: node.root().join("etc/kubernetes/kubelet.conf"),
        cache: node.kubectl.cache.clone(),
    };
    let node_uid = node
        .kubectl
        .field(&format!("node {}", node.name), "/metadata/uid");
    let owner = |uid: &str| json!({"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": uid, "controller": true});
    let proper = || {
        let mut pod = manifest("a44", "c", FOREVER);
        pod["metadata"]["annotations"] = json!({
            "kubernetes.io/config.mirror": "abc", "kubernetes.io/config.hash": "abc", "kubernetes.io/config.source": "file"});
        pod["metadata"]["ownerReferences"] = json!([owner(&node_uid)]);
        pod["spec"]["nodeName"] = json!(node.name);
        pod
    };
    let refused = |what: &str, change: &dyn Fn(&mut Value)| {
        let mut pod = proper();
        change(&mut pod);
        let output = as_node.fed("create", &pod.to_string());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains("(Forbidden)") | said.contains("forbidden"),
            "{what}: {said}"
        );
    };
    refused("not a mirror", &|pod| {
        pod["metadata"]["annotations"]
            .as_object_mut()
            .unwrap()
            .remove("kubernetes.io/config.mirror");
    });
    refused("another node", &|pod| pod["spec"]["nodeName"] = json!("other"));
    refused("no owner", &|pod| pod["metadata"]["ownerReferences"] = json!([]));
    refused("two owners", &|pod| {
        let second = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "another",
            "uid": "00000000-0000-0000-0000-000000000001"});
        pod["metadata"]["ownerReferences"] = json!([owner(&node_uid), second]);
    });
    refused("another UID", &|pod| {
        pod["metadata"]["ownerReferences"] = json!([owner("00000000-0000-0000-0000-000000000000")]);
    });
    refused("a secret", &|pod| {
        pod["spec"]["containers"][0]["env"] =
            json!([{"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
    });
    as_node.feed("create", &proper().to_string());

    // A45.
    let mut elsewhere = manifest("a45-elsewhere", "c", FOREVER);
    elsewhere["spec"]["nodeName"] = json!("other");
    node.kubectl.feed("create", &elsewhere.to_string());
    let said = as_node.fails("delete pod a45-elsewhere");
    assert!(said.contains("forbidden"), "{said}");
    node.kubectl
        .ok("delete pod a45-elsewhere --force --grace-period=0");
    node.write_manifest("a45.yaml", &manifest("a45", "c", FOREVER).to_string());
    let mirror = format!("a45-{}", node.name);
    node.kubectl
        .ok(&format!("wait --for=create --timeout=60s pod/{mirror}"));
    let said = as_node.fails(&format!(
        r#"patch pod {mirror} --type=merge -p={{"spec":{{"activeDeadlineSeconds":5}}}}"#
    ));
    assert!(said.contains("forbidden"), "{said}");
    as_node.ok(&format!(
        r#"patch pod {mirror} --subresource=status --type=merge -p={{"status":{{"message":"said"}}}}"#
    ));
    std::fs::remove_file(node.manifest("a45.yaml")).unwrap();
}

/// A48: a drain passes mirrors over in silence and leaves them and daemon pods alone.
#[test]
fn a48_drain_passes_mirrors_and_daemon_pods_over() {
    let node = Node::start(NodeOptions::default());
    node.write_manifest("a48.yaml", &manifest("a48", "c", FOREVER).to_string());
    let template =
        json!({"metadata": {"labels": {"app": "a48"}}, "spec": manifest("x", "c", FOREVER)["spec"]});
    let set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "a48-set"},
        "spec": {"selector": {"matchLabels": {"app": "a48"}}, "template": template}});
    node.kubectl.feed("apply", &set.to_string());
    node.kubectl.ok("rollout status daemonset/a48-set --timeout=60s");
    let mirror = format!("a48-{}", node.name);
    node.kubectl
        .ok(&format!("wait --for=create --timeout=60s pod/{mirror}"));
    node.kubectl
        .ok(&format!("wait --for=condition=Ready --timeout=60s pod/{mirror}"));
    let before = node.running();
    assert!(
        node.kubectl
            .fails(&format!("drain {}", node.name))
            .contains("DaemonSet-managed")
    );
    let output = node
        .kubectl
        .run(&format!("drain {} --ignore-daemonsets --timeout=60s", node.name));
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains(&mirror), "{said}");
    assert_eq!(node.running(), before);
    node.kubectl.ok(&format!("get pod {mirror}"));
}
