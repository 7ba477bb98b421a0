//! What people do with kubectl to DaemonSets, against a control plane without a node: the test plays the node agents.
#![allow(clippy::unwrap_used)]
use std::sync::atomic::{AtomicU32, Ordering};

use orlop_e2e::{ControlPlane, Kubectl, eventually};

const NODES: [&str; 2] = ["n1", "n2"];

fn join(kubectl: &Kubectl) {
    for node in NODES {
        let document = format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {node}, labels: {{kubernetes.io/hostname: {node}}}}}\n\
             status:\n  allocatable: {{cpu: '4', memory: 8Gi, pods: '110'}}\n  capacity: {{cpu: '4', memory: 8Gi, pods: '110'}}\n  \
             conditions: [{{type: Ready, status: 'True', reason: KubeletReady}}]\n"
        );
        kubectl.feed("create", &document);
    }
}

/// What the agents would do now: they show that they live; bound pods run, deleted ones go.
fn play_agents(kubectl: &Kubectl) {
    static BEATS: AtomicU32 = AtomicU32::new(0);
    let beat = BEATS.fetch_add(1, Ordering::Relaxed);
    let at = format!(
        "2030-01-01T{:02}:{:02}:{:02}Z",
        beat / 3600,
        beat / 60 % 60,
        beat % 60
    );
    for node in NODES {
        kubectl.ok(&format!(
            r#"patch node {node} --subresource=status --type=strategic -p={{"status":{{"conditions":[{{"type":"Ready","status":"True","lastHeartbeatTime":"{at}"}}]}}}}"#
        ));
    }
    let pods = kubectl.json("get pods");
    for pod in pods["items"].as_array().unwrap() {
        let name = pod["metadata"]["name"].as_str().unwrap();
        if pod["metadata"]["deletionTimestamp"].is_string() {
            kubectl.run(&format!(
                "delete pod {name} --grace-period=0 --force --wait=false"
            ));
        } else if pod["spec"]["nodeName"].is_string() && pod["status"]["phase"] == "Pending" {
            // It may be gone by now.
            kubectl.run(&format!(
                r#"patch pod {name} --subresource=status --type=merge -p={{"status":{{"phase":"Running","conditions":[{{"type":"Ready","status":"True"}}]}}}}"#
            ));
        }
    }
}

/// Plays the agents until the line succeeds; what it printed.
fn until(kubectl: &Kubectl, line: &str) -> String {
    eventually(line, || {
        play_agents(kubectl);
        kubectl.attempt(line)
    })
}

const SET: &str = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: d}\nspec:\n  selector: {matchLabels: {app: d}}\n  \
                   updateStrategy: {rollingUpdate: {maxUnavailable: 2}}\n  template:\n    metadata: {labels: {app: d}}\n    \
                   spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: 'img:1'}]}\n";

