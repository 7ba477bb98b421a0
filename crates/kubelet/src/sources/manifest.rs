//! From the bytes of a manifest to the pod that runs (contract, static pods §2.3 to §2.5). Pure.
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration, Volume};
use orlop_api::annotations::CONFIG_HASH;
use orlop_api::names::{is_dns_label, is_dns_subdomain};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;

/// What is wrong with a manifest; the text names line or field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not YAML or JSON, or a field of the wrong type; the text has line and column.
    #[error("{0}")]
    Decode(String),
    /// A field that can't be so.
    #[error("{field}: {reason}")]
    Field {
        /// `spec.containers[0].image`.
        field: String,
        /// `Required value`, `Invalid value: ...`.
        reason: String,
    },
}

fn field(field: impl Into<String>, reason: impl Into<String>) -> ManifestError {
    ManifestError::Field {
        field: field.into(),
        reason: reason.into(),
    }
}

/// The static pod of a file.
pub fn static_pod(bytes: &[u8], node_name: &str, file: &Path) -> Result<Pod, ManifestError> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| ManifestError::Decode(format!("not UTF-8: {error}")))?;
    let mut pod = decode(first_document(text))?;
    orlop_api::defaults::pod(&mut pod);
    if pod.metadata.name.as_deref().unwrap_or_default().is_empty() {
        return Err(field("metadata.name", "Required value"));
    }
    if pod.metadata.uid.as_deref().unwrap_or_default().is_empty() {
        pod.metadata.uid = Some(identity(&pod, node_name, file));
    }
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let name = pod.metadata.name.take().unwrap_or_default();
    pod.metadata.name = Some(format!("{name}-{}", node_name.to_lowercase()));
    if pod.metadata.namespace.as_deref().unwrap_or_default().is_empty() {
        pod.metadata.namespace = Some("default".into());
    }
    pod.metadata
        .annotations
        .get_or_insert_default()
        .insert(CONFIG_HASH.to_owned(), uid);
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(node_name.to_owned());
    let everything = Toleration {
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        ..Toleration::default()
    };
    let tolerations = spec.tolerations.get_or_insert_default();
    if !tolerations.contains(&everything) {
        tolerations.push(everything);
    }
    pod.status = Some(k8s_openapi::api::core::v1::PodStatus {
        phase: Some("Pending".into()),
        ..k8s_openapi::api::core::v1::PodStatus::default()
    });
    validate(&pod)?;
    Ok(pod)
}

/// Everything up to a second document, which is ignored.
fn first_document(text: &str) -> &str {
    let mut offset = 0;
    let mut has_content = false;
    for line in text.split_inclusive('\n') {
        let plain = line.trim_end();
        if (plain == "---" || plain.starts_with("--- ")) && has_content {
            return &text[..offset];
        }
        has_content |= plain == "---"
            || !(plain.trim().is_empty() || plain.trim_start().starts_with('#') || plain.starts_with('%'));
        offset += line.len();
    }
    text
}

fn decode(text: &str) -> Result<Pod, ManifestError> {
    let lenient = serde_saphyr::options! { duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins };
    let decoding = |error: serde_saphyr::Error| ManifestError::Decode(one_line(&error.to_string()));
    let value: Value = serde_saphyr::from_str_with_options(text, lenient.clone()).map_err(decoding)?;
    for (name, wanted) in [("apiVersion", "v1"), ("kind", "Pod")] {
        match value.get(name).and_then(Value::as_str) {
            None | Some("") => return Err(field(name, "Required value")),
            Some(found) if found != wanted => {
                return Err(field(
                    name,
                    format!("Unsupported value: \"{found}\": a manifest holds one v1 Pod"),
                ));
            }
            Some(_) => {}
        }
    }
    // Read again with its types: errors then know where they stand.
    serde_saphyr::from_str_with_options(text, lenient).map_err(decoding)
}

