//! Programs that other people wrote, against a whole node: helm's flows, the Python client's calls.
#![allow(clippy::unwrap_used)]
use orlop_e2e::{Clients, Node, NodeOptions};
use std::path::Path;
use std::process::Command;

/// What a program printed; it must succeed.
fn ok(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}

/// A chart with a Deployment and its service account, a hook before it is installed and a test.
fn write_chart(directory: &Path) {
    let files = [
        ("Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.1.0\n"),
        ("values.yaml", "replicas: 1\ntag: debian\n"),
        (
            "templates/web.yaml",
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {name: web}\n\
             spec: {selector: {app: web}, ports: [{port: 80}]}\n---\n\
             apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n\
             spec:\n  replicas: {{ .Values.replicas }}\n  selector: {matchLabels: {app: web}}\n  template:\n\
             \x20   metadata: {labels: {app: web}}\n    spec:\n      serviceAccountName: web\n\
             \x20     terminationGracePeriodSeconds: 0\n\
             \x20     containers: [{name: c, image: 'orlop.local/busybox:{{ .Values.tag }}', command: [sleep, '1000000']}]\n",
        ),
        (
            "templates/hook.yaml",
            "apiVersion: batch/v1\nkind: Job\nmetadata: {name: before, annotations: {helm.sh/hook: pre-install}}\n\
             spec: {template: {spec: {restartPolicy: Never, \
             containers: [{name: c, image: 'orlop.local/busybox:debian', command: ['true']}]}}}\n",
        ),
        (
            "templates/test.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: try, annotations: {helm.sh/hook: test}}\n\
             spec: {restartPolicy: Never, \
             containers: [{name: c, image: 'orlop.local/busybox:debian', command: ['true']}]}\n",
        ),
    ];
    std::fs::create_dir_all(directory.join("templates")).unwrap();
    for (name, text) in files {
        std::fs::write(directory.join(name), text).unwrap();
    }
}

/// helm installs with `--wait` and hooks, upgrades by server-side apply, says what fails, rolls back, tests, uninstalls.
fn helm(node: &Node, clients: &Clients) {
    let chart = node.root().join("chart");
    write_chart(&chart);
    let helm = |line: &str| {
        let mut command = clients.helm(node.root(), &node.kubectl.kubeconfig);
        command.args(line.split_whitespace()).current_dir(node.root());
        command
    };
    ok(&mut helm("install web chart --wait --timeout 60s"));
    assert_eq!(node.kubectl.field("job/before", "/status/succeeded"), "1");
    assert_eq!(
        node.kubectl.field("deployment/web", "/status/availableReplicas"),
        "1"
    );
    ok(&mut helm(
        "upgrade web chart --set replicas=2 --wait --timeout 60s",
    ));
    assert_eq!(
        node.kubectl.field("deployment/web", "/status/availableReplicas"),
        "2"
    );
    // An image that is not there: the upgrade fails and says of what it waited for.
    let failed = helm("upgrade web chart --set tag=none --wait --timeout 5s")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(
        !failed.status.success() && said.contains("Deployment/default/web not ready"),
        "{said}"
    );
    ok(&mut helm("rollback web 1 --wait --timeout 60s"));
    assert_eq!(node.kubectl.field("deployment/web", "/spec/replicas"), "1");
    let history = ok(&mut helm("history web"));
    assert!(
        history.contains("failed") && history.contains("Rollback to 1"),
        "{history}"
    );
    let secrets = node
        .kubectl
        .json("get secrets --field-selector type=helm.sh/release.v1");
    assert_eq!(secrets["items"].as_array().unwrap().len(), 4, "one a revision");
    let tested = ok(&mut helm("test web --timeout 60s"));
    assert!(tested.contains("Succeeded"), "{tested}");
    ok(&mut helm("uninstall web --wait"));
    let left = node
        .kubectl
        .json("get deployments,services,serviceaccounts -l app.kubernetes.io/managed-by=Helm");
    assert_eq!(left["items"].as_array().unwrap().len(), 0);
}

#[test]
fn helm_and_the_python_client_do_their_work() {
    let node = Node::start(NodeOptions::default());
    let clients = Clients::get();
    helm(&node, clients);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python_client.py");
    let mut python = clients.python();
    python.arg(script).arg(&node.kubectl.kubeconfig).arg(&node.name);
    let said = ok(&mut python);
    assert!(said.ends_with("done\n"), "{said}");
}