/// Daemonsets §10: S13, U17, U18, U19, U20, N12, with kubectl's own words.
#[test]
fn daemon_sets_are_rolled_out_undone_restarted_listed_and_spared_by_drains() {
    let plane = ControlPlane::start();
    let kubectl = &plane.kubectl;
    join(kubectl);
    kubectl.feed("create", SET);
    let rolled_out = || until(kubectl, "rollout status daemonset/d --timeout=2s");
    assert!(rolled_out().ends_with("daemon set \"d\" successfully rolled out\n"));
    assert_eq!(
        kubectl.fails("rollout undo daemonset/d"),
        "error: no last revision to roll back to\n"
    );

    // S13: columns and fields.
    let table = kubectl.ok("get ds -o wide");
    let mut lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(
        lines.next().unwrap().join(" "),
        "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE CONTAINERS IMAGES SELECTOR"
    );
    let row = lines.next().unwrap();
    assert_eq!(row[..7], ["d", "2", "2", "2", "2", "2", "<none>"]);
    assert_eq!(row[8..], ["c", "img:1", "app=d"]);
    let nodes = kubectl.ok("get nodes -o wide");
    assert_eq!(
        nodes
            .lines()
            .next()
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME"
    );
    let described = kubectl.ok("describe ds d");
    for part in [
        "Selector:       app=d",
        "Desired Number of Nodes Scheduled: 2",
        "Current Number of Nodes Scheduled: 2",
        "Number of Nodes Scheduled with Up-to-date Pods: 2",
        "Number of Nodes Scheduled with Available Pods: 2",
        "Number of Nodes Misscheduled: 0",
        "Pods Status:  2 Running / 0 Waiting / 0 Succeeded / 0 Failed",
        "SuccessfulCreate",
        "daemonset-controller",
    ] {
        assert!(described.contains(part), "{part}: {described}");
    }

    // U20: the cause stands beside its revision.
    kubectl.ok("annotate ds d kubernetes.io/change-cause=second");
    kubectl.ok("set image ds/d c=img:2");
    rolled_out();
    kubectl.ok("annotate ds d kubernetes.io/change-cause=third --overwrite");
    kubectl.ok("set image ds/d c=img:3");
    rolled_out();
    let history = |line: &str| -> Vec<String> {
        let printed = kubectl.ok(line);
        let rows = printed
            .lines()
            .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
        rows.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    };
    assert_eq!(
        history("rollout history ds/d"),
        ["1 <none>", "2 second", "3 third"]
    );
    let second = kubectl.ok("rollout history ds/d --revision=2");
    assert!(second.contains("img:2"), "{second}");
    assert_eq!(
        kubectl.fails("rollout history ds/d --revision=7"),
        "error: unable to find the specified revision\n"
    );

    // U17: the old revision comes back under the highest number.
    assert_eq!(
        kubectl.ok("rollout undo ds/d --to-revision=1"),
        "daemonset.apps/d rolled back\n"
    );
    rolled_out();
    assert_eq!(
        kubectl.field("ds/d", "/spec/template/spec/containers/0/image"),
        "img:1"
    );
    assert_eq!(
        history("rollout history ds/d"),
        ["2 second", "3 third", "4 <none>"]
    );

    // U18: the running one isn't rolled back to. kubectl compares the bytes that it would write itself, and before 1.34 it
    // wrote `creationTimestamp: null` where servers no longer do: such a one patches with what is there already.
    let minor = kubectl.json("version --client")["clientVersion"]["minor"]
        .as_str()
        .and_then(|minor| minor.trim_end_matches('+').parse::<u32>().ok())
        .unwrap();
    let generation = kubectl.field("ds/d", "/metadata/generation");
    let said = kubectl.ok("rollout undo ds/d --to-revision=4");
    if minor < 34 {
        assert_eq!(said, "daemonset.apps/d rolled back\n");
    } else {
        assert_eq!(
            said,
            "daemonset.apps/d skipped rollback (current template already matches revision 4)\n"
        );
    }
    assert_eq!(kubectl.field("ds/d", "/metadata/generation"), generation);
    assert_eq!(
        history("rollout history ds/d"),
        ["2 second", "3 third", "4 <none>"]
    );
    assert!(
        kubectl
            .fails("rollout undo ds/d --to-revision=9")
            .contains("unable to find specified revision 9 in history")
    );

    // U19: a restart makes a revision and replaces every pod.
    let uids = || {
        let printed = kubectl.ok("get pods -o jsonpath={.items[*].metadata.uid}");
        printed.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let before = uids();
    kubectl.ok("rollout restart ds/d");
    assert!(rolled_out().ends_with("daemon set \"d\" successfully rolled out\n"));
    let after = uids();
    assert_eq!(after.len(), 2);
    assert!(
        after.iter().all(|uid| !before.contains(uid)),
        "{before:?} {after:?}"
    );
    assert_eq!(history("rollout history ds/d").len(), 4);

    // N12: drains leave daemon pods alone.
    kubectl.feed(
        "create",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeName: n1, terminationGracePeriodSeconds: 0, \
         containers: [{name: c, image: i}]}\n",
    );
    let refused = kubectl.fails("drain n1 --force --timeout=20s");
    assert!(
        refused
            .contains("cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): default/d-"),
        "{refused}"
    );
    let drained = kubectl.run("drain n1 --force --ignore-daemonsets --timeout=30s");
    let said = String::from_utf8_lossy(&drained.stderr).into_owned();
    let printed = String::from_utf8_lossy(&drained.stdout).into_owned();
    assert!(drained.status.success(), "{said}");
    assert!(
        said.contains("ignoring DaemonSet-managed Pods: default/d-"),
        "{said}"
    );
    assert!(
        printed.contains("pod/p evicted") && printed.contains("node/n1 drained"),
        "{printed}"
    );
    assert!(kubectl.ok("get node n1").contains("Ready,SchedulingDisabled"));
    let mut left = uids();
    left.sort();
    let mut all = after;
    all.sort();
    assert_eq!(left, all, "the daemon pods are the same");
}
