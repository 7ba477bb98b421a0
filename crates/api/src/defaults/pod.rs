//! Defaults of pods and pod templates (api-server §12.1).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EnvVar, EphemeralContainer, Lifecycle, ObjectFieldSelector, Pod, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, ResourceFieldSelector, ResourceRequirements,
};
use k8s_openapi::api::core::v1::{ContainerPort, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::volume;
use crate::pod::resources;

/// Fills an absent or empty text.
pub(super) fn fill(field: &mut Option<String>, value: &str) {
    if field.as_deref().is_none_or(str::is_empty) {
        *field = Some(value.to_owned());
    }
}

/// Fills an absent or zero number (where upstream's field cannot tell the two apart).
fn fill_number(field: &mut Option<i32>, value: i32) {
    if field.is_none_or(|n| n == 0) {
        *field = Some(value);
    }
}

/// Everything a Pod object gets: its spec's defaults and those that templates do not get.
pub fn pod(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    for container in spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten())
    {
        requests_from_limits(&mut container.resources);
    }
    pod_level_requests(spec);
    spec.enable_service_links.get_or_insert(true);
    if spec.host_network == Some(true) {
        for container in spec
            .containers
            .iter_mut()
            .chain(spec.init_containers.iter_mut().flatten())
        {
            for port in container.ports.iter_mut().flatten() {
                fill_number(&mut port.host_port, port.container_port);
            }
        }
    }
    pod_spec(spec);
}

/// What a template gets.
pub fn pod_template(template: &mut PodTemplateSpec) {
    if let Some(spec) = &mut template.spec {
        pod_spec(spec);
    }
}

/// What every PodSpec gets, wherever it is.
pub fn pod_spec(spec: &mut PodSpec) {
    fill(&mut spec.dns_policy, "ClusterFirst");
    fill(&mut spec.restart_policy, "Always");
    fill(&mut spec.scheduler_name, "default-scheduler");
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.security_context
        .get_or_insert_with(PodSecurityContext::default);
    // Old and new name of one field: whichever is given, both are answered.
    if spec.service_account_name.as_deref().is_none_or(str::is_empty) {
        spec.service_account_name = spec.service_account.clone().filter(|s| !s.is_empty());
    }
    spec.service_account = spec.service_account_name.clone();
    for c in spec
        .init_containers
        .iter_mut()
        .flatten()
        .chain(&mut spec.containers)
    {
        container(c);
    }
    for c in spec.ephemeral_containers.iter_mut().flatten() {
        ephemeral_container(c);
    }
    for v in spec.volumes.iter_mut().flatten() {
        volume::volume(v);
    }
}

fn container(c: &mut Container) {
    let image = c.image.as_deref().unwrap_or("");
    let policy = pull_policy(image);
    fill(&mut c.image_pull_policy, policy);
    fill(&mut c.termination_message_path, "/dev/termination-log");
    fill(&mut c.termination_message_policy, "File");
    ports(c.ports.as_deref_mut());
    environment(c.env.as_deref_mut());
    for probe in [
        &mut c.liveness_probe,
        &mut c.readiness_probe,
        &mut c.startup_probe,
    ]
    .into_iter()
    .flatten()
    {
        self::probe(probe);
    }
    lifecycle(c.lifecycle.as_mut());
}

fn ephemeral_container(c: &mut EphemeralContainer) {
    let policy = pull_policy(c.image.as_deref().unwrap_or(""));
    fill(&mut c.image_pull_policy, policy);
    fill(&mut c.termination_message_path, "/dev/termination-log");
    fill(&mut c.termination_message_policy, "File");
    ports(c.ports.as_deref_mut());
    environment(c.env.as_deref_mut());
    for probe in [
        &mut c.liveness_probe,
        &mut c.readiness_probe,
        &mut c.startup_probe,
    ]
    .into_iter()
    .flatten()
    {
        self::probe(probe);
    }
    lifecycle(c.lifecycle.as_mut());
}

fn ports(ports: Option<&mut [ContainerPort]>) {
    for port in ports.into_iter().flatten() {
        fill(&mut port.protocol, "TCP");
    }
}

fn environment(variables: Option<&mut [EnvVar]>) {
    for source in variables
        .into_iter()
        .flatten()
        .filter_map(|v| v.value_from.as_mut())
    {
        if let Some(field) = &mut source.field_ref {
            field_ref(field);
        }
        if let Some(resource) = &mut source.resource_field_ref {
            resource_field_ref(resource);
        }
    }
}

pub(super) fn field_ref(field: &mut ObjectFieldSelector) {
    fill(&mut field.api_version, "v1");
}

pub(super) fn resource_field_ref(resource: &mut ResourceFieldSelector) {
    resource.divisor.get_or_insert_with(|| Quantity("0".to_owned()));
}

fn probe(p: &mut Probe) {
    fill_number(&mut p.timeout_seconds, 1);
    fill_number(&mut p.period_seconds, 10);
    fill_number(&mut p.success_threshold, 1);
    fill_number(&mut p.failure_threshold, 3);
    if let Some(get) = &mut p.http_get {
        http_get(get);
    }
    if let Some(grpc) = &mut p.grpc {
        grpc.service.get_or_insert_with(String::new);
    }
}

fn http_get(get: &mut HTTPGetAction) {
    fill(&mut get.path, "/");
    fill(&mut get.scheme, "HTTP");
}

fn lifecycle(lifecycle: Option<&mut Lifecycle>) {
    let Some(lifecycle) = lifecycle else { return };
    for handler in [&mut lifecycle.post_start, &mut lifecycle.pre_stop]
        .into_iter()
        .flatten()
    {
        if let Some(get) = &mut handler.http_get {
            http_get(get);
        }
    }
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

fn requests_from_limits(resources: &mut Option<ResourceRequirements>) {
    let Some(resources) = resources else { return };
    let Some(limits) = resources.limits.as_ref().filter(|l| !l.is_empty()) else {
        return;
    };
    let requests = resources.requests.get_or_insert_with(BTreeMap::new);
    for (key, limit) in limits {
        requests.entry(key.clone()).or_insert_with(|| limit.clone());
    }
}

/// Pod-level requests nobody gave: what the containers ask for, else the pod-level limit.
fn pod_level_requests(spec: &mut PodSpec) {
    let Some(limits) = spec
        .resources
        .as_ref()
        .and_then(|r| r.limits.clone())
        .filter(|l| !l.is_empty())
    else {
        return;
    };
    let asked = resources::container_requests(&PodSpec {
        resources: None,
        ..spec.clone()
    });
    let Some(of_pod) = spec.resources.as_mut() else {
        return;
    };
    let requests = of_pod.requests.get_or_insert_with(BTreeMap::new);
    for (key, limit) in limits.into_iter().filter(|(key, _)| resources::is_pod_level(key)) {
        let from_containers = asked.get(&key).filter(|a| !a.is_zero()).map(|a| a.to_quantity());
        requests
            .entry(key)
            .or_insert_with(|| from_containers.unwrap_or(limit));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn defaulted(spec: Value) -> Value {
        let mut pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
        super::pod(&mut pod);
        let once = serde_json::to_value(&pod).unwrap();
        super::pod(&mut pod);
        assert_eq!(
            serde_json::to_value(&pod).unwrap(),
            once,
            "defaults must be idempotent"
        );
        once["spec"].clone()
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
        let mut template: PodTemplateSpec = serde_json::from_value(json!({"spec": {"hostNetwork": true, "containers": [
            {"name": "c", "image": "i", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}}}]}}))
        .unwrap();
        pod_template(&mut template);
        let spec = serde_json::to_value(template.spec.unwrap()).unwrap();
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
