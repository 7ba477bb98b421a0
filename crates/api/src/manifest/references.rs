//! API objects that a static pod may not use: the node runs it without asking anybody.
use k8s_openapi::api::core::v1::{Container, Pod, Volume};

/// The kinds that can lie beside a manifest, as messages name them.
const BESIDE: [&str; 2] = ["ConfigMap \"", "Secret \""];

/// The first forbidden reference: its field path, and what to say. Where `beside`, ConfigMaps and Secrets that
/// containers mount or have in variables lie on the node, too, and are none.
pub fn first(pod: &Pod, beside: bool) -> Option<(String, String)> {
    let spec = pod.spec.as_ref()?;
    let refuse =
        |field: String, what: String| Some((field, format!("a static pod cannot use API objects ({what})")));
    for (field, account) in [
        ("spec.serviceAccountName", &spec.service_account_name),
        ("spec.serviceAccount", &spec.service_account),
    ] {
        if let Some(name) = account.as_deref().filter(|name| !name.is_empty()) {
            return refuse(field.to_owned(), format!("ServiceAccount {name:?}"));
        }
    }
    for (index, secret) in spec.image_pull_secrets.iter().flatten().enumerate() {
        if !secret.name.is_empty() {
            return refuse(
                format!("spec.imagePullSecrets[{index}]"),
                format!("Secret {:?}", secret.name),
            );
        }
    }
    if spec
        .resource_claims
        .as_ref()
        .is_some_and(|claims| !claims.is_empty())
    {
        return refuse("spec.resourceClaims".to_owned(), "ResourceClaims".to_owned());
    }
    for (list, containers) in [
        (
            "spec.initContainers",
            spec.init_containers.as_deref().unwrap_or_default(),
        ),
        ("spec.containers", spec.containers.as_slice()),
    ] {
        for (index, container) in containers.iter().enumerate().filter(|_| !beside) {
            if let Some((field, what)) = in_container(container) {
                return refuse(format!("{list}[{index}].{field}"), what);
            }
        }
    }
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        if let Some((field, what)) = in_volume(volume, beside) {
            return refuse(format!("spec.volumes[{index}].{field}"), what);
        }
    }
    None
}

fn lies_beside(what: &str) -> bool {
    BESIDE.iter().any(|kind| what.starts_with(kind))
}

fn in_container(container: &Container) -> Option<(String, String)> {
    for (index, variable) in container.env.iter().flatten().enumerate() {
        let Some(from) = &variable.value_from else {
            continue;
        };
        let field = |name: &str| format!("env[{index}].valueFrom.{name}");
        if let Some(key) = from.secret_key_ref.as_ref().filter(|key| !key.name.is_empty()) {
            return Some((field("secretKeyRef"), format!("Secret {:?}", key.name)));
        }
        if let Some(key) = from
            .config_map_key_ref
            .as_ref()
            .filter(|key| !key.name.is_empty())
        {
            return Some((field("configMapKeyRef"), format!("ConfigMap {:?}", key.name)));
        }
    }
    for (index, from) in container.env_from.iter().flatten().enumerate() {
        let field = |name: &str| format!("envFrom[{index}].{name}");
        if let Some(secret) = from.secret_ref.as_ref().filter(|secret| !secret.name.is_empty()) {
            return Some((field("secretRef"), format!("Secret {:?}", secret.name)));
        }
        if let Some(map) = from.config_map_ref.as_ref().filter(|map| !map.name.is_empty()) {
            return Some((field("configMapRef"), format!("ConfigMap {:?}", map.name)));
        }
    }
    None
}

fn in_volume(volume: &Volume, beside: bool) -> Option<(String, String)> {
    let forbidden = |(_, what): &(String, String)| !(beside && lies_beside(what));
    if let Some(found) = in_projections(volume).find(forbidden) {
        return Some(found);
    }
    let plain = in_plain_volume(volume).map(|(field, what)| (field.to_owned(), what));
    plain.filter(forbidden)
}

fn in_plain_volume(volume: &Volume) -> Option<(&'static str, String)> {
    if let Some(map) = &volume.config_map {
        return Some(("configMap", format!("ConfigMap {:?}", map.name)));
    }
    if let Some(secret) = &volume.secret {
        return Some((
            "secret",
            format!("Secret {:?}", secret.secret_name.clone().unwrap_or_default()),
        ));
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some((
            "persistentVolumeClaim",
            format!("PersistentVolumeClaim {:?}", claim.claim_name),
        ));
    }
    let secret_of =
        |kind: &'static str, has_secret: bool| has_secret.then(|| (kind, format!("a Secret for {kind}")));
    let always: [(&'static str, bool); 4] = [
        ("csi", volume.csi.is_some()),
        ("glusterfs", volume.glusterfs.is_some()),
        ("ephemeral", volume.ephemeral.is_some()),
        ("azureFile", volume.azure_file.is_some()),
    ];
    if let Some((kind, _)) = always.into_iter().find(|(_, used)| *used) {
        return Some((kind, format!("volumes of type {kind} need the API")));
    }
    secret_of(
        "cephfs",
        volume.cephfs.as_ref().is_some_and(|v| v.secret_ref.is_some()),
    )
    .or_else(|| {
        secret_of(
            "cinder",
            volume.cinder.as_ref().is_some_and(|v| v.secret_ref.is_some()),
        )
    })
    .or_else(|| {
        secret_of(
            "flexVolume",
            volume
                .flex_volume
                .as_ref()
                .is_some_and(|v| v.secret_ref.is_some()),
        )
    })
    .or_else(|| secret_of("rbd", volume.rbd.as_ref().is_some_and(|v| v.secret_ref.is_some())))
    .or_else(|| secret_of("scaleIO", volume.scale_io.is_some()))
    .or_else(|| {
        secret_of(
            "iscsi",
            volume.iscsi.as_ref().is_some_and(|v| v.secret_ref.is_some()),
        )
    })
    .or_else(|| {
        secret_of(
            "storageos",
            volume.storageos.as_ref().is_some_and(|v| v.secret_ref.is_some()),
        )
    })
}

fn in_projections(volume: &Volume) -> impl Iterator<Item = (String, String)> + '_ {
    let projected = volume.projected.iter();
    let sources = projected.flat_map(|projected| projected.sources.iter().flatten());
    sources.enumerate().filter_map(|(index, source)| {
        let (kind, what) = if let Some(map) = &source.config_map {
            ("configMap", format!("ConfigMap {:?}", map.name))
        } else if let Some(secret) = &source.secret {
            ("secret", format!("Secret {:?}", secret.name))
        } else if source.service_account_token.is_some() {
            ("serviceAccountToken", "a service account token".to_owned())
        } else if let Some(bundle) = &source.cluster_trust_bundle {
            let name = bundle.name.as_ref().or(bundle.signer_name.as_ref());
            let name = name.map(String::as_str).unwrap_or_default();
            ("clusterTrustBundle", format!("ClusterTrustBundle {name:?}"))
        } else if source.pod_certificate.is_some() {
            ("podCertificate", "a pod certificate".to_owned())
        } else {
            return None;
        };
        Some((format!("projected.sources[{index}].{kind}"), what))
    })
}
