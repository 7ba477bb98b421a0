//! Pods on create: the rules a manifest or a request runs into (contract, API server §12.3).
use super::{FieldError, NameRule, object_meta, scheduling};
use crate::annotations::CONFIG_MIRROR;
use crate::names::{check_dns_label, check_dns_subdomain, check_env_name, check_port_name};
use crate::quantity::amount;
use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod, PodSpec, Probe, Volume, VolumeMount};
use std::collections::HashSet;

const PORT_HINT: &str = "must be between 1 and 65535, inclusive";

/// Every error of a new pod, in order of its fields.
pub fn pod_create(pod: &Pod) -> Vec<FieldError> {
    let mut errors = object_meta(&pod.metadata, true, NameRule::DnsSubdomain);
    let Some(spec) = &pod.spec else {
        errors.push(FieldError::required("spec", ""));
        return errors;
    };
    let mirror = pod
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|all| all.contains_key(CONFIG_MIRROR));
    if mirror && spec.node_name.as_deref().unwrap_or_default().is_empty() {
        let field = format!("metadata.annotations[{CONFIG_MIRROR}]");
        errors.push(FieldError::invalid(
            field,
            "",
            "must set spec.nodeName if mirror pod annotation is set",
        ));
    }
    if mirror
        && spec
            .resource_claims
            .as_ref()
            .is_some_and(|claims| !claims.is_empty())
    {
        let hint = "static pods do not support resource claims";
        errors.push(FieldError::forbidden("spec.resourceClaims", hint));
    }
    errors.extend(pod_spec(spec));
    let gated = spec
        .scheduling_gates
        .as_ref()
        .is_some_and(|gates| !gates.is_empty());
    if gated && !spec.node_name.as_deref().unwrap_or_default().is_empty() {
        let hint = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden("spec.nodeName", hint));
    }
    if spec
        .ephemeral_containers
        .as_ref()
        .is_some_and(|list| !list.is_empty())
    {
        errors.push(FieldError::forbidden(
            "spec.ephemeralContainers",
            "cannot be set on create",
        ));
    }
    errors
}

/// What any pod's spec must obey, in a pod or in a template; fields start at `spec`.
pub fn pod_spec(spec: &PodSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_spec(spec, &mut errors);
    errors.extend(scheduling::check(spec));
    errors
}

fn check_spec(spec: &PodSpec, errors: &mut Vec<FieldError>) {
    let volumes = check_volumes(spec, errors);
    if spec.containers.is_empty() {
        errors.push(FieldError::required("spec.containers", ""));
    }
    let mut names = HashSet::new();
    for (list, containers) in [
        (
            "spec.initContainers",
            spec.init_containers.as_deref().unwrap_or_default(),
        ),
        ("spec.containers", spec.containers.as_slice()),
    ] {
        for (index, container) in containers.iter().enumerate() {
            let path = format!("{list}[{index}]");
            check_container(container, &path, &volumes, errors);
            if !container.name.is_empty() && !names.insert(container.name.as_str()) {
                errors.push(FieldError::duplicate(format!("{path}.name"), &container.name));
            }
            if list == "spec.initContainers" {
                check_init_container(container, &path, errors);
            }
        }
    }
    check_host_ports(spec, errors);
    one_of(
        errors,
        "spec.restartPolicy",
        spec.restart_policy.as_deref(),
        &["Always", "OnFailure", "Never"],
    );
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(errors, "spec.dnsPolicy", spec.dns_policy.as_deref(), &policies);
    if let Some(node) = spec.node_name.as_deref().filter(|name| !name.is_empty()) {
        for hint in check_dns_subdomain(node) {
            errors.push(FieldError::invalid("spec.nodeName", node, &hint));
        }
    }
    if spec.active_deadline_seconds.is_some_and(|seconds| seconds < 1) {
        let hint = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(
            "spec.activeDeadlineSeconds",
            spec.active_deadline_seconds,
            hint,
        ));
    }
    if spec
        .termination_grace_period_seconds
        .is_some_and(|seconds| seconds < 0)
    {
        let hint = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(
            "spec.terminationGracePeriodSeconds",
            spec.termination_grace_period_seconds,
            hint,
        ));
    }
}

fn one_of(errors: &mut Vec<FieldError>, field: &str, value: Option<&str>, supported: &[&str]) {
    match value {
        None | Some("") => errors.push(FieldError::required(field, "")),
        Some(value) if !supported.contains(&value) => {
            errors.push(FieldError::not_supported(field, value, supported));
        }
        Some(_) => {}
    }
}

