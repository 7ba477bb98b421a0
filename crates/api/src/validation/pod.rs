//! Pods on create: the rules a manifest or a request runs into (contract, API server §12.3).
mod volumes;

use super::container::{check_container, check_init_container, check_sleeps, check_stop_signal, one_of};
use super::{FieldError, finalizer_domains, metadata, restarts, scheduling};
use crate::annotations::CONFIG_MIRROR;
use crate::names::{check_dns_label, check_dns_subdomain, check_qualified_name, mask_trailing_dash};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Sysctl};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::HashSet;
use volumes::check_volumes;

/// Of a pod that names none, in seconds.
const DEFAULT_GRACE_SECONDS: i64 = 30;
const SYSCTL_BYTES_MAX: usize = 253;
/// What a kernel takes as its name.
const HOSTNAME_BYTES_MAX: usize = 64;
/// How upstream writes the form of a sysctl's name.
const SYSCTL_FORM: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// Every error of a new pod, in order of its fields.
pub fn pod_create(pod: &Pod) -> Vec<FieldError> {
    let mut errors = names(&pod.metadata);
    let tree = serde_json::to_value(&pod.metadata).unwrap_or_default();
    errors.extend(metadata(&tree));
    errors.extend(finalizer_domains(&tree));
    errors.extend(new_pod(pod));
    errors
}

/// Who it is, and where.
fn names(meta: &ObjectMeta) -> Vec<FieldError> {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let mut errors = Vec::new();
    let mut invalid = |field: &str, value: &str, hints: Vec<String>| {
        let hints = hints.into_iter();
        errors.extend(hints.map(|hint| FieldError::invalid(field, value, &hint)));
    };
    let (name, base, namespace) = (text(&meta.name), text(&meta.generate_name), text(&meta.namespace));
    if !base.is_empty() {
        let hints = check_dns_subdomain(&mask_trailing_dash(&base));
        invalid("metadata.generateName", &base, hints);
    }
    if !name.is_empty() {
        invalid("metadata.name", &name, check_dns_subdomain(&name));
    }
    if !namespace.is_empty() {
        invalid("metadata.namespace", &namespace, check_dns_label(&namespace));
    }
    if name.is_empty() {
        let hint = "name or generateName is required";
        errors.push(FieldError::required("metadata.name", hint));
    }
    if namespace.is_empty() {
        errors.push(FieldError::required("metadata.namespace", ""));
    }
    errors
}

