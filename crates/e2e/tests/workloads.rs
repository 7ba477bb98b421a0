//! What people do with kubectl to workloads, against a control plane without a node: the test plays
//! the node agent.
#![allow(clippy::unwrap_used)]
use orlop_e2e::{ControlPlane, Kubectl, eventually};

/// Makes all pods that aren't ready run; those of image `done` end well.
fn play_agent(kubectl: &Kubectl) {
    let pods = kubectl.json("get pods");
    for pod in pods["items"].as_array().unwrap() {
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        if phase != "Pending" && !phase.is_empty() {
            continue;
        }
        let name = pod["metadata"]["name"].as_str().unwrap();
        let phase = match pod["spec"]["containers"][0]["image"].as_str() {
            Some("done") => "Succeeded",
            _ => "Running",
        };
        let patch = format!(
            r#"{{"status":{{"phase":"{phase}","podIP":"10.1.0.1","podIPs":[{{"ip":"10.1.0.1"}}],"conditions":[{{"type":"Ready","status":"True"}}]}}}}"#
        );
        // It may be gone by now.
        kubectl.run(&format!(
            "patch pod {name} --subresource=status --type=merge -p={patch}"
        ));
    }
}

/// Plays the agent until the line succeeds; what it printed.
fn until(kubectl: &Kubectl, line: &str) -> String {
    eventually(line, || {
        play_agent(kubectl);
        kubectl.attempt(line)
    })
}

#[test]
fn a_deployment_is_rolled_out_paused_undone_restarted_and_scaled() {
    let plane = ControlPlane::start();
    let kubectl = &plane.kubectl;
    let rolled_out = || until(kubectl, "rollout status deployment/web --timeout=1s");
    kubectl.ok("create deployment web --image=nginx:1 --replicas=2 --port=80");
    assert!(rolled_out().contains("successfully rolled out"));
    kubectl.ok("set image deployment/web nginx=nginx:2");
    rolled_out();
    let history = kubectl.ok("rollout history deployment/web");
    let revisions: Vec<&str> = history
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(revisions.ends_with(&["1", "2"]), "{history}");
    let second = kubectl.ok("rollout history deployment/web --revision=2");
    assert!(second.contains("nginx:2"), "{second}");

    kubectl.ok("rollout undo deployment/web");
    rolled_out();
    let image = "/spec/template/spec/containers/0/image";
    assert_eq!(kubectl.field("deployment/web", image), "nginx:1");
    let annotation = "/metadata/annotations/deployment.kubernetes.io~1revision";
    assert_eq!(kubectl.field("deployment/web", annotation), "3");

    kubectl.ok("rollout pause deployment/web");
    kubectl.ok("set image deployment/web nginx=nginx:3");
    kubectl.ok("scale deployment/web --replicas=3");
    eventually("three pods of the old image", || {
        play_agent(kubectl);
        let ready = kubectl.field("deployment/web", "/status/readyReplicas");
        (ready == "3").then_some(()).ok_or(ready)
    });
    assert!(!kubectl.ok("get pods -o yaml").contains("image: nginx:3"));
    kubectl.ok("rollout resume deployment/web");
    rolled_out();
    kubectl.ok("rollout restart deployment/web");
    rolled_out();
    let events = kubectl.ok("get events --field-selector reason=ScalingReplicaSet");
    assert!(events.contains("Scaled up replica set web-"), "{events}");

    kubectl.ok("expose deployment web --name=svc --target-port=80");
    eventually("endpoints", || {
        let slices = kubectl.ok("get endpointslices -l kubernetes.io/service-name=svc");
        slices.contains("10.1.0.1").then_some(()).ok_or(slices)
    });
    kubectl.ok("delete deployment web --wait=false");
    eventually("nothing left", || {
        let left = kubectl.ok("get replicasets -o name");
        left.is_empty().then_some(()).ok_or(left)
    });
}

#[test]
fn stateful_sets_and_jobs_are_waited_for() {
    let plane = ControlPlane::start();
    let kubectl = &plane.kubectl;
    let set = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec:\n  replicas: 2\n  serviceName: db\n  \
               selector: {matchLabels: {app: db}}\n  template:\n    metadata: {labels: {app: db}}\n    \
               spec: {containers: [{name: c, image: 'db:1'}]}\n";
    kubectl.feed("apply", set);
    let status = until(kubectl, "rollout status statefulset/db --timeout=1s");
    assert!(status.contains("complete"), "{status}");
    assert_eq!(kubectl.field("statefulset/db", "/status/readyReplicas"), "2");

    kubectl.ok("create job once --image=done");
    until(kubectl, "wait --for=condition=Complete job/once --timeout=1s");
    let jobs = kubectl.ok("get jobs");
    assert!(jobs.contains("Complete") && jobs.contains("1/1"), "{jobs}");
    kubectl.ok("create cronjob often --image=done --schedule=@yearly");
    kubectl.ok("create job now --from=cronjob/often");
    until(kubectl, "wait --for=condition=Complete job/now --timeout=1s");
}
