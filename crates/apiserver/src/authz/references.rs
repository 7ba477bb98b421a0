//! Which API objects a pod names.
use serde_json::Value;

/// Kinds of volumes of which `secretRef` names a Secret, in pods and in PersistentVolumes.
const WITH_SECRET_REF: [&str; 7] = [
    "cephfs",
    "cinder",
    "flexVolume",
    "rbd",
    "scaleIO",
    "iscsi",
    "storageos",
];

/// Kinds of objects a pod can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    ConfigMap,
    Secret,
    Claim,
    ServiceAccount,
    ResourceClaim,
}

impl Reference {
    /// As NodeRestriction's refusals call them.
    pub fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
            Self::Claim => "persistentvolumeclaims",
            Self::ServiceAccount => "serviceaccounts",
            Self::ResourceClaim => "resourceclaims",
        }
    }
}

/// Everything a pod names, in its own namespace.
pub(crate) fn references(pod: &Value) -> Vec<(Reference, String)> {
    use Reference::{Claim, ConfigMap, ResourceClaim, Secret, ServiceAccount};
    let spec = &pod["spec"];
    let mut found = Vec::new();
    let mut note = |kind: Reference, value: &Value| {
        if let Some(name) = value.as_str().filter(|n| !n.is_empty()) {
            found.push((kind, name.to_owned()));
        }
    };
    note(ServiceAccount, &spec["serviceAccountName"]);
    for secret in list(&spec["imagePullSecrets"]) {
        note(Secret, &secret["name"]);
    }
    let made = &pod["status"]["resourceClaimStatuses"];
    for claim in list(&spec["resourceClaims"]) {
        note(ResourceClaim, &claim["resourceClaimName"]);
        // What was made from a template is named in the status, once it is made.
        let its_own = |status: &&Value| status["name"] == claim["name"];
        if let Some(status) = list(made).find(its_own) {
            note(ResourceClaim, &status["resourceClaimName"]);
        }
    }
    note(
        ResourceClaim,
        &pod["status"]["extendedResourceClaimStatus"]["resourceClaimName"],
    );
    for volume in list(&spec["volumes"]) {
        note(ConfigMap, &volume["configMap"]["name"]);
        note(Secret, &volume["secret"]["secretName"]);
        note(Claim, &claim_of(pod, volume).unwrap_or_default().into());
        for source in list(&volume["projected"]["sources"]) {
            note(ConfigMap, &source["configMap"]["name"]);
            note(Secret, &source["secret"]["name"]);
        }
        for plugin in WITH_SECRET_REF {
            note(Secret, &volume[plugin]["secretRef"]["name"]);
        }
        note(Secret, &volume["csi"]["nodePublishSecretRef"]["name"]);
        note(Secret, &volume["azureFile"]["secretName"]);
    }
    for containers in ["initContainers", "containers", "ephemeralContainers"] {
        for container in list(&spec[containers]) {
            for env in list(&container["env"]) {
                note(ConfigMap, &env["valueFrom"]["configMapKeyRef"]["name"]);
                note(Secret, &env["valueFrom"]["secretKeyRef"]["name"]);
            }
            for env in list(&container["envFrom"]) {
                note(ConfigMap, &env["configMapRef"]["name"]);
                note(Secret, &env["secretRef"]["name"]);
            }
        }
    }
    found
}

/// The Secrets, by namespace and name, that a node needs to mount a PersistentVolume.
pub(crate) fn volume_secrets(volume: &Value) -> Vec<(String, String)> {
    let spec = &volume["spec"];
    let claimed = &spec["claimRef"]["namespace"];
    let mut found = Vec::new();
    let mut note = |namespace: &Value, name: &Value| {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let namespace = text(namespace).or_else(|| text(claimed));
        found.extend(namespace.zip(text(name)));
    };
    for plugin in WITH_SECRET_REF {
        let secret = &spec[plugin]["secretRef"];
        note(&secret["namespace"], &secret["name"]);
    }
    for member in [
        "nodePublishSecretRef",
        "nodeStageSecretRef",
        "nodeExpandSecretRef",
    ] {
        let secret = &spec["csi"][member];
        note(&secret["namespace"], &secret["name"]);
    }
    let azure = &spec["azureFile"];
    note(&azure["secretNamespace"], &azure["secretName"]);
    found
}

