//! Pods do no more than their namespace's labels allow; who writes workloads whose pods would be refused is warned
//! (contract §17). What is allowed is `orlop_api::pod_security`; who is exempt, its settings.
use super::settings::{Exemption, PodSecurity};
use super::{Attempt, Operation};
use crate::metrics::Written;
use crate::resources::read;
use crate::status::{ApiError, Cause};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orlop_api::pod_security::{
    LABEL_PREFIX, Level, PODS_CHECKED_MAX, Policy, Standard, Violation, describe, existing_pods,
    is_significant, violations,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Under these names the audit log has what was decided.
const EXEMPT: &str = "pod-security.kubernetes.io/exempt";
const ENFORCE_POLICY: &str = "pod-security.kubernetes.io/enforce-policy";
const AUDIT_VIOLATIONS: &str = "pod-security.kubernetes.io/audit-violations";

/// Ways to write a pod through which it can come to do what it didn't.
const POD_PARTS: &[&str] = &["", "ephemeralcontainers", "resize"];

pub fn validate(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    if !matches!(attempt.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    let Some(object) = attempt.object.as_deref() else {
        return Ok(());
    };
    match (attempt.resource.group, attempt.resource.plural) {
        ("", "namespaces") if attempt.subresource.is_empty() => namespace(attempt, object),
        ("", "pods") if POD_PARTS.contains(&attempt.subresource) => pod(attempt, object),
        (group, plural) if attempt.subresource.is_empty() => {
            if let Some(template) = template_of(group, plural, object) {
                workload(attempt, template);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Where a kind keeps the template of its pods.
fn template_of<'o>(group: &str, plural: &str, object: &'o Value) -> Option<&'o Value> {
    let pointer = match (group, plural) {
        ("", "podtemplates") => "/template",
        ("", "replicationcontrollers")
        | ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => "/spec/template",
        ("batch", "cronjobs") => "/spec/jobTemplate/spec/template",
        _ => return None,
    };
    object.pointer(pointer).filter(|template| template.is_object())
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn policy(attempt: &Attempt<'_>) -> Policy {
    let namespace = attempt
        .server
        .cache
        .core_object("namespaces", "", attempt.namespace);
    // The labels that the cache keeps beside the object: most namespaces have none of ours.
    let labels = namespace.iter().flat_map(|namespace| namespace.labels());
    let labels = labels
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    settings(attempt).defaults.with(&labels).0
}

fn settings<'a>(attempt: &Attempt<'a>) -> &'a PodSecurity {
    &attempt.server.admission.settings().pod_security
}

fn written<'a>(attempt: &Attempt<'a>) -> Written<'a> {
    Written {
        operation: attempt.operation,
        plural: attempt.resource.plural,
        subresource: attempt.subresource,
    }
}

/// Counts what a policy of one mode has come to. What only tells somebody is counted when it does.
fn count(attempt: &Attempt<'_>, mode: &'static str, standard: Standard, allowed: bool) {
    let metrics = &attempt.server.metrics.pod_security;
    metrics.evaluated(written(attempt), mode, standard, allowed);
}

/// Notes in the audit log why nothing is demanded.
fn is_exempt(attempt: &Attempt<'_>, why: Option<Exemption>) -> bool {
    if let Some(why) = why {
        attempt.call.annotate(EXEMPT.to_owned(), why.name().to_owned());
        attempt.server.metrics.pod_security.exempted(written(attempt));
    }
    why.is_some()
}

fn namespace(attempt: &Attempt<'_>, new: &Value) -> Result<(), ApiError> {
    let settings = settings(attempt);
    let (policy, errors) = settings.defaults.with(&labels(new));
    let old = attempt.old.map(|old| settings.defaults.with(&labels(old)));
    let were = old
        .as_ref()
        .map(|(_, errors)| errors.as_slice())
        .unwrap_or_default();
    if !errors.is_empty() && errors != were {
        let causes = errors.into_iter().map(Cause::from).collect();
        return Err(ApiError::invalid(attempt.resource, attempt.name, causes));
    }
    let exempt = settings.exempts_namespace(attempt.name);
    let Some((old, _)) = old else {
        if exempt {
            warn_of_exemption(attempt, new);
        }
        return Ok(());
    };
    if old.enforce == policy.enforce || policy.enforce.level == Level::Privileged {
        return Ok(());
    }
    if exempt {
        warn_of_exemption(attempt, new);
        return Ok(());
    }
    let objects = attempt.server.cache.core_objects("pods", attempt.name);
    let pods: Vec<Pod> = objects
        .iter()
        .take(PODS_CHECKED_MAX)
        .filter_map(|pod| read(&pod.value(), Pod::clone))
        .collect();
    for warning in existing_pods(attempt.name, (old.enforce, policy.enforce), &pods, objects.len()) {
        attempt.call.warn(warning);
    }
    Ok(())
}

/// Tells that labels of a namespace demand nothing, because it is exempt.
fn warn_of_exemption(attempt: &Attempt<'_>, namespace: &Value) {
    let labels = labels(namespace);
    let given = ["enforce", "audit", "warn"].iter().filter_map(|mode| {
        let of = |suffix: &str| labels.get(&format!("{LABEL_PREFIX}{mode}{suffix}"));
        let level = of("")?;
        let version = of("-version").map_or("latest", String::as_str);
        Some(format!("{mode}={level}:{version}"))
    });
    let given: Vec<String> = given.collect();
    if !given.is_empty() {
        attempt.call.warn(format!(
            "namespace {:?} is exempt from Pod Security, and the policy ({}) will be ignored",
            attempt.name,
            given.join(", ")
        ));
    }
}

fn pod(attempt: &Attempt<'_>, new: &Value) -> Result<(), ApiError> {
    let settings = settings(attempt);
    if is_exempt(attempt, settings.exempts(attempt.namespace, &attempt.user.name)) {
        return Ok(());
    }
    let policy = policy(attempt);
    if policy.is_privileged() {
        count(attempt, "enforce", policy.enforce, true);
        return Ok(());
    }
    let unchanged = |old: &Value| {
        read::<Pod, _>(old, |old| read::<Pod, _>(new, |new| !is_significant(new, old))).flatten()
    };
    if attempt.old.and_then(unchanged) == Some(true) {
        return Ok(());
    }
    let class = settings.exempts_class(new["spec"]["runtimeClassName"].as_str());
    if is_exempt(attempt, class) {
        return Ok(());
    }
    let found = |standard: Standard| -> Vec<Violation> {
        read::<Pod, _>(new, |pod| {
            pod.spec
                .as_ref()
                .map(|spec| violations(standard, &pod.metadata, spec))
        })
        .flatten()
        .unwrap_or_default()
    };
    attempt
        .call
        .annotate(ENFORCE_POLICY.to_owned(), policy.enforce.to_string());
    let refused = found(policy.enforce);
    count(attempt, "enforce", policy.enforce, refused.is_empty());
    if !refused.is_empty() {
        let standard = policy.enforce.to_string();
        return Err(attempt.forbidden(&format!(
            "violates PodSecurity {standard:?}: {}",
            describe(&refused)
        )));
    }
    audit(attempt, policy.audit, &found(policy.audit));
    warn(attempt, policy.warn, &found(policy.warn));
    Ok(())
}

fn workload(attempt: &Attempt<'_>, template: &Value) {
    let settings = settings(attempt);
    let exempt = settings
        .exempts(attempt.namespace, &attempt.user.name)
        .or_else(|| settings.exempts_class(template["spec"]["runtimeClassName"].as_str()));
    if is_exempt(attempt, exempt) {
        return;
    }
    let policy = policy(attempt);
    let found = |standard: Standard| -> Vec<Violation> {
        if standard.level == Level::Privileged {
            return Vec::new();
        }
        let found = read::<PodTemplateSpec, _>(template, |template| {
            let metadata = template.metadata.clone().unwrap_or_else(ObjectMeta::default);
            let spec = template.spec.as_ref();
            spec.map(|spec| violations(standard, &metadata, spec))
        });
        found.flatten().unwrap_or_default()
    };
    audit(attempt, policy.audit, &found(policy.audit));
    warn(attempt, policy.warn, &found(policy.warn));
}

/// Adds to the request's event in the audit log what the level for it would refuse.
fn audit(attempt: &Attempt<'_>, standard: Standard, found: &[Violation]) {
    if !found.is_empty() {
        count(attempt, "audit", standard, false);
        let text = format!(
            "would violate PodSecurity {:?}: {}",
            standard.to_string(),
            describe(found)
        );
        attempt.call.annotate(AUDIT_VIOLATIONS.to_owned(), text);
    }
}

fn warn(attempt: &Attempt<'_>, standard: Standard, found: &[Violation]) {
    if !found.is_empty() {
        count(attempt, "warn", standard, false);
        let standard = standard.to_string();
        attempt.call.warn(format!(
            "would violate PodSecurity {standard:?}: {}",
            describe(found)
        ));
    }
}
