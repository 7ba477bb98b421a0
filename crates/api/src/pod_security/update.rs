//! Which changes to a pod are looked at: those that could bring a violation.

use k8s_openapi::api::core::v1::Pod;

use super::baseline::{SECCOMP_CONTAINER, SECCOMP_POD};

/// Whether `new` differs from `old` in an image, a container or a seccomp annotation. Nothing else of what the checks
/// read can change.
pub fn is_significant(new: &Pod, old: &Pod) -> bool {
    if annotation(new, SECCOMP_POD) != annotation(old, SECCOMP_POD) {
        return true;
    }
    let (now, before) = (images(new), images(old));
    let added_or_changed = now.iter().any(|entry| !before.contains(entry));
    let counts = |pod: &Pod| {
        let spec = pod.spec.as_ref();
        spec.map(|s| (s.containers.len(), s.init_containers.as_ref().map_or(0, Vec::len)))
    };
    added_or_changed
        || counts(new) != counts(old)
        || now.iter().any(|(_, name, _)| {
            let key = format!("{SECCOMP_CONTAINER}{name}");
            annotation(new, &key) != annotation(old, &key)
        })
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    let annotations = pod.metadata.annotations.as_ref()?;
    annotations.get(key).map(String::as_str)
}

/// Sort, name and image of every container.
fn images(pod: &Pod) -> Vec<(u8, &str, &str)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten();
    let init = init.map(|c| (0, c.name.as_str(), c.image.as_deref().unwrap_or_default()));
    let main = spec.containers.iter();
    let main = main.map(|c| (1, c.name.as_str(), c.image.as_deref().unwrap_or_default()));
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let ephemeral = ephemeral.map(|c| (2, c.name.as_str(), c.image.as_deref().unwrap_or_default()));
    init.chain(main).chain(ephemeral).collect()
}
