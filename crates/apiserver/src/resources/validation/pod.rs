//! Pods and pod templates: the rules of `orlop_api::validation`, as causes (contract api-server §12.3 to §12.5).
use crate::status::{Cause, cause};
use k8s_openapi::api::core::v1::{Pod, PodSpec, ResourceRequirements};
use orlop_api::validation::{self, FieldError};
use serde::Deserialize;
use serde_json::Value;

/// Checks a new pod, but for what every object's metadata must be.
pub fn pod_create(pod: &Value) -> Vec<Cause> {
    match Pod::deserialize(pod) {
        Ok(pod) => causes(validation::new_pod(&pod), ""),
        Err(error) => vec![cause::invalid("spec", &pod["spec"], &error.to_string())],
    }
}

/// Checks a change of the main resource, but for what every object's metadata may not do.
pub fn pod_update(new: &Value, old: &Value) -> Vec<Cause> {
    causes(validation::pod_update(new, old), "")
}

/// Checks a change of the status, with the same exception.
pub fn pod_status_update(new: &Value, old: &Value) -> Vec<Cause> {
    causes(validation::pod_status_update(new, old), "")
}

/// Checks the spec of a template; what it finds stands below `path`, which ends with `spec`.
pub fn pod_spec(spec: &Value, path: &str) -> Vec<Cause> {
    match PodSpec::deserialize(spec) {
        Ok(spec) => causes(
            validation::pod_spec(&spec),
            path.strip_suffix(".spec").unwrap_or_default(),
        ),
        Err(error) => vec![cause::invalid(path, spec, &error.to_string())],
    }
}

/// What is wrong with the amounts of a container, or of a pod.
pub(super) fn resources(container: &Value, path: &str, found: &mut Vec<Cause>) {
    if let Ok(resources) = ResourceRequirements::deserialize(&container["resources"]) {
        found.extend(causes(validation::resources(&resources, path), ""));
    }
}

fn causes(errors: Vec<FieldError>, prefix: &str) -> Vec<Cause> {
    let errors = errors.into_iter().map(|error| error.under(prefix));
    errors.map(Cause::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn messages(spec: Value) -> Vec<String> {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
        orlop_api::defaults::pod(&mut pod);
        pod_create(&pod)
            .into_iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect()
    }

    fn container(more: Value) -> Value {
        let mut container = json!({"name": "c", "image": "i"});
        for (key, value) in more.as_object().unwrap() {
            container[key] = value.clone();
        }
        json!({"containers": [container]})
    }

    /// Contract §12.3, the texts users meet.
    #[test]
    fn what_users_hit() {
        assert_eq!(messages(container(json!({}))), [] as [String; 0]);
        for (spec, expected) in [
            (json!({}), "spec.containers: Required value"),
            (
                json!({"containers": [{"name": "c"}]}),
                "spec.containers[0].image: Required value",
            ),
            (
                json!({"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]}),
                "spec.containers[1].name: Duplicate value: \"c\"",
            ),
            (
                container(json!({"ports": [{"containerPort": 70000}]})),
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ),
            (
                container(json!({"volumeMounts": [{"name": "nov", "mountPath": "/x"}]})),
                "spec.containers[0].volumeMounts[0].name: Not found: \"nov\"",
            ),
            (
                container(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ),
            (
                container(json!({"livenessProbe": {}})),
                "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            ),
        ] {
            assert_eq!(messages(spec), [expected]);
        }
        let mut volumes = container(json!({}));
        volumes["volumes"] = json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/a/../b"}}]);
        assert_eq!(
            messages(volumes),
            [
                "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
                "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
            ]
        );
    }

    #[test]
    fn a_mirror_names_its_node() {
        let pod = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "h"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let causes = pod_create(&pod);
        assert!(
            causes[0]
                .message
                .ends_with("must set spec.nodeName if mirror pod annotation is set")
        );
    }
}
