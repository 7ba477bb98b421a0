//! What a namespace that demands more is told about the pods that are in it already.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::{Level, Standard, reasons, violations};

/// So many pods are looked at; upstream's number.
pub const PODS_CHECKED_MAX: usize = 3000;

/// Warnings when the standard that `namespace` enforces becomes `new`; `pods` are the first
/// [`PODS_CHECKED_MAX`] of `total`.
pub fn existing_pods(
    namespace: &str,
    (old, new): (Standard, Standard),
    pods: &[Pod],
    total: usize,
) -> Vec<String> {
    if old == new || new.level == Level::Privileged || (old.version == new.version && new.level <= old.level)
    {
        return Vec::new();
    }
    // Pods with the same reasons are told in one line: the first one's name, and how many there are.
    let mut groups: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    for pod in pods {
        let Some(spec) = &pod.spec else { continue };
        let found = violations(new, &pod.metadata, spec);
        if found.is_empty() {
            continue;
        }
        let name = crate::pod::name(pod);
        let (first, count) = groups.entry(reasons(&found)).or_insert((name, 0));
        *first = name.min(first);
        *count += 1;
    }
    let mut warnings = Vec::new();
    if pods.len() < total {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {} of {total} existing pods",
            pods.len()
        ));
    }
    if !groups.is_empty() {
        let standard = new.to_string();
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level {standard:?}"
        ));
    }
    let mut lines: Vec<String> = groups
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            _ => format!("{name} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    lines.sort_unstable();
    warnings.extend(lines);
    warnings
}
