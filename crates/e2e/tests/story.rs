//! The story of the README, told to the real kubectl: a control-plane etcd as a static pod, its
//! mirror, and a DaemonSet, on the managed containerd and on one that somebody else started.
#![allow(clippy::unwrap_used)]
use orlop_e2e::{Node, NodeOptions, SeparateContainerd, eventually, free_port};
use std::process::Command;

/// Ports of one etcd, so that stories run beside each other and beside a live node.
struct EtcdPorts {
    client: u16,
    peer: u16,
    metrics: u16,
}

/// The example's manifest with its ports and host paths moved under the node's root.
fn etcd_manifest(node: &Node, ports: &EtcdPorts) -> String {
    let root = node.root().display();
    include_str!("../../../examples/manifests/etcd.yaml")
        .replace(":2379", &format!(":{}", ports.client))
        .replace(":2380", &format!(":{}", ports.peer))
        .replace("2381", &ports.metrics.to_string())
        .replace("path: /var/lib/etcd", &format!("path: {root}/var/lib/etcd"))
        .replace(
            "path: /etc/kubernetes/pki/etcd",
            &format!("path: {root}/etc/kubernetes/pki/etcd"),
        )
}

/// The example's DaemonSet with its lock file moved under the node's root.
fn daemonset_manifest(node: &Node) -> String {
    include_str!("../../../examples/kube-proxy-like.yaml").replace(
        "path: /run/xtables.lock",
        &format!("path: {}/run/xtables.lock", node.root().display()),
    )
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// The line of a listing that holds `word`, in words.
fn line_with<'a>(listing: &'a str, word: &str) -> Vec<&'a str> {
    let line = listing
        .lines()
        .find(|line| line.split_whitespace().any(|w| w == word));
    words(line.unwrap_or_else(|| panic!("no {word} in\n{listing}")))
}

fn one_container(node: &Node, name: &str) -> String {
    eventually(&format!("exactly one running container {name}"), || {
        let found = node.containers(name);
        if found.len() == 1 {
            Ok(found[0].clone())
        } else {
            Err(format!("{found:?}"))
        }
    })
}

