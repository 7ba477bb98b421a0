//! One container of a pod or a template (contract, API server §12.3).
use super::FieldError;
use crate::names::{check_dns_label, check_env_name, check_port_name, check_qualified_name};
use crate::quantity::amount;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, LifecycleHandler, Probe, ResourceRequirements, SecurityContext,
    VolumeMount,
};
use std::collections::HashSet;

const PORT_HINT: &str = "must be between 1 and 65535, inclusive";
/// Resources of a container without a domain of their own, beside `hugepages-<size>`.
const RESOURCES: &[&str] = &["cpu", "memory", "ephemeral-storage"];
/// Names without a domain that some object or other has resources of.
const ELSEWHERE: &[&str] = &[
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "services.nodeports",
    "services.loadbalancers",
];
/// Fields of a pod that a variable may have the value of, beside single labels and annotations.
const VARIABLE_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

pub(super) fn check_label_name(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    let field = format!("{path}.name");
    if name.is_empty() {
        errors.push(FieldError::required(field, ""));
        return;
    }
    for hint in check_dns_label(name) {
        errors.push(FieldError::invalid(field.clone(), name, &hint));
    }
}

pub(super) fn check_container(
    container: &Container,
    path: &str,
    volumes: &HashSet<String>,
    errors: &mut Vec<FieldError>,
) {
    check_label_name(&container.name, path, errors);
    if container.image.as_deref().unwrap_or_default().is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    }
    if let Some(policy) = container.termination_message_policy.as_deref() {
        let field = format!("{path}.terminationMessagePolicy");
        one_of(errors, &field, Some(policy), &["FallbackToLogsOnError", "File"]);
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    one_of(
        errors,
        &format!("{path}.imagePullPolicy"),
        container.image_pull_policy.as_deref(),
        &policies,
    );
    let mut names = HashSet::new();
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let path = format!("{path}.ports[{index}]");
        check_port(port, &path, errors);
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() && !names.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
    }
    for (index, variable) in container.env.iter().flatten().enumerate() {
        check_variable(variable, &format!("{path}.env[{index}]"), errors);
    }
    check_mounts(
        container.volume_mounts.as_deref().unwrap_or_default(),
        path,
        volumes,
        errors,
    );
    if let Some(amounts) = &container.resources {
        errors.extend(resources(amounts, path));
    }
    if let Some(context) = &container.security_context {
        check_security(context, &format!("{path}.securityContext"), errors);
    }
    if let Some(lifecycle) = &container.lifecycle {
        for (name, handler) in [
            ("postStart", &lifecycle.post_start),
            ("preStop", &lifecycle.pre_stop),
        ] {
            if let Some(handler) = handler {
                check_handler(handler, &format!("{path}.lifecycle.{name}"), errors);
            }
        }
    }
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

/// A sleep before the stop is part of the pod's grace.
pub(super) fn check_sleeps(container: &Container, path: &str, grace: i64, errors: &mut Vec<FieldError>) {
    let Some(lifecycle) = &container.lifecycle else {
        return;
    };
    for (name, handler) in [
        ("postStart", &lifecycle.post_start),
        ("preStop", &lifecycle.pre_stop),
    ] {
        let sleep = handler.as_ref().and_then(|handler| handler.sleep.as_ref());
        let seconds = sleep.map(|sleep| sleep.seconds);
        if let Some(seconds) = seconds.filter(|seconds| !(0..=grace).contains(seconds)) {
            let hint =
                format!("must be non-negative integer less than terminationGracePeriodSeconds ({grace})");
            let field = format!("{path}.lifecycle.{name}.sleep");
            errors.push(FieldError::invalid(field, seconds, &hint));
        }
    }
}

/// Which signals there are depends on the operating system, so the pod has to name it.
pub(super) fn check_stop_signal(
    container: &Container,
    path: &str,
    os: Option<&str>,
    errors: &mut Vec<FieldError>,
) {
    let lifecycle = container.lifecycle.as_ref();
    let Some(signal) = lifecycle.and_then(|lifecycle| lifecycle.stop_signal.as_deref()) else {
        return;
    };
    let field = format!("{path}.lifecycle.stopSignal");
    let Some(os) = os.filter(|os| !os.is_empty()) else {
        let hint = "may not be set for containers with empty `spec.os.name`";
        errors.push(FieldError::forbidden(field, hint));
        return;
    };
    let names = crate::signals::names(os);
    if !names.contains(&signal) {
        errors.push(FieldError::not_supported(field, signal, &names));
    }
}

/// A plain init container runs to its end: nothing may probe or hook it.
pub(super) fn check_init_container(container: &Container, path: &str, errors: &mut Vec<FieldError>) {
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
        &["SCTP", "TCP", "UDP"],
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

/// The amounts that a container asks for; its fields start at `path`.
pub fn resources(resources: &ResourceRequirements, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (part, amounts) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        for (name, quantity) in amounts.iter().flatten() {
            let field = format!("{path}.resources.{part}[{name}]");
            check_resource_name(name, &field, &mut errors);
            if amount(quantity).is_negative() {
                let hint = "must be greater than or equal to 0";
                errors.push(FieldError::invalid(field, &quantity.0, hint));
            }
        }
    }
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
    errors
}

