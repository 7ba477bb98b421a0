//! What events say of a resize. Pure.
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use orlop_api::pod::{init_containers, is_sidecar};
use serde::Serialize;

#[derive(Serialize)]
struct Container<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<&'a ResourceRequirements>,
}

#[derive(Serialize)]
struct Message<'a> {
    containers: Vec<Container<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// `Pod resize <what>: {…}` with what `pod` has or asks for.
pub fn message(what: &str, pod: &Pod, generation: Option<i64>, error: Option<&str>) -> String {
    let spec = pod.spec.iter();
    let containers = spec.flat_map(|spec| {
        let sidecars = init_containers(spec).iter().filter(|init| is_sidecar(init));
        sidecars.chain(&spec.containers)
    });
    let message = Message {
        containers: containers
            .map(|container| Container {
                name: &container.name,
                resources: container.resources.as_ref(),
            })
            .collect(),
        generation,
        error,
    };
    // Strings and numbers always have a JSON form.
    format!(
        "Pod resize {what}: {}",
        serde_json::to_string(&message).unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_carry_the_resources_the_generation_and_what_is_wrong() {
        let object = json!({"spec": {"initContainers": [{"name": "i"}], "containers":
            [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}});
        let pod: Pod = serde_json::from_value(object).unwrap();
        assert_eq!(
            message("started", &pod, Some(2), None),
            r#"Pod resize started: {"containers":[{"name":"c","resources":{"requests":{"cpu":"1","memory":"1Gi"}}}],"generation":2}"#
        );
        assert_eq!(
            message("Deferred", &pod, Some(3), Some("no room")),
            r#"Pod resize Deferred: {"containers":[{"name":"c","resources":{"requests":{"cpu":"1","memory":"1Gi"}}}],"generation":3,"error":"no room"}"#
        );
    }
}
