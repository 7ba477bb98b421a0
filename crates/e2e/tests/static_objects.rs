//! Static pods that use ConfigMaps and Secrets from files, and mirrors that the API server does not take.
#![allow(clippy::unwrap_used)]
use orlop_e2e::{Node, NodeOptions, eventually};

const SETTINGS: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: COLOUR}\n";

/// A pod with its Secret beside it, as `podman kube play` takes it.
const WEB: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {password: sesame}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: orlop.local/busybox:debian
    command: [sh, -c, 'echo "password $PASSWORD"; trap exit TERM; while :; do sleep 0.1; done']
    envFrom: [{secretRef: {name: key}}]
    env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: key, key: password}}}]
    volumeMounts: [{name: settings, mountPath: /settings}]
  volumes:
  - {name: settings, configMap: {name: settings}}
"#;

#[test]
fn static_pods_use_objects_from_files_and_see_their_edits() {
    let node = Node::start(NodeOptions {
        kubelet_configuration: "orlop.dev/staticObjectsPath: etc/kubernetes/static-objects\n".into(),
        ..NodeOptions::default()
    });
    let objects = node.root().join("etc/kubernetes/static-objects");
    std::fs::create_dir_all(&objects).unwrap();
    let write = |colour: &str| {
        let fresh = objects.join(".settings.new");
        std::fs::write(&fresh, SETTINGS.replace("COLOUR", colour)).unwrap();
        std::fs::rename(&fresh, objects.join("settings.yaml")).unwrap();
    };
    write("blue");
    node.write_manifest("web.yaml", WEB);
    let pod = format!("web-{}", node.name);
    node.kubectl
        .ok(&format!("wait --for=create --timeout=60s pod/{pod}"));
    node.kubectl
        .ok(&format!("wait --for=condition=Ready --timeout=60s pod/{pod}"));
    assert_eq!(node.kubectl.ok(&format!("logs {pod}")), "password sesame\n");
    let colour = || node.kubectl.ok(&format!("exec {pod} -- cat /settings/colour"));
    assert_eq!(colour(), "blue");
    let container = node.containers("web");
    write("green");
    eventually("the edit in the volume", || match colour() {
        colour if colour == "green" => Ok(()),
        colour => Err(colour),
    });
    assert_eq!(node.containers("web"), container, "nothing was restarted");
    let annotation = node.kubectl.field(
        &format!("pod/{pod}"),
        "/metadata/annotations/orlop.dev~1static-objects",
    );
    assert_eq!(annotation, "configmap/settings,secret/key");

    let checked = node.orlop(&format!(
        "check --static-objects {} {}",
        objects.display(),
        node.manifest("web.yaml").display()
    ));
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn refused_mirror_pods_are_named_until_the_api_server_takes_them() {
    let node = Node::start(NodeOptions::default());
    node.write_manifest(
        "web.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         containers:\n  - {name: web, image: 'orlop.local/busybox:debian', command: [sh, -c, 'trap exit TERM; while :; do sleep 0.1; done']}\n",
    );
    let status = || String::from_utf8(node.orlop("status").stdout).unwrap();
    eventually("the refusal in orlop status", || {
        let status = status();
        let told =
            status.contains("Running") && status.contains("no mirror pod: namespaces \"shop\" not found");
        told.then_some(()).ok_or(status)
    });
    eventually("the refusal as an event of the node", || {
        let events = node
            .kubectl
            .ok("get events -A --field-selector reason=MirrorPodRefused");
        events
            .contains("namespaces \"shop\" not found")
            .then_some(())
            .ok_or(events)
    });
    node.kubectl.ok("create namespace shop");
    node.kubectl.ok(&format!(
        "wait -n shop --for=create --timeout=60s pod/web-{}",
        node.name
    ));
    eventually("nothing more to tell", || {
        let status = status();
        (!status.contains("no mirror pod")).then_some(()).ok_or(status)
    });
}
