//! Which AppArmor profile confines a container (contract, node agent §11.4). Pure, but for what the machine has.
use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod, PodSpec};
use orlop_api::pod::init_containers;
use std::collections::BTreeMap;
use std::path::Path;

/// The form it had before it was a field; ends with the container's name.
const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Where the kernel says whether it enforces profiles.
pub const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";

/// A profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profile {
    RuntimeDefault,
    Unconfined,
    /// One that the node has loaded.
    Localhost(String),
}

impl Profile {
    fn of_field(field: &AppArmorProfile) -> Option<Self> {
        match field.type_.as_str() {
            "RuntimeDefault" => Some(Self::RuntimeDefault),
            "Unconfined" => Some(Self::Unconfined),
            "Localhost" => Some(Self::Localhost(field.localhost_profile.clone()?)),
            _ => None,
        }
    }

    fn of_text(text: &str) -> Option<Self> {
        match text {
            "runtime/default" => Some(Self::RuntimeDefault),
            "unconfined" => Some(Self::Unconfined),
            _ => Some(Self::Localhost(text.strip_prefix("localhost/")?.to_owned())),
        }
    }
}

/// A container's: its own field, then the annotation, then the pod's field.
pub fn profile(
    annotations: Option<&BTreeMap<String, String>>,
    spec: &PodSpec,
    container: &Container,
) -> Option<Profile> {
    let own = container.security_context.as_ref();
    let own = own.and_then(|context| context.app_armor_profile.as_ref());
    let written = || annotations?.get(&format!("{ANNOTATION}{}", container.name));
    let pod = || spec.security_context.as_ref()?.app_armor_profile.as_ref();
    own.and_then(Profile::of_field)
        .or_else(|| Profile::of_text(written()?))
        .or_else(|| Profile::of_field(pod()?))
}

/// Whether some container wants to be confined, which takes a kernel that does it.
pub fn is_wanted(pod: &Pod) -> bool {
    let Some(spec) = pod.spec.as_ref() else {
        return false;
    };
    let annotations = pod.metadata.annotations.as_ref();
    let mut containers = init_containers(spec).iter().chain(&spec.containers);
    containers.any(|container| {
        let profile = profile(annotations, spec, container);
        profile.is_some_and(|profile| profile != Profile::Unconfined)
    })
}

/// Whether this machine's kernel enforces profiles: `enabled` is its file.
pub fn is_enforced(enabled: &Path) -> bool {
    std::fs::read_to_string(enabled).is_ok_and(|text| text.starts_with('Y'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn s14_container_goes_before_annotation_goes_before_pod() {
        let field = |kind: &str| json!({"appArmorProfile": {"type": kind, "localhostProfile": "own"}});
        let of = |pod: serde_json::Value| {
            let pod: Pod = serde_json::from_value(pod).unwrap();
            let spec = pod.spec.as_ref().unwrap();
            let profile = profile(pod.metadata.annotations.as_ref(), spec, &spec.containers[0]);
            (profile, is_wanted(&pod))
        };
        let annotated =
            json!({"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "localhost/old"}});
        let mut pod = json!({"metadata": annotated, "spec": {"securityContext": field("RuntimeDefault"),
            "containers": [{"name": "c", "securityContext": field("Localhost")}]}});
        assert_eq!(of(pod.clone()), (Some(Profile::Localhost("own".into())), true));
        pod["spec"]["containers"][0]["securityContext"] = json!({});
        assert_eq!(of(pod.clone()), (Some(Profile::Localhost("old".into())), true));
        pod["metadata"] = json!({});
        assert_eq!(of(pod.clone()), (Some(Profile::RuntimeDefault), true));
        pod["spec"]["securityContext"] = field("Unconfined");
        assert_eq!(of(pod.clone()), (Some(Profile::Unconfined), false));
        pod["spec"]["securityContext"] = json!({});
        assert_eq!(of(pod), (None, false));
    }
}
