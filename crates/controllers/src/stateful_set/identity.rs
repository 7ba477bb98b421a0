//! What the pod of an ordinal looks like.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume};
use orlop_api::annotations::CONTROLLER_REVISION_HASH;

use crate::cache::{Pod, StatefulSetView};
use crate::owned::from_template;

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The pod's ordinal, if its name is one that the set gives.
pub fn ordinal(set: &StatefulSetView, pod: &Pod) -> Option<u32> {
    let digits = pod.key.name.strip_prefix(set.name())?.strip_prefix('-')?;
    let canonical = !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| canonical)
}

/// The name of the pod with that ordinal.
pub fn pod_name(set: &StatefulSetView, ordinal: u32) -> String {
    format!("{}-{ordinal}", set.name())
}

/// The name of the claim that pod `ordinal` has for a claim template.
pub fn claim_name(set: &StatefulSetView, template: &str, ordinal: u32) -> String {
    format!("{template}-{}", pod_name(set, ordinal))
}

/// The revision that a pod was made from.
pub fn revision(pod: &Pod) -> Option<&str> {
    pod.labels.get(CONTROLLER_REVISION_HASH).map(String::as_str)
}

/// The pod with that ordinal, from the template of revision `revision`.
pub fn pod(set: &StatefulSetView, template: &PodTemplateSpec, revision: &str, ordinal: u32) -> core::Pod {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let mut pod = from_template(template, &set.owner_reference(), namespace);
    let name = pod_name(set, ordinal);
    pod.metadata.generate_name = None;
    let labels = pod.metadata.labels.get_or_insert_default();
    for (key, value) in [
        (POD_NAME, name.clone()),
        (POD_INDEX, ordinal.to_string()),
        (CONTROLLER_REVISION_HASH, revision.to_owned()),
    ] {
        labels.insert(key.to_owned(), value);
    }
    if let Some(spec) = &mut pod.spec {
        spec.hostname = Some(name.clone());
        spec.subdomain = set
            .spec
            .service_name
            .clone()
            .filter(|service| !service.is_empty());
        let claims: Vec<Volume> = set
            .spec
            .volume_claim_templates
            .iter()
            .flatten()
            .filter_map(|claim| claim.metadata.name.as_deref())
            .map(|template| Volume {
                name: template.to_owned(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: claim_name(set, template, ordinal),
                    read_only: None,
                }),
                ..Volume::default()
            })
            .collect();
        if !claims.is_empty() {
            let volumes = spec.volumes.get_or_insert_default();
            volumes.retain(|volume| !claims.iter().any(|claim| claim.name == volume.name));
            volumes.extend(claims);
        }
    }
    pod.metadata.name = Some(name);
    pod
}

#[cfg(test)]
mod tests {
    use super::super::testing::{pod as built, set};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_known_by_its_ordinal() {
        let set = set(json!({}));
        for (name, want) in [
            ("web-0", Some(0)),
            ("web-12", Some(12)),
            ("web-01", None),
            ("web-", None),
            ("web-a", None),
            ("webs-1", None),
        ] {
            assert_eq!(ordinal(&set, &built(name).build()), want, "{name}");
        }
    }

    #[test]
    fn a_pod_has_its_name_its_labels_and_its_volumes() {
        let set = set(
            json!({"serviceName": "svc", "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
            "template": {"spec": {"volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}}}),
        );
        let pod = serde_json::to_value(pod(&set, &set.spec.template, "web-1", 3)).unwrap();
        assert_eq!(pod["metadata"]["name"], "web-3");
        assert_eq!(
            pod["metadata"]["labels"],
            json!({"app": "web", "apps.kubernetes.io/pod-index": "3", "controller-revision-hash": "web-1",
                "statefulset.kubernetes.io/pod-name": "web-3"})
        );
        assert_eq!(
            (&pod["spec"]["hostname"], &pod["spec"]["subdomain"]),
            (&json!("web-3"), &json!("svc"))
        );
        assert_eq!(
            pod["spec"]["volumes"],
            json!([{"name": "tmp", "emptyDir": {}},
                {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-3"}}])
        );
    }
}
