//! Which API objects a pod names.
use serde_json::Value;

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
    for claim in list(&spec["resourceClaims"]) {
        note(ResourceClaim, &claim["name"]);
    }
    for volume in list(&spec["volumes"]) {
        note(ConfigMap, &volume["configMap"]["name"]);
        note(Secret, &volume["secret"]["secretName"]);
        note(Claim, &volume["persistentVolumeClaim"]["claimName"]);
        for source in list(&volume["projected"]["sources"]) {
            note(ConfigMap, &source["configMap"]["name"]);
            note(Secret, &source["secret"]["name"]);
        }
        for plugin in [
            "cephfs",
            "cinder",
            "flexVolume",
            "rbd",
            "scaleIO",
            "iscsi",
            "storageos",
        ] {
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

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