fn check_volumes(spec: &PodSpec, errors: &mut Vec<FieldError>) -> HashSet<String> {
    let mut names = HashSet::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let path = format!("spec.volumes[{index}]");
        check_label_name(&volume.name, &path, errors);
        if !volume.name.is_empty() && !names.insert(volume.name.clone()) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &volume.name));
        }
        match sources(volume) {
            0 => errors.push(FieldError::required(path.clone(), "must specify a volume type")),
            1 => {}
            _ => errors.push(FieldError::forbidden(
                path.clone(),
                "may not specify more than 1 volume type",
            )),
        }
        if let Some(host) = &volume.host_path {
            let field = format!("{path}.hostPath.path");
            if host.path.is_empty() {
                errors.push(FieldError::required(field, ""));
            } else if host.path.split('/').any(|part| part == "..") {
                errors.push(FieldError::invalid(field, &host.path, "must not contain '..'"));
            }
            let types = [
                "",
                "DirectoryOrCreate",
                "Directory",
                "FileOrCreate",
                "File",
                "Socket",
                "CharDevice",
                "BlockDevice",
            ];
            if let Some(kind) = host.type_.as_deref().filter(|kind| !types.contains(kind)) {
                errors.push(FieldError::not_supported(
                    format!("{path}.hostPath.type"),
                    kind,
                    &types,
                ));
            }
        }
    }
    names
}

/// How many sources a volume names.
fn sources(volume: &Volume) -> usize {
    let value = serde_json::to_value(volume).unwrap_or_default();
    value
        .as_object()
        .map_or(0, |fields| fields.keys().filter(|key| *key != "name").count())
}

fn check_label_name(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    let field = format!("{path}.name");
    if name.is_empty() {
        errors.push(FieldError::required(field, ""));
        return;
    }
    for hint in check_dns_label(name) {
        errors.push(FieldError::invalid(field.clone(), name, &hint));
    }
}

fn check_container(
    container: &Container,
    path: &str,
    volumes: &HashSet<String>,
    errors: &mut Vec<FieldError>,
) {
    check_label_name(&container.name, path, errors);
    match container.image.as_deref() {
        None | Some("") => errors.push(FieldError::required(format!("{path}.image"), "")),
        Some(image) if image.trim() != image => {
            let hint = "must not have leading or trailing whitespace";
            errors.push(FieldError::invalid(format!("{path}.image"), image, hint));
        }
        Some(_) => {}
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    one_of(
        errors,
        &format!("{path}.imagePullPolicy"),
        container.image_pull_policy.as_deref(),
        &policies,
    );
    for (index, port) in container.ports.iter().flatten().enumerate() {
        check_port(port, &format!("{path}.ports[{index}]"), errors);
    }
    for (index, variable) in container.env.iter().flatten().enumerate() {
        let field = format!("{path}.env[{index}]");
        if variable.name.is_empty() {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        }
        for hint in check_env_name(&variable.name)
            .into_iter()
            .filter(|_| !variable.name.is_empty())
        {
            errors.push(FieldError::invalid(
                format!("{field}.name"),
                &variable.name,
                &hint,
            ));
        }
        if variable.value_from.is_some() && variable.value.as_deref().is_some_and(|value| !value.is_empty()) {
            let hint = "may not be specified when `value` is not empty";
            errors.push(FieldError::invalid(format!("{field}.valueFrom"), "", hint));
        }
    }
    check_mounts(
        container.volume_mounts.as_deref().unwrap_or_default(),
        path,
        volumes,
        errors,
    );
    check_resources(container, path, errors);
    for (name, probe) in [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ] {
        if let Some(probe) = probe {
            check_probe(probe, &format!("{path}.{name}"), name == "readinessProbe", errors);
        }
    }
}

/// A plain init container runs to its end: nothing may probe or hook it.
fn check_init_container(container: &Container, path: &str, errors: &mut Vec<FieldError>) {
    if crate::pod::is_sidecar(container) {
        return;
    }
    for (name, set) in [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ] {
        if set {
            let hint = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(format!("{path}.{name}"), hint));
        }
    }
}

fn check_port(port: &ContainerPort, path: &str, errors: &mut Vec<FieldError>) {
    let valid = |number: i32| (1..=65535).contains(&number);
    if port.container_port == 0 {
        errors.push(FieldError::required(format!("{path}.containerPort"), ""));
    } else if !valid(port.container_port) {
        errors.push(FieldError::invalid(
            format!("{path}.containerPort"),
            port.container_port,
            PORT_HINT,
        ));
    }
    if let Some(host) = port.host_port.filter(|host| *host != 0 && !valid(*host)) {
        errors.push(FieldError::invalid(format!("{path}.hostPort"), host, PORT_HINT));
    }
    if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
        for hint in check_port_name(name) {
            errors.push(FieldError::invalid(format!("{path}.name"), name, &hint));
        }
    }
    one_of(
        errors,
        &format!("{path}.protocol"),
        port.protocol.as_deref(),
        &["TCP", "UDP", "SCTP"],
    );
}

