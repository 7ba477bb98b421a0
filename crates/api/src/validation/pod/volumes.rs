//! The volumes of a pod, by name and source.
use crate::validation::FieldError;
use crate::validation::container::{check_label_name, one_of};
use k8s_openapi::api::core::v1::{ImageVolumeSource, PodSpec, Volume};
use std::collections::HashSet;

/// Every volume's name and source; the names that containers may mount.
pub(super) fn check_volumes(spec: &PodSpec, errors: &mut Vec<FieldError>) -> HashSet<String> {
    let mut names = HashSet::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let path = format!("spec.volumes[{index}]");
        check_label_name(&volume.name, &path, errors);
        if !volume.name.is_empty() && !names.insert(volume.name.clone()) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &volume.name));
        }
        match sources(volume).as_slice() {
            [] => errors.push(FieldError::required(path.clone(), "must specify a volume type")),
            [_, more @ ..] => errors.extend(more.iter().map(|source| {
                let hint = "may not specify more than 1 volume type";
                FieldError::forbidden(format!("{path}.{source}"), hint)
            })),
        }
        if let Some(image) = &volume.image {
            check_image_volume(image, &path, errors);
        }
        if let Some(host) = &volume.host_path {
            let field = format!("{path}.hostPath.path");
            if host.path.is_empty() {
                errors.push(FieldError::required(field, ""));
            } else if host.path.split('/').any(|part| part == "..") {
                errors.push(FieldError::invalid(field, &host.path, "must not contain '..'"));
            }
            let types = [
                "",
                "DirectoryOrCreate",
                "Directory",
                "FileOrCreate",
                "File",
                "Socket",
                "CharDevice",
                "BlockDevice",
            ];
            if let Some(kind) = host.type_.as_deref().filter(|kind| !types.contains(kind)) {
                errors.push(FieldError::not_supported(
                    format!("{path}.hostPath.type"),
                    kind,
                    &types,
                ));
            }
        }
    }
    names
}

/// A template may leave the reference to whoever fills it in; a pod is checked when it is made.
fn check_image_volume(image: &ImageVolumeSource, path: &str, errors: &mut Vec<FieldError>) {
    let reference = image.reference.as_deref().unwrap_or_default();
    if reference.trim() != reference {
        let hint = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(
            format!("{path}.image.reference"),
            reference,
            hint,
        ));
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    let policy = image.pull_policy.as_deref();
    one_of(errors, &format!("{path}.image.pullPolicy"), policy, &policies);
}

/// The sources that a volume names.
fn sources(volume: &Volume) -> Vec<String> {
    let value = serde_json::to_value(volume).unwrap_or_default();
    let fields = value.as_object().into_iter().flat_map(|fields| fields.keys());
    let mut sources: Vec<String> = fields.filter(|key| *key != "name").cloned().collect();
    sources.sort();
    sources
}