fn tell(options: NodeOptions) {
    let mut node = Node::start(options);
    let mirror = format!("etcd-{}", node.name);
    let mirror_pod = format!("pod/{mirror} --namespace kube-system");
    let ready = |node: &Node| {
        node.kubectl
            .ok(&format!("wait --for=create --timeout=60s {mirror_pod}"));
        node.kubectl
            .ok(&format!("wait --for=condition=Ready --timeout=90s {mirror_pod}"));
    };
    let ports = EtcdPorts {
        client: free_port(),
        peer: free_port(),
        metrics: free_port(),
    };
    let manifest = etcd_manifest(&node, &ports);

    // A node, a static pod, a daemon pod.
    assert_eq!(line_with(&node.kubectl.ok("get nodes"), &node.name)[1], "Ready");
    node.write_manifest("etcd.yaml", &manifest);
    let applied = node.kubectl.feed("apply", &daemonset_manifest(&node));
    assert_eq!(
        applied,
        "configmap/kube-proxy created\ndaemonset.apps/kube-proxy created\n"
    );
    ready(&node);
    node.kubectl
        .ok("rollout status --namespace kube-system --timeout=90s daemonset/kube-proxy");

    the_listings_are_those_of_kubernetes(&node, &mirror);
    etcd_answers(&ports);
    descriptions_logs_and_events_are_complete(&node, &mirror);
    apply_says_configured_and_unchanged(&node);
    custom_resources_are_served(&node);

    // Deleting the mirror only makes it come back.
    let container = one_container(&node, "etcd");
    let uid = node.kubectl.field(&mirror_pod, "/metadata/uid");
    node.kubectl.ok(&format!("delete {mirror_pod}"));
    ready(&node);
    assert_ne!(
        node.kubectl.field(&mirror_pod, "/metadata/uid"),
        uid,
        "the mirror is a new object"
    );
    assert_eq!(
        one_container(&node, "etcd"),
        container,
        "its container is the same"
    );

    n14_a_killed_agent_comes_back_and_restarts_no_container(&mut node, &ports, &mirror);

    a_bad_edit_is_reported_and_stops_nothing(&node, &manifest, &mirror, &container);

    // An edit replaces the pod.
    let hash = "/metadata/annotations/kubernetes.io~1config.hash";
    let old_hash = node.kubectl.field(&mirror_pod, hash);
    node.write_manifest(
        "etcd.yaml",
        &manifest.replace("--snapshot-count=10000", "--snapshot-count=5000"),
    );
    eventually("the mirror of the new version", || {
        let seen = node.kubectl.run(&format!(
            "get {mirror_pod} -o jsonpath={{.metadata.annotations.kubernetes\\.io/config\\.hash}}"
        ));
        let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
        if !seen.is_empty() && seen != old_hash {
            Ok(())
        } else {
            Err(seen)
        }
    });
    ready(&node);
    let replaced = one_container(&node, "etcd");
    assert_ne!(replaced, container, "the edited pod has a new container");
    etcd_answers(&ports);

    // Deleting the manifest stops the pod, and the mirror goes.
    std::fs::remove_file(node.manifest("etcd.yaml")).unwrap();
    node.kubectl
        .ok(&format!("wait --for=delete --timeout=90s {mirror_pod}"));
    eventually("no etcd container", || {
        let left = node.containers("etcd");
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });

    // Deleting the DaemonSet takes its pod along.
    let deleted = node
        .kubectl
        .ok("delete daemonset kube-proxy --namespace kube-system");
    assert_eq!(
        line_with(&deleted, "deleted")[..2],
        ["daemonset.apps", "\"kube-proxy\""]
    );
    eventually("no daemon container", || {
        let left = node.containers("kube-proxy");
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    eventually("no pods", || {
        let left = node.kubectl.ok("get pods -A --no-headers");
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

/// Daemonsets N14: kill -9 and a restart touch no container, whether its pod is static or a daemon's.
fn n14_a_killed_agent_comes_back_and_restarts_no_container(node: &mut Node, ports: &EtcdPorts, mirror: &str) {
    let mirror_pod = format!("pod/{mirror} --namespace kube-system");
    let (etcd, daemon) = (one_container(node, "etcd"), one_container(node, "kube-proxy"));
    let mirror_uid = node.kubectl.field(&mirror_pod, "/metadata/uid");
    node.kill();
    etcd_answers(ports);
    node.launch();
    node.wait_ready();
    node.kubectl
        .ok(&format!("wait --for=condition=Ready --timeout=90s {mirror_pod}"));
    node.kubectl
        .ok("rollout status --namespace kube-system --timeout=90s daemonset/kube-proxy");
    assert_eq!(one_container(node, "etcd"), etcd);
    assert_eq!(one_container(node, "kube-proxy"), daemon);
    assert_eq!(node.kubectl.field(&mirror_pod, "/metadata/uid"), mirror_uid);
    let listed = node.kubectl.ok("get pods -A");
    let of_set = listed.lines().find(|line| line.contains(" kube-proxy-"));
    for line in [line_with(&listed, mirror), words(of_set.unwrap_or(&listed))] {
        assert_eq!(line[2..5], ["1/1", "Running", "0"], "{listed}");
    }
}

fn the_listings_are_those_of_kubernetes(node: &Node, mirror: &str) {
    let pods = node.kubectl.ok("get pods -A");
    let header = ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE"];
    assert_eq!(words(pods.lines().next().unwrap()), header);
    assert_eq!(
        line_with(&pods, mirror)[..5],
        ["kube-system", mirror, "1/1", "Running", "0"]
    );
    let daemon = pods
        .lines()
        .find(|l| l.contains("kube-proxy-"))
        .unwrap_or_else(|| panic!("{pods}"));
    assert_eq!(words(daemon)[2..5], ["1/1", "Running", "0"]);

    let sets = node.kubectl.ok("get daemonsets -A");
    let header = "NAMESPACE NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE";
    assert_eq!(words(sets.lines().next().unwrap()), words(header));
    let expected = [
        "kube-system",
        "kube-proxy",
        "1",
        "1",
        "1",
        "1",
        "1",
        "kubernetes.io/os=linux",
    ];
    assert_eq!(line_with(&sets, "kube-proxy")[..8], expected);

    let wide = node.kubectl.ok("get nodes -o wide");
    let header =
        "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME";
    assert_eq!(words(wide.lines().next().unwrap()), words(header));
    assert!(wide.contains("containerd://"), "{wide}");

    let ps = String::from_utf8(node.orlop("ps").stdout).unwrap();
    let header = "CONTAINER IMAGE CREATED STATE NAME ATTEMPT POD ID POD NAMESPACE";
    assert_eq!(words(ps.lines().next().unwrap()), words(header));
    assert!(line_with(&ps, mirror).ends_with(&[mirror, "kube-system"]), "{ps}");
    let sandboxes = String::from_utf8(node.orlop("pods").stdout).unwrap();
    let header = "POD ID CREATED STATE NAME NAMESPACE ATTEMPT RUNTIME";
    assert_eq!(words(sandboxes.lines().next().unwrap()), words(header));
    assert!(line_with(&sandboxes, mirror).ends_with(&[mirror, "kube-system", "0", "(default)"]));
}

fn etcd_answers(ports: &EtcdPorts) {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints=http://127.0.0.1:{}", ports.client))
        .args(["endpoint", "health"])
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success() && text.contains("is healthy"), "{text}");
}

fn descriptions_logs_and_events_are_complete(node: &Node, mirror: &str) {
    let set = node.kubectl.ok("describe daemonset kube-proxy -n kube-system");
    for line in [
        "Selector:       k8s-app=kube-proxy",
        "Desired Number of Nodes Scheduled: 1",
        "Current Number of Nodes Scheduled: 1",
        "Number of Nodes Scheduled with Available Pods: 1",
        "Number of Nodes Misscheduled: 0",
        "Pods Status:  1 Running / 0 Waiting / 0 Succeeded / 0 Failed",
        "Priority Class Name:  system-node-critical",
        "SuccessfulCreate",
    ] {
        assert!(set.contains(line), "no `{line}` in\n{set}");
    }
    let pod = node.kubectl.ok(&format!("describe pod {mirror} -n kube-system"));
    for line in [
        "Priority Class Name:  system-node-critical",
        "Controlled By:",
        "Created",
        "Started",
        "Pulled",
    ] {
        assert!(pod.contains(line), "no `{line}` in\n{pod}");
    }
    assert!(pod.contains(&format!("Node/{}", node.name)), "{pod}");
    let logs = node.kubectl.ok("logs -n kube-system daemonset/kube-proxy");
    assert!(
        logs.contains(&format!("kube-proxy-like on node {}", node.name)),
        "{logs}"
    );
    assert!(
        logs.contains("kind: KubeProxyConfiguration"),
        "the ConfigMap volume is readable:\n{logs}"
    );
    assert!(
        !node
            .kubectl
            .ok(&format!("logs -n kube-system {mirror} --tail=5"))
            .is_empty()
    );
    // D10
    let explained = node.kubectl.ok("explain pod.spec.nodeName");
    for part in [
        "KIND:       Pod",
        "VERSION:    v1",
        "FIELD: nodeName <string>",
        "DESCRIPTION:",
    ] {
        assert!(explained.contains(part), "no {part:?} in\n{explained}");
    }
    let explained = node.kubectl.ok("explain ds.spec.updateStrategy");
    assert!(
        explained.contains("rollingUpdate\t<RollingUpdateDaemonSet>"),
        "{explained}"
    );
    let events = node.kubectl.ok("get events -A");
    for reason in ["Started", "SuccessfulCreate", "NodeReady", "Scheduled"] {
        assert!(events.contains(reason), "no {reason} in\n{events}");
    }
    node.kubectl.ok(&format!("describe node {}", node.name));
}

fn apply_says_configured_and_unchanged(node: &Node) {
    let manifest = daemonset_manifest(node);
    let again = node.kubectl.feed("apply", &manifest);
    assert_eq!(
        again,
        "configmap/kube-proxy unchanged\ndaemonset.apps/kube-proxy unchanged\n"
    );
    let changed = manifest.replace("mode: \"\"", "mode: \"iptables\"");
    let configured = node.kubectl.feed("apply", &changed);
    assert_eq!(
        configured,
        "configmap/kube-proxy configured\ndaemonset.apps/kube-proxy unchanged\n"
    );
    // P17: what was applied by the client passes to the server, its annotation too.
    let on_the_server = node.kubectl.feed("apply --server-side", &changed);
    assert_eq!(
        on_the_server,
        "configmap/kube-proxy serverside-applied\ndaemonset.apps/kube-proxy serverside-applied\n"
    );
    let managed = node
        .kubectl
        .ok("get configmap -n kube-system kube-proxy --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}");
    // The later one stands behind, if a second lies between them.
    let managers: std::collections::BTreeSet<_> = words(&managed).into_iter().collect();
    assert_eq!(managers, ["kubectl", "kubectl-last-applied"].into());
    // What the parts write is theirs.
    let managed = node.kubectl.ok(
        "get pods -n kube-system -l k8s-app=kube-proxy --show-managed-fields -o jsonpath={.items[*].metadata.managedFields[*].manager}",
    );
    assert_eq!(words(&managed), ["kube-controller-manager", "kubelet"]);
}

/// A definition is applied, its objects are listed, explained, scaled, checked and go with it.
fn custom_resources_are_served(node: &Node) {
    let kubectl = &node.kubectl;
    kubectl.feed("apply", include_str!("crontab.yaml"));
    kubectl.ok("wait --for=condition=Established --timeout=10s crd/crontabs.stable.example.com");
    let object = "apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata: {name: mine}\n\
                  spec: {cronSpec: '@daily', replicas: 2}\n";
    assert_eq!(
        kubectl.feed("apply", object),
        "crontab.stable.example.com/mine created\n"
    );
    assert_eq!(
        kubectl.feed("apply", object),
        "crontab.stable.example.com/mine unchanged\n"
    );
    let listing = kubectl.ok("get ct");
    assert_eq!(
        words(listing.lines().next().unwrap_or_default()),
        ["NAME", "SPEC"]
    );
    assert_eq!(line_with(&listing, "mine"), ["mine", "@daily"]);
    assert!(kubectl.ok("explain ct.spec.cronSpec").contains("When it runs."));
    kubectl.ok("scale --replicas=5 ct/mine");
    assert_eq!(kubectl.ok("get ct mine -o jsonpath={.spec.replicas}"), "5");
    let refused = kubectl.run("scale --replicas=50 ct/mine");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("should be less than or equal to 10"), "{why}");
    kubectl.ok("delete crd crontabs.stable.example.com --timeout=20s");
    assert!(!kubectl.run("get ct").status.success());
}

/// The log and a Node event name file, line and field; the running pod is left alone.
fn a_bad_edit_is_reported_and_stops_nothing(node: &Node, manifest: &str, mirror: &str, container: &str) {
    let port = manifest.lines().find(|l| l.contains("containerPort:")).unwrap();
    let bad = manifest.replace(port, "    - containerPort: many");
    let line = bad
        .lines()
        .position(|l| l.contains("containerPort: many"))
        .unwrap()
        + 1;
    node.write_manifest("etcd.yaml", &bad);
    let event = eventually("an event on the Node about the manifest", || {
        let events = node.kubectl.ok(&format!(
            "get events -n default --field-selector involvedObject.kind=Node,involvedObject.name={} -o json",
            node.name
        ));
        let line_of = events
            .lines()
            .find(|l| l.contains("\"message\"") && l.contains("etcd.yaml"));
        line_of.map(str::to_owned).ok_or(events)
    });
    assert!(event.contains(&format!("line {line}")), "{event}");
    assert!(
        event.contains("spec.containers[0].ports[0].containerPort"),
        "{event}"
    );
    let log = node.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|l| l.contains("etcd.yaml") && l.contains("containerPort"))
        .collect();
    assert_eq!(lines.len(), 1, "one line in the log:\n{}", lines.join("\n"));
    assert_eq!(
        one_container(node, "etcd"),
        container,
        "the running pod is left alone"
    );
    assert_eq!(
        line_with(&node.kubectl.ok("get pods -A"), mirror)[2..5],
        ["1/1", "Running", "0"]
    );
    // Mended without a change: nothing restarts.
    node.write_manifest("etcd.yaml", manifest);
    assert_eq!(one_container(node, "etcd"), container);
}

#[test]
fn story_on_the_managed_containerd() {
    tell(NodeOptions::default());
}

#[test]
fn story_on_a_separately_started_containerd() {
    let containerd = SeparateContainerd::start("orlop.local/pause:1");
    tell(NodeOptions {
        runtime_endpoint: Some(containerd.endpoint()),
        ..NodeOptions::default()
    });
}
