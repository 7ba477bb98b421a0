//! What stands in the API for a manifest that cannot be run, so that `kubectl get pods -A` shows it. Pure.
use super::{Source, received};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus, Toleration};
use orlop_api::annotations::CONFIG_HASH;
use orlop_api::defaults;
use orlop_api::fnv::fnv1a128;
use std::path::Path;

/// `status.reason`, which kubectl shows as the pod's status.
pub const REASON: &str = "InvalidManifest";
/// What is wrong with the manifest. A pod with this annotation is never run.
const ANNOTATION: &str = "orlop.dev/invalid-manifest";
/// Digits of a UID that tell two placeholders apart.
const APART_DIGITS: usize = 5;
/// Of a file's name; the node's name and what stands before it must fit as well.
const NAME_MAX: usize = 63;

/// What is wrong, if the pod is a placeholder.
pub fn message(pod: &Pod) -> Option<&str> {
    let annotations = pod.metadata.annotations.as_ref()?;
    annotations.get(ANNOTATION).map(String::as_str)
}

/// The placeholder of a file on a node. Another fault makes another placeholder.
pub fn of(path: &Path, error: &str, node_name: &str) -> Pod {
    let message = format!("manifest {}: {error}", path.display());
    let uid = format!("{:032x}", fnv1a128(format!("{node_name} {message}").as_bytes()));
    let mut pod = Pod::default();
    pod.metadata.name = Some(format!(
        "invalid-manifest-{}-{}",
        label(path),
        node_name.to_lowercase()
    ));
    pod.metadata.namespace = Some("default".into());
    pod.metadata.uid = Some(uid.clone());
    pod.metadata.annotations = Some([(CONFIG_HASH.to_owned(), uid), (ANNOTATION.to_owned(), message)].into());
    pod.spec = Some(PodSpec {
        node_name: Some(node_name.to_owned()),
        tolerations: Some(vec![Toleration {
            operator: Some("Exists".into()),
            effect: Some("NoExecute".into()),
            ..Toleration::default()
        }]),
        containers: vec![Container {
            name: "none".into(),
            image: Some("none".into()),
            ..Container::default()
        }],
        ..PodSpec::default()
    });
    if let Err(error) = defaults::typed(&mut pod, defaults::pod) {
        tracing::error!(%error, "a placeholder does not get its defaults");
    }
    pod.status = Some(PodStatus {
        phase: Some("Pending".into()),
        ..PodStatus::default()
    });
    received(pod, Source::File)
}

/// The same for a file whose placeholder would have the name of another's: `web.json` beside `web.yaml`.
pub fn apart(placeholder: &Pod) -> Pod {
    let mut pod = placeholder.clone();
    let (name, uid) = (
        orlop_api::pod::name(placeholder),
        orlop_api::pod::uid(placeholder),
    );
    pod.metadata.name = Some(format!("{name}-{}", uid.get(..APART_DIGITS).unwrap_or(uid)));
    // Another name is another pod: under one UID nobody would hear of it.
    let own = format!("{:032x}", fnv1a128(format!("{uid} apart").as_bytes()));
    pod.metadata.uid = Some(own.clone());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(CONFIG_HASH.to_owned(), own);
    pod
}

/// The file's name as part of a pod's: lower-case letters, digits and dashes.
fn label(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').find(|part| !part.is_empty()).unwrap_or("file");
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let label: String = stem.chars().map(plain).take(NAME_MAX).collect();
    match label.trim_matches('-') {
        "" => "file".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholder_is_a_valid_pod_that_says_what_is_wrong() {
        let pod = of(Path::new("/m/My_Web.yaml"), "line 3: no", "n1");
        assert_eq!(pod.metadata.name.as_deref(), Some("invalid-manifest-my-web-n1"));
        assert_eq!(message(&pod), Some("manifest /m/My_Web.yaml: line 3: no"));
        assert_eq!(pod.metadata.uid.as_ref().unwrap().len(), 32);
        let errors = orlop_api::validation::pod_create(&pod);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(message(&Pod::default()), None);
    }

    #[test]
    fn names_of_files_become_names_of_pods() {
        for (file, expected) in [("a.b.yaml", "a"), ("~", "file"), ("_x_", "x"), ("Ä.yaml", "file")] {
            assert_eq!(label(Path::new(file)), expected, "{file}");
        }
    }
}