/// Parsers like to draw the place; a log line has one line.
fn one_line(text: &str) -> String {
    let first = text.lines().next().unwrap_or(text).trim();
    first
        .trim_start_matches("error: ")
        .trim_end_matches(':')
        .to_owned()
}

/// The same content, path and node always give the same digits.
fn identity(pod: &Pod, node_name: &str, file: &Path) -> String {
    let mut hash = orlop_api::fnv::Fnv128::new();
    // Through `Value` keys are in order, whatever order the file has.
    if let Ok(value) = serde_json::to_value(pod) {
        hash.write(value.to_string().as_bytes());
    }
    hash.write(format!("host:{node_name}file:{}", file.display()).as_bytes());
    format!("{:032x}", hash.finish())
}

/// What would keep the pod from running for good. The API server checks a mirror in full.
fn validate(pod: &Pod) -> Result<(), ManifestError> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let invalid = |value: &str, rule: &str| format!("Invalid value: \"{value}\": {rule}");
    let subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                     and must start and end with an alphanumeric character";
    if !is_dns_subdomain(name) {
        return Err(field("metadata.name", invalid(name, subdomain)));
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                 and end with an alphanumeric character";
    if !is_dns_label(namespace) {
        return Err(field("metadata.namespace", invalid(namespace, label)));
    }
    let Some(spec) = &pod.spec else {
        return Err(field("spec", "Required value"));
    };
    if spec.containers.is_empty() {
        return Err(field("spec.containers", "Required value"));
    }
    if spec
        .ephemeral_containers
        .as_ref()
        .is_some_and(|list| !list.is_empty())
    {
        return Err(field(
            "spec.ephemeralContainers",
            "Forbidden: cannot be set on create",
        ));
    }
    if spec
        .scheduling_gates
        .as_ref()
        .is_some_and(|list| !list.is_empty())
    {
        return Err(field(
            "spec.schedulingGates",
            "Forbidden: cannot be set for a pod that has a node",
        ));
    }
    let mut names = HashSet::new();
    for (path, container) in orlop_api::pod::containers_with_paths(spec) {
        if container.name.is_empty() {
            return Err(field(format!("{path}.name"), "Required value"));
        }
        if !is_dns_label(&container.name) {
            return Err(field(format!("{path}.name"), invalid(&container.name, label)));
        }
        if !names.insert(container.name.as_str()) {
            return Err(field(
                format!("{path}.name"),
                format!("Duplicate value: \"{}\"", container.name),
            ));
        }
        if container.image.as_deref().unwrap_or_default().trim().is_empty() {
            return Err(field(format!("{path}.image"), "Required value"));
        }
        mounts(spec, &path, container)?;
    }
    references(spec)
}

fn mounts(spec: &PodSpec, path: &str, container: &Container) -> Result<(), ManifestError> {
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let at = format!("{path}.volumeMounts[{index}]");
        if mount.mount_path.is_empty() {
            return Err(field(format!("{at}.mountPath"), "Required value"));
        }
        if !spec
            .volumes
            .iter()
            .flatten()
            .any(|volume| volume.name == mount.name)
        {
            return Err(field(
                format!("{at}.name"),
                format!("Not found: \"{}\"", mount.name),
            ));
        }
    }
    Ok(())
}

