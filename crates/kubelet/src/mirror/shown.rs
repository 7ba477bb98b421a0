//! A static pod as its mirror shows it. An API server takes no mirror that refers to ConfigMaps or Secrets: those that
//! lie on the node are named in an annotation instead. Pure.
use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, EnvVar, Pod, Volume};
use orlop_api::manifest::references;

/// What lies on the node and the pod uses, as `configmap/a,secret/b`.
pub const STATIC_OBJECTS: &str = "orlop.dev/static-objects";

/// The pod without what an API server would refuse.
pub fn shown(mut pod: Pod) -> Pod {
    let mut used: Vec<String> = references(&pod)
        .into_iter()
        .map(|reference| format!("{}/{}", reference.kind.to_lowercase(), reference.name))
        .collect();
    if used.is_empty() {
        return pod;
    }
    used.sort();
    used.dedup();
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(STATIC_OBJECTS.to_owned(), used.join(","));
    if let Some(spec) = &mut pod.spec {
        spec.volumes.iter_mut().flatten().for_each(volume);
        let init = spec.init_containers.iter_mut().flatten();
        init.chain(&mut spec.containers).for_each(variables);
    }
    pod
}

fn volume(volume: &mut Volume) {
    let mut is_empty = volume.config_map.take().is_some() || volume.secret.take().is_some();
    if let Some(projected) = &mut volume.projected {
        let sources = projected.sources.get_or_insert_default();
        sources.retain(|source| source.config_map.is_none() && source.secret.is_none());
        if sources.is_empty() {
            volume.projected = None;
            is_empty = true;
        }
    }
    if is_empty {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
}

fn variables(container: &mut Container) {
    let from_node = |variable: &EnvVar| {
        let from = variable.value_from.as_ref();
        from.is_some_and(|from| from.config_map_key_ref.is_some() || from.secret_key_ref.is_some())
    };
    for variable in container
        .env
        .iter_mut()
        .flatten()
        .filter(|variable| from_node(variable))
    {
        variable.value_from = None;
    }
    // Nothing else can be in it.
    container.env_from = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mirror_names_what_lies_on_the_node_and_refers_to_none_of_it() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": {
            "containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "key"}}], "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}},
                {"name": "B", "value": "b"},
                {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}],
            "volumes": [
                {"name": "v", "configMap": {"name": "settings"}},
                {"name": "p", "projected": {"sources": [{"secret": {"name": "key"}}]}},
                {"name": "q", "projected": {"sources": [{"secret": {"name": "key"}},
                    {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}},
                {"name": "h", "hostPath": {"path": "/etc"}}]}}))
        .unwrap();
        let mirror = shown(pod.clone());
        assert_eq!(
            mirror.metadata.annotations.as_ref().unwrap()[STATIC_OBJECTS],
            "configmap/settings,secret/key"
        );
        assert!(references(&mirror).is_empty());
        let spec = json!(mirror.spec.unwrap());
        assert_eq!(spec["volumes"][0], json!({"name": "v", "emptyDir": {}}));
        assert_eq!(spec["volumes"][1], json!({"name": "p", "emptyDir": {}}));
        assert_eq!(
            spec["volumes"][2]["projected"]["sources"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        let env = &spec["containers"][0]["env"];
        assert_eq!((&env[0], &env[1]["value"]), (&json!({"name": "A"}), &json!("b")));
        assert!(env[2].get("valueFrom").is_some());
        let plain: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
        assert_eq!(shown(plain.clone()), plain);
    }
}