/// The errors of a new pod but those that its metadata has as every object's may.
pub fn new_pod(pod: &Pod) -> Vec<FieldError> {
    let Some(spec) = &pod.spec else {
        return vec![FieldError::required("spec", "")];
    };
    let mut errors = Vec::new();
    let annotations = pod.metadata.annotations.as_ref();
    let value = annotations.and_then(|all| all.get(CONFIG_MIRROR));
    let mirror = value.is_some();
    if mirror && spec.node_name.as_deref().unwrap_or_default().is_empty() {
        let field = format!("metadata.annotations[{CONFIG_MIRROR}]");
        errors.push(FieldError::invalid(
            field,
            value,
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
    check_images(spec, &mut errors);
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
    let grace = spec
        .termination_grace_period_seconds
        .unwrap_or(DEFAULT_GRACE_SECONDS);
    let os = spec.os.as_ref().map(|os| os.name.as_str());
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
            check_stop_signal(container, &path, os, errors);
            check_sleeps(container, &path, grace, errors);
            restarts::check(container, &path, errors);
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
    let deadlines = 1..=i64::from(i32::MAX);
    if spec
        .active_deadline_seconds
        .is_some_and(|seconds| !deadlines.contains(&seconds))
    {
        let hint = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(
            "spec.activeDeadlineSeconds",
            spec.active_deadline_seconds,
            hint,
        ));
    }
    for (field, name) in [
        ("spec.hostname", &spec.hostname),
        ("spec.subdomain", &spec.subdomain),
    ] {
        let name = name.as_deref().unwrap_or_default();
        let hints = check_dns_label(name).into_iter().filter(|_| !name.is_empty());
        errors.extend(hints.map(|hint| FieldError::invalid(field, name, &hint)));
    }
    check_hostname_override(spec, errors);
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let field = format!("spec.readinessGates[{index}].conditionType");
        for hint in check_qualified_name(&gate.condition_type) {
            errors.push(FieldError::invalid(field.clone(), &gate.condition_type, &hint));
        }
    }
    let context = spec.security_context.as_ref();
    let sysctls = context.and_then(|context| context.sysctls.as_deref());
    check_sysctls(sysctls.unwrap_or_default(), errors);
}

fn check_hostname_override(spec: &PodSpec, errors: &mut Vec<FieldError>) {
    const FIELD: &str = "spec.hostnameOverride";
    let Some(name) = spec.hostname_override.as_deref() else {
        return;
    };
    let hints = check_dns_subdomain(name).into_iter();
    errors.extend(hints.map(|hint| FieldError::invalid(FIELD, name, &hint)));
    if name.len() > HOSTNAME_BYTES_MAX {
        errors.push(FieldError::too_long(FIELD, HOSTNAME_BYTES_MAX));
    }
    if spec.set_hostname_as_fqdn == Some(true) {
        errors.push(FieldError::forbidden(
            FIELD,
            "may not be set with `setHostnameAsFQDN`",
        ));
    }
    if spec.host_network == Some(true) {
        errors.push(FieldError::forbidden(FIELD, "may not be set with `hostNetwork`"));
    }
}

fn check_sysctls(sysctls: &[Sysctl], errors: &mut Vec<FieldError>) {
    let mut names = HashSet::new();
    for (index, sysctl) in sysctls.iter().enumerate() {
        let field = format!("spec.securityContext.sysctls[{index}].name");
        if sysctl.name.is_empty() {
            errors.push(FieldError::required(field, ""));
        } else if !is_sysctl(&sysctl.name) {
            let hint =
                format!("must have at most {SYSCTL_BYTES_MAX} characters and match regex {SYSCTL_FORM}");
            errors.push(FieldError::invalid(field, &sysctl.name, &hint));
        } else if !names.insert(sysctl.name.replace('/', ".")) {
            errors.push(FieldError::duplicate(field, &sysctl.name));
        }
    }
}

/// Segments between dots or slashes, each of lower case letters and digits with `-` and `_` inside.
fn is_sysctl(name: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_segment = |segment: &str| {
        let bytes = segment.as_bytes();
        bytes.first().copied().is_some_and(alphanumeric)
            && bytes.last().copied().is_some_and(alphanumeric)
            && bytes
                .iter()
                .all(|byte| alphanumeric(*byte) || matches!(byte, b'-' | b'_'))
    };
    name.len() <= SYSCTL_BYTES_MAX && name.split(['.', '/']).all(is_segment)
}

/// Of pods alone: templates may have had it before anybody looked.
fn check_images(spec: &PodSpec, errors: &mut Vec<FieldError>) {
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let reference = volume.image.as_ref().map(|image| image.reference.as_deref());
        if reference.is_some_and(|reference| reference.unwrap_or_default().is_empty()) {
            errors.push(FieldError::required(
                format!("spec.volumes[{index}].image.reference"),
                "",
            ));
        }
    }
    let lists: [(&str, &[Container]); 2] = [
        (
            "spec.initContainers",
            spec.init_containers.as_deref().unwrap_or_default(),
        ),
        ("spec.containers", &spec.containers),
    ];
    for (list, containers) in lists {
        for (index, container) in containers.iter().enumerate() {
            let image = container.image.as_deref().unwrap_or_default();
            if image.trim() != image {
                let hint = "must not have leading or trailing whitespace";
                errors.push(FieldError::invalid(format!("{list}[{index}].image"), image, hint));
            }
        }
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
mod tests;
