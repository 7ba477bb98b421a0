//! Which containers run again when they have ended.
use super::restart_all;
use k8s_openapi::api::core::v1::{Container, Pod};

/// That of the pod, which counts for its containers unless they have their own.
pub fn policy(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|s| s.restart_policy.as_deref())
        .unwrap_or("Always")
}

/// Whether a container that ended with `code` is to run again.
pub fn should_restart(pod: &Pod, container: &Container, sidecar: bool, code: i32) -> bool {
    if sidecar {
        return true;
    }
    if restart_all::action(container, code).is_some() {
        return true;
    }
    match container.restart_policy.as_deref().unwrap_or_else(|| policy(pod)) {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}
