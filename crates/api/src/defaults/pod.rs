//! Defaults of pods and pod templates (api-server §12.1).

use k8s_openapi::api::core::v1::PodSpec;
use serde::Deserialize;
use serde_json::Value;

use super::tree::{Object, fill, fill_number, fill_text, made, object, objects, text};
use super::volume;
use crate::pod::resources;

/// Containers of a PodSpec that run by themselves.
const CONTAINERS: [&str; 2] = ["containers", "initContainers"];
const EPHEMERAL_CONTAINERS: &str = "ephemeralContainers";

/// Everything a Pod object gets: its spec's defaults and those that templates do not get.
pub fn pod(pod: &mut Value) {
    let Some(spec) = spec(pod) else { return };
    for kind in CONTAINERS {
        objects(spec, kind).for_each(requests_from_limits);
    }
    pod_level_requests(spec);
    fill(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        for kind in CONTAINERS {
            for port in objects(spec, kind).flat_map(|container| objects(container, "ports")) {
                let inside = port.get("containerPort").and_then(Value::as_i64);
                fill_number(port, "hostPort", inside.unwrap_or_default());
            }
        }
    }
    pod_spec(spec);
}

/// What a template gets.
pub fn pod_template(template: &mut Value) {
    if let Some(spec) = spec(template) {
        pod_spec(spec);
    }
}

fn spec(of: &mut Value) -> Option<&mut Object> {
    object(of.as_object_mut()?, "spec")
}

/// What every PodSpec gets, wherever it is.
fn pod_spec(spec: &mut Object) {
    fill_text(spec, "dnsPolicy", "ClusterFirst");
    fill_text(spec, "restartPolicy", "Always");
    fill_text(spec, "schedulerName", "default-scheduler");
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "securityContext", Object::new());
    accounts(spec);
    for kind in CONTAINERS.into_iter().chain([EPHEMERAL_CONTAINERS]) {
        objects(spec, kind).for_each(container);
    }
    objects(spec, "volumes").for_each(volume::volume);
}

/// Old and new name of one field: whichever is given, both are answered.
fn accounts(spec: &mut Object) {
    let names = ["serviceAccountName", "serviceAccount"];
    let given = names.map(|name| text(spec, name));
    let given = given.into_iter().find(|account| !account.is_empty());
    let given = given.map(str::to_owned);
    for name in names {
        match &given {
            Some(account) if text(spec, name) == account => {}
            Some(account) => drop(spec.insert(name.to_owned(), account.as_str().into())),
            None => drop(spec.remove(name)),
        }
    }
}

/// What containers of every kind get.
fn container(container: &mut Object) {
    let policy = pull_policy(text(container, "image"));
    fill_text(container, "imagePullPolicy", policy);
    fill_text(container, "terminationMessagePath", "/dev/termination-log");
    fill_text(container, "terminationMessagePolicy", "File");
    for port in objects(container, "ports") {
        fill_text(port, "protocol", "TCP");
    }
    for variable in objects(container, "env") {
        if let Some(source) = object(variable, "valueFrom") {
            references(source);
        }
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(of_kind) = object(container, kind) {
            probe(of_kind);
        }
    }
    if let Some(lifecycle) = object(container, "lifecycle") {
        for moment in ["postStart", "preStop"] {
            if let Some(get) = object(lifecycle, moment).and_then(|handler| object(handler, "httpGet")) {
                http_get(get);
            }
        }
    }
}

/// References to fields of the pod and to resources of its containers.
pub(super) fn references(source: &mut Object) {
    if let Some(field) = object(source, "fieldRef") {
        fill_text(field, "apiVersion", "v1");
    }
    if let Some(resource) = object(source, "resourceFieldRef") {
        fill(resource, "divisor", "0");
    }
}

fn probe(probe: &mut Object) {
    fill_number(probe, "timeoutSeconds", 1);
    fill_number(probe, "periodSeconds", 10);
    fill_number(probe, "successThreshold", 1);
    fill_number(probe, "failureThreshold", 3);
    if let Some(get) = object(probe, "httpGet") {
        http_get(get);
    }
    if let Some(grpc) = object(probe, "grpc") {
        fill(grpc, "service", "");
    }
}

fn http_get(get: &mut Object) {
    fill_text(get, "path", "/");
    fill_text(get, "scheme", "HTTP");
}

/// `Always` for a floating tag, `IfNotPresent` for a fixed one.
pub(super) fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let last = name.rsplit('/').next().unwrap_or("");
    let floating = match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => digest.is_none() && !image.is_empty(),
    };
    if floating { "Always" } else { "IfNotPresent" }
}

fn requests_from_limits(container: &mut Object) {
    let Some(resources) = object(container, "resources") else {
        return;
    };
    let Some(Value::Object(limits)) = resources
        .get("limits")
        .filter(|limits| !is_empty(limits))
        .cloned()
    else {
        return;
    };
    let Some(requests) = made(resources, "requests") else {
        return;
    };
    for (resource, limit) in limits {
        requests.entry(resource).or_insert(limit);
    }
}