/// A static pod may not need the API server (gate PreventStaticPodAPIReferences).
fn references(spec: &PodSpec) -> Result<(), ManifestError> {
    let refuse = |at: String, what: &str| {
        Err(field(
            at,
            format!(
                "Forbidden: static pods may not reference {what}: the node runs them without an API server"
            ),
        ))
    };
    if spec
        .service_account_name
        .as_deref()
        .or(spec.service_account.as_deref())
        .is_some_and(|name| !name.is_empty())
    {
        return refuse("spec.serviceAccountName".into(), "serviceaccounts");
    }
    if spec
        .image_pull_secrets
        .iter()
        .flatten()
        .any(|secret| !secret.name.is_empty())
    {
        return refuse("spec.imagePullSecrets".into(), "secrets");
    }
    if spec
        .resource_claims
        .as_ref()
        .is_some_and(|claims| !claims.is_empty())
    {
        return refuse("spec.resourceClaims".into(), "resourceclaims");
    }
    for (path, container) in orlop_api::pod::containers_with_paths(spec) {
        for (index, from) in container.env_from.iter().flatten().enumerate() {
            let at = format!("{path}.envFrom[{index}]");
            if from
                .secret_ref
                .as_ref()
                .is_some_and(|secret| !secret.name.is_empty())
            {
                return refuse(at, "secrets");
            }
            if from
                .config_map_ref
                .as_ref()
                .is_some_and(|map| !map.name.is_empty())
            {
                return refuse(at, "configmaps");
            }
        }
        for (index, variable) in container.env.iter().flatten().enumerate() {
            let Some(from) = &variable.value_from else {
                continue;
            };
            let at = format!("{path}.env[{index}].valueFrom");
            if from
                .secret_key_ref
                .as_ref()
                .is_some_and(|secret| !secret.name.is_empty())
            {
                return refuse(at, "secrets");
            }
            if from
                .config_map_key_ref
                .as_ref()
                .is_some_and(|map| !map.name.is_empty())
            {
                return refuse(at, "configmaps");
            }
        }
    }
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        if let Some(what) = volume_reference(volume) {
            return refuse(format!("spec.volumes[{index}]"), what);
        }
    }
    Ok(())
}