fn check_probe(probe: &Probe, path: &str, readiness: bool, errors: &mut Vec<FieldError>) {
    let handlers = [
        ("exec", probe.exec.is_some()),
        ("httpGet", probe.http_get.is_some()),
        ("tcpSocket", probe.tcp_socket.is_some()),
        ("grpc", probe.grpc.is_some()),
    ];
    check_handlers(&handlers, path, errors);
    for (name, number) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        if let Some(number) = number.filter(|number| *number < 0) {
            let hint = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(format!("{path}.{name}"), number, hint));
        }
    }
    if let Some(grace) = probe.termination_grace_period_seconds {
        let field = format!("{path}.terminationGracePeriodSeconds");
        if readiness {
            errors.push(FieldError::invalid(
                field,
                grace,
                "must not be set for readinessProbes",
            ));
        } else if grace <= 0 {
            errors.push(FieldError::invalid(field, grace, "must be greater than 0"));
        }
    }
    if !readiness && probe.success_threshold.is_some_and(|threshold| threshold != 1) {
        errors.push(FieldError::invalid(
            format!("{path}.successThreshold"),
            probe.success_threshold,
            "must be 1",
        ));
    }
}

fn check_handler(handler: &LifecycleHandler, path: &str, errors: &mut Vec<FieldError>) {
    let handlers = [
        ("exec", handler.exec.is_some()),
        ("httpGet", handler.http_get.is_some()),
        ("tcpSocket", handler.tcp_socket.is_some()),
        ("sleep", handler.sleep.is_some()),
    ];
    check_handlers(&handlers, path, errors);
}

/// Exactly one of them is set.
fn check_handlers(handlers: &[(&str, bool)], path: &str, errors: &mut Vec<FieldError>) {
    let mut set = handlers.iter().filter(|(_, set)| *set);
    if set.next().is_none() {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
    let hint = "may not specify more than 1 handler type";
    errors.extend(set.map(|(name, _)| FieldError::forbidden(format!("{path}.{name}"), hint)));
}

fn check_variable(variable: &EnvVar, path: &str, errors: &mut Vec<FieldError>) {
    let field = format!("{path}.name");
    if variable.name.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else {
        let hints = check_env_name(&variable.name).into_iter();
        errors.extend(hints.map(|hint| FieldError::invalid(field.clone(), &variable.name, &hint)));
    }
    let Some(source) = &variable.value_from else {
        return;
    };
    if variable.value.as_deref().is_some_and(|value| !value.is_empty()) {
        let hint = "may not be specified when `value` is not empty";
        errors.push(FieldError::invalid(format!("{path}.valueFrom"), "", hint));
    }
    if let Some(reference) = &source.field_ref {
        check_field_path(
            &reference.field_path,
            &format!("{path}.valueFrom.fieldRef.fieldPath"),
            errors,
        );
    }
}

fn check_field_path(field_path: &str, field: &str, errors: &mut Vec<FieldError>) {
    let is_entry = ["metadata.labels['", "metadata.annotations['"]
        .iter()
        .any(|prefix| field_path.starts_with(prefix) && field_path.ends_with("']"));
    if field_path.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else if !is_entry && !VARIABLE_FIELDS.contains(&field_path) {
        let hint = format!("error converting fieldPath: field label not supported: {field_path}");
        errors.push(FieldError::invalid(field, field_path, &hint));
    }
}

fn check_resource_name(name: &str, field: &str, errors: &mut Vec<FieldError>) {
    let hints = check_qualified_name(name);
    if !hints.is_empty() {
        errors.extend(hints.iter().map(|hint| FieldError::invalid(field, name, hint)));
        return;
    }
    if name.contains('/') || RESOURCES.contains(&name) || name.starts_with("hugepages-") {
        return;
    }
    if !ELSEWHERE.contains(&name) {
        let hint = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(field, name, hint));
    }
    let hint = "must be a standard resource for containers";
    errors.push(FieldError::invalid(field, name, hint));
}

fn check_security(context: &SecurityContext, path: &str, errors: &mut Vec<FieldError>) {
    if context.allow_privilege_escalation != Some(false) {
        return;
    }
    if context.privileged == Some(true) {
        let hint = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(path, context, hint));
    }
    let added = context
        .capabilities
        .iter()
        .flat_map(|all| all.add.iter().flatten());
    if added.into_iter().any(|capability| capability == "CAP_SYS_ADMIN") {
        let hint = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.push(FieldError::invalid(path, context, hint));
    }
}

/// A value that has to be there, and one of these.
pub(super) fn one_of(errors: &mut Vec<FieldError>, field: &str, value: Option<&str>, supported: &[&str]) {
    match value {
        None | Some("") => errors.push(FieldError::required(field, "")),
        Some(value) if !supported.contains(&value) => {
            errors.push(FieldError::not_supported(field, value, supported));
        }
        Some(_) => {}
    }
}