/// Pod-level requests nobody gave: what the containers ask for, else the pod-level limit.
fn pod_level_requests(spec: &mut Object) {
    let limits = spec.get("resources").and_then(|of_pod| of_pod.get("limits"));
    let Some(Value::Object(limits)) = limits.filter(|limits| !is_empty(limits)).cloned() else {
        return;
    };
    let mut containers = spec.clone();
    containers.remove("resources");
    // What doesn't have its type is refused elsewhere.
    let containers = PodSpec::deserialize(Value::Object(containers)).unwrap_or_default();
    let asked = resources::container_requests(&containers);
    let Some(requests) = object(spec, "resources").and_then(|of_pod| made(of_pod, "requests")) else {
        return;
    };
    for (resource, limit) in limits {
        if resources::is_pod_level(&resource) && !requests.contains_key(&resource) {
            let from_containers = asked.get(&resource).filter(|amount| !amount.is_zero());
            let request = from_containers.map_or(limit, |amount| amount.to_quantity().0.into());
            requests.insert(resource, request);
        }
    }
}

fn is_empty(members: &Value) -> bool {
    members.as_object().is_none_or(Object::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn defaulted(spec: Value) -> Value {
        let mut pod = json!({"spec": spec});
        super::pod(&mut pod);
        let mut twice = pod.clone();
        super::pod(&mut twice);
        assert_eq!(pod, twice, "defaults must be idempotent");
        pod["spec"].clone()
    }

    #[test]
    fn a_minimal_pod_gets_everything() {
        assert_eq!(
            defaulted(json!({"containers": [{"name": "c", "image": "nginx"}]})),
            json!({
                "containers": [{"name": "c", "image": "nginx", "imagePullPolicy": "Always",
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
                "securityContext": {}, "schedulerName": "default-scheduler", "enableServiceLinks": true,
            })
        );
    }

    #[test]
    fn pull_policy_by_tag() {
        for (image, want) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.25", "IfNotPresent"),
            ("host:5000/x", "Always"),
            ("host:5000/x:1", "IfNotPresent"),
            ("x@sha256:abc", "IfNotPresent"),
            ("x:latest@sha256:abc", "Always"),
            ("host:5000/x@sha256:abc", "IfNotPresent"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(super::pull_policy(image), want, "{image}");
        }
    }

    #[test]
    fn probes_ports_env_and_requests() {
        let got = defaulted(
            json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i:1",
            "ports": [{"containerPort": 80}, {"containerPort": 81, "hostPort": 8081}],
            "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
            "livenessProbe": {"httpGet": {"port": 80}}, "readinessProbe": {"grpc": {"port": 1}, "timeoutSeconds": 7},
            "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}}]}),
        );
        let c = &got["containers"][0];
        assert_eq!(
            c["ports"],
            json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}, {"containerPort": 81, "hostPort": 8081, "protocol": "TCP"}])
        );
        assert_eq!(c["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
        assert_eq!(c["env"][1]["valueFrom"]["resourceFieldRef"]["divisor"], "0");
        assert_eq!(
            c["livenessProbe"],
            json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3})
        );
        assert_eq!(c["readinessProbe"]["grpc"]["service"], "");
        assert_eq!(c["readinessProbe"]["timeoutSeconds"], 7);
        assert_eq!(c["lifecycle"]["preStop"]["httpGet"]["path"], "/");
        assert_eq!(
            c["resources"]["requests"],
            json!({"cpu": "500m", "memory": "1Gi"})
        );
    }

    #[test]
    fn templates_do_not_get_what_only_pods_get() {
        let mut template = json!({"spec": {"hostNetwork": true, "containers": [
            {"name": "c", "image": "i", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}}}]}});
        pod_template(&mut template);
        let spec = &template["spec"];
        assert_eq!(spec["enableServiceLinks"], Value::Null);
        assert_eq!(spec["containers"][0]["ports"][0]["hostPort"], Value::Null);
        assert_eq!(spec["containers"][0]["resources"]["requests"], Value::Null);
        assert_eq!(spec["restartPolicy"], "Always");
    }

    #[test]
    fn service_account_has_two_names() {
        let got = defaulted(json!({"containers": [], "serviceAccount": "x"}));
        assert_eq!(
            (got["serviceAccountName"].as_str(), got["serviceAccount"].as_str()),
            (Some("x"), Some("x"))
        );
    }

    #[test]
    fn pod_level_requests_come_from_containers_or_limits() {
        let got = defaulted(
            json!({"resources": {"limits": {"cpu": "2", "memory": "2Gi"}}, "containers": [
            {"name": "a", "image": "i", "resources": {"requests": {"cpu": "250m"}}},
            {"name": "b", "image": "i", "resources": {"requests": {"cpu": "250m"}}}]}),
        );
        assert_eq!(
            got["resources"]["requests"],
            json!({"cpu": "500m", "memory": "2Gi"})
        );
    }
}