fn volume_reference(volume: &Volume) -> Option<&'static str> {
    let projected = volume
        .projected
        .iter()
        .flat_map(|projected| projected.sources.iter().flatten());
    let has_api_source = |source: &k8s_openapi::api::core::v1::VolumeProjection| {
        source.config_map.is_some()
            || source.secret.is_some()
            || source.service_account_token.is_some()
            || source.cluster_trust_bundle.is_some()
            || source.pod_certificate.is_some()
    };
    let secrets = [
        volume.cephfs.as_ref().is_some_and(|v| v.secret_ref.is_some()),
        volume.cinder.as_ref().is_some_and(|v| v.secret_ref.is_some()),
        volume
            .flex_volume
            .as_ref()
            .is_some_and(|v| v.secret_ref.is_some()),
        volume.rbd.as_ref().is_some_and(|v| v.secret_ref.is_some()),
        volume.scale_io.is_some(),
        volume.iscsi.as_ref().is_some_and(|v| v.secret_ref.is_some()),
        volume.storageos.as_ref().is_some_and(|v| v.secret_ref.is_some()),
        volume.azure_file.is_some(),
        volume.secret.is_some(),
    ];
    match () {
        () if secrets.contains(&true) => Some("secrets"),
        () if volume.config_map.is_some() => Some("configmaps"),
        () if volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some() => {
            Some("persistentvolumeclaims")
        }
        () if volume.csi.is_some() => Some("CSI volumes"),
        () if volume.glusterfs.is_some() => Some("endpoints"),
        () if projected.into_iter().any(has_api_source) => Some("API objects in projected volumes"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n";

    fn read(text: &str) -> Result<Pod, ManifestError> {
        static_pod(text.as_bytes(), "Node-A", Path::new("/m/web.yaml"))
    }

    fn with_spec(spec: &str) -> Result<Pod, ManifestError> {
        read(&format!("{HEAD}spec: {{{spec}}}\n"))
    }

    const FINE: &str = "containers: [{name: c, image: i}]";

    #[test]
    fn a03_pod_gets_name_namespace_node_hash_and_toleration() {
        let pod = with_spec(FINE).unwrap();
        assert_eq!(pod.metadata.name.as_deref(), Some("web-node-a"));
        assert_eq!(pod.metadata.namespace.as_deref(), Some("default"));
        let uid = pod.metadata.uid.clone().unwrap();
        assert!(
            uid.len() == 32 && uid.bytes().all(|c| c.is_ascii_hexdigit()),
            "{uid}"
        );
        assert_eq!(pod.metadata.annotations.unwrap()[CONFIG_HASH], uid);
        let spec = pod.spec.unwrap();
        assert_eq!(spec.tolerations.unwrap().len(), 1);
        assert_eq!(spec.restart_policy.as_deref(), Some("Always"));
    }

    #[test]
    fn a04_a09_identity_follows_meaning_path_and_node() {
        let one = with_spec(FINE).unwrap().metadata.uid;
        let same = read(
            "# note\nkind: Pod\nspec:\n  restartPolicy: Always\n  containers:\n  - image: i\n    name: c\n\
                         metadata: {name: web}\napiVersion: v1\n",
        );
        assert_eq!(same.unwrap().metadata.uid, one);
        let other = with_spec("containers: [{name: c, image: j}]")
            .unwrap()
            .metadata
            .uid;
        let text = format!("{HEAD}spec: {{{FINE}}}\n");
        let moved = static_pod(text.as_bytes(), "Node-A", Path::new("/m/b.yaml"))
            .unwrap()
            .metadata
            .uid;
        let elsewhere = static_pod(text.as_bytes(), "node-b", Path::new("/m/web.yaml"))
            .unwrap()
            .metadata
            .uid;
        for different in [other, moved, elsewhere] {
            assert_ne!(different, one);
        }
    }

    #[test]
    fn a06_references_to_the_api_are_refused_with_their_field() {
        for (spec, at) in [
            ("serviceAccountName: x", "spec.serviceAccountName"),
            ("imagePullSecrets: [{name: x}]", "spec.imagePullSecrets"),
            ("resourceClaims: [{name: x}]", "spec.resourceClaims"),
            ("volumes: [{name: v, configMap: {name: x}}]", "spec.volumes[0]"),
            (
                "volumes: [{name: v, persistentVolumeClaim: {claimName: x}}]",
                "spec.volumes[0]",
            ),
            (
                "ephemeralContainers: [{name: e, image: i}]",
                "spec.ephemeralContainers",
            ),
        ] {
            let error = with_spec(&format!("{FINE}, {spec}")).unwrap_err().to_string();
            assert!(error.starts_with(at), "{error}");
        }
        let secret = "containers: [{name: c, image: i, env: [{name: E, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]";
        assert!(
            with_spec(secret)
                .unwrap_err()
                .to_string()
                .starts_with("spec.containers[0].env[0].valueFrom")
        );
        assert!(with_spec(&format!("{FINE}, volumes: [{{name: v, hostPath: {{path: /x}}}}]")).is_ok());
    }

    #[test]
    fn a08_only_the_first_document_counts_and_lists_do_not() {
        let two = format!("---\n{HEAD}spec: {{{FINE}}}\n---\nkind: Nonsense\n");
        assert_eq!(read(&two).unwrap().metadata.name.as_deref(), Some("web-node-a"));
        assert!(
            read("apiVersion: v1\nkind: PodList\nitems: []\n")
                .unwrap_err()
                .to_string()
                .starts_with("kind")
        );
    }

    #[test]
    fn errors_say_where() {
        let wrong_type = read(&format!("{HEAD}spec:\n  hostNetwork: maybe\n  {FINE}\n"))
            .unwrap_err()
            .to_string();
        assert!(wrong_type.contains("line 5"), "{wrong_type}");
        let syntax = read("apiVersion: v1\nkind: Pod\nspec: [\n")
            .unwrap_err()
            .to_string();
        assert!(syntax.contains("line"), "{syntax}");
        assert_eq!(
            with_spec("containers: [{name: c}]").unwrap_err().to_string(),
            "spec.containers[0].image: Required value"
        );
        let nameless = read(&format!("apiVersion: v1\nkind: Pod\nspec: {{{FINE}}}\n")).unwrap_err();
        assert_eq!(nameless.to_string(), "metadata.name: Required value");
    }
}