/// The audiences that a pod's volumes ask tokens for; `""` stands for the API server's own.
pub(crate) fn audiences(pod: &Value) -> Vec<&str> {
    let volumes = list(&pod["spec"]["volumes"]);
    let sources = volumes.flat_map(|volume| list(&volume["projected"]["sources"]));
    sources
        .map(|source| &source["serviceAccountToken"])
        .filter(|token| token.is_object())
        .map(|token| token["audience"].as_str().unwrap_or_default())
        .collect()
}

/// The CSI drivers of a pod's own volumes, and the claims of the others.
pub(crate) fn drivers_and_claims(pod: &Value) -> (Vec<&str>, Vec<String>) {
    let volumes = || list(&pod["spec"]["volumes"]);
    let drivers = volumes().filter_map(|volume| volume["csi"]["driver"].as_str());
    let claims = volumes().filter_map(|volume| claim_of(pod, volume));
    (drivers.collect(), claims.collect())
}

/// The claim of a pod's volume; that of an ephemeral one is nowhere in the pod, but has a name that follows from it.
fn claim_of(pod: &Value, volume: &Value) -> Option<String> {
    if let Some(name) = volume["persistentVolumeClaim"]["claimName"].as_str() {
        return Some(name.to_owned());
    }
    let pod = pod["metadata"]["name"]
        .as_str()
        .filter(|_| volume["ephemeral"].is_object())?;
    Some(format!("{pod}-{}", volume["name"].as_str()?))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_volume_needs_the_secrets_that_nodes_mount_it_with() {
        let volume = json!({"spec": {"claimRef": {"namespace": "n", "name": "c"}, "csi": {
            "nodeStageSecretRef": {"namespace": "m", "name": "stage"}, "controllerExpandSecretRef": {"namespace": "m", "name": "no"}},
            "azureFile": {"secretName": "azure"}}});
        let named = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        assert_eq!(
            volume_secrets(&volume),
            [named("m", "stage"), named("n", "azure")]
        );
    }

    #[test]
    fn claims_are_named_by_the_spec_or_once_made_by_the_status() {
        let pod = json!({"spec": {"resourceClaims": [{"name": "a", "resourceClaimName": "shared"},
                {"name": "b", "resourceClaimTemplateName": "t"}, {"name": "c", "resourceClaimTemplateName": "t"}]},
            "status": {"resourceClaimStatuses": [{"name": "b", "resourceClaimName": "p-b-x7f2q"}, {"name": "c"}],
                "extendedResourceClaimStatus": {"resourceClaimName": "p-extended"}}});
        let named = |name: &str| (Reference::ResourceClaim, name.to_owned());
        assert_eq!(
            references(&pod),
            [named("shared"), named("p-b-x7f2q"), named("p-extended")]
        );
    }

    #[test]
    fn claims_of_ephemeral_volumes_are_named_after_pod_and_volume() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"volumes": [
            {"name": "own", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
            {"name": "given", "persistentVolumeClaim": {"claimName": "c"}},
            {"name": "inline", "csi": {"driver": "d"}}, {"name": "none", "emptyDir": {}}]}});
        let named = |name: &str| (Reference::Claim, name.to_owned());
        assert_eq!(references(&pod), [named("p-own"), named("c")]);
        let (drivers, claims) = drivers_and_claims(&pod);
        assert_eq!(
            (drivers, claims),
            (vec!["d"], vec!["p-own".to_owned(), "c".to_owned()])
        );
    }

    #[test]
    fn volumes_and_environment_name_objects() {
        let pod = json!({"spec": {
            "volumes": [{"configMap": {"name": "a"}}, {"projected": {"sources": [{"secret": {"name": "b"}}]}}],
            "containers": [{"envFrom": [{"secretRef": {"name": "c"}}]}],
        }});
        let found = references(&pod);
        assert_eq!(
            found,
            [
                (Reference::ConfigMap, "a".to_owned()),
                (Reference::Secret, "b".to_owned()),
                (Reference::Secret, "c".to_owned()),
            ]
        );
    }
}