fn check_mounts(mounts: &[VolumeMount], path: &str, volumes: &HashSet<String>, errors: &mut Vec<FieldError>) {
    let mut places = HashSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        if mount.name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !volumes.contains(&mount.name) {
            errors.push(FieldError::not_found(format!("{path}.name"), &mount.name));
        }
        if mount.mount_path.is_empty() {
            errors.push(FieldError::required(format!("{path}.mountPath"), ""));
        } else if !places.insert(&mount.mount_path) {
            errors.push(FieldError::invalid(
                format!("{path}.mountPath"),
                &mount.mount_path,
                "must be unique",
            ));
        }
    }
}

fn check_resources(container: &Container, path: &str, errors: &mut Vec<FieldError>) {
    let Some(resources) = &container.resources else {
        return;
    };
    for (name, request) in resources.requests.iter().flatten() {
        let Some(limit) = resources.limits.as_ref().and_then(|limits| limits.get(name)) else {
            continue;
        };
        if amount(request) > amount(limit) {
            let hint = format!("must be less than or equal to {name} limit of {}", limit.0);
            errors.push(FieldError::invalid(
                format!("{path}.resources.requests"),
                &request.0,
                &hint,
            ));
        }
    }
}

fn check_probe(probe: &Probe, path: &str, readiness: bool, errors: &mut Vec<FieldError>) {
    let handlers = [
        probe.exec.is_some(),
        probe.http_get.is_some(),
        probe.tcp_socket.is_some(),
        probe.grpc.is_some(),
    ];
    match handlers.iter().filter(|set| **set).count() {
        0 => errors.push(FieldError::required(path, "must specify a handler type")),
        1 => {}
        _ => errors.push(FieldError::forbidden(
            path,
            "may not specify more than 1 handler type",
        )),
    }
    if !readiness && probe.success_threshold.is_some_and(|threshold| threshold != 1) {
        errors.push(FieldError::invalid(
            format!("{path}.successThreshold"),
            probe.success_threshold,
            "must be 1",
        ));
    }
}

/// Two containers of one pod can't have the same port of the node.
fn check_host_ports(spec: &PodSpec, errors: &mut Vec<FieldError>) {
    let mut taken = HashSet::new();
    for (at, container) in spec.containers.iter().enumerate() {
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let Some(host) = port.host_port.filter(|host| *host != 0) else {
                continue;
            };
            let key = (
                host,
                port.protocol.clone(),
                port.host_ip.clone().unwrap_or_default(),
            );
            if !taken.insert(key) {
                let field = format!("spec.containers[{at}].ports[{index}].hostPort");
                errors.push(FieldError::duplicate(field, host));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(spec: serde_json::Value) -> Vec<String> {
        let object = serde_json::json!({"metadata": {"name": "p", "namespace": "d"}, "spec": spec});
        let mut pod: Pod = serde_json::from_value(object).unwrap();
        crate::defaults::pod(&mut pod);
        pod_create(&pod).iter().map(ToString::to_string).collect()
    }

    fn container(extra: serde_json::Value) -> serde_json::Value {
        let mut container = serde_json::json!({"name": "c", "image": "i:1"});
        container
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        serde_json::json!({"containers": [container]})
    }

    #[test]
    fn good_pod_has_no_errors() {
        assert_eq!(errors(container(serde_json::json!({}))), Vec::<String>::new());
    }

    #[test]
    fn what_users_hit_is_told_with_its_field() {
        let cases = [
            (
                serde_json::json!({"containers": []}),
                "spec.containers: Required value",
            ),
            (
                container(serde_json::json!({"image": ""})),
                "spec.containers[0].image: Required value",
            ),
            (
                container(serde_json::json!({"ports": [{"containerPort": 70000}]})),
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ),
            (
                container(serde_json::json!({"volumeMounts": [{"name": "nov", "mountPath": "/x"}]})),
                "spec.containers[0].volumeMounts[0].name: Not found: \"nov\"",
            ),
            (
                container(
                    serde_json::json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
                ),
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ),
            (
                container(
                    serde_json::json!({"livenessProbe": {"successThreshold": 2, "exec": {"command": ["x"]}}}),
                ),
                "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
            ),
        ];
        for (spec, expected) in cases {
            let found = errors(spec);
            assert!(
                found.iter().any(|error| error == expected),
                "{expected}\n{found:?}"
            );
        }
    }

    #[test]
    fn a46_mirror_needs_a_node() {
        let object = serde_json::json!({
            "metadata": {"name": "p", "namespace": "d", "annotations": {CONFIG_MIRROR: "h"}},
            "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
        let mut pod: Pod = serde_json::from_value(object).unwrap();
        crate::defaults::pod(&mut pod);
        let found = pod_create(&pod);
        assert!(
            found[0]
                .to_string()
                .contains("must set spec.nodeName if mirror pod annotation is set"),
            "{found:?}"
        );
    }
}
