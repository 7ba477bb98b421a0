//! downwardAPI volumes: what a pod may know of itself.
use super::atomic::Files;
use super::{Fault, keys};
use crate::environment::field::metadata_value;
use crate::environment::resource::{ThisNode, resource_value};
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, DownwardAPIVolumeSource, Pod};

pub fn files(source: &DownwardAPIVolumeSource, pod: &Pod, node: &ThisNode) -> Result<Files, Fault> {
    of_items(
        source.items.as_deref().unwrap_or_default(),
        source.default_mode,
        pod,
        node,
    )
}

pub fn of_items(
    items: &[DownwardAPIVolumeFile],
    default_mode: Option<i32>,
    pod: &Pod,
    node: &ThisNode,
) -> Result<Files, Fault> {
    let mut files = Files::new();
    for item in items {
        let value = if let Some(field) = &item.field_ref {
            metadata_value(pod, &field.field_path)
                .ok_or_else(|| Fault::Invalid(format!("unsupported fieldPath: {}", field.field_path)))?
        } else if let Some(selector) = &item.resource_field_ref {
            resource_value(pod, None, selector, node).map_err(|error| Fault::Invalid(error.to_string()))?
        } else {
            continue;
        };
        let mode = item.mode.or(default_mode).unwrap_or(keys::MODE_DEFAULT);
        files.insert(item.path.clone(), keys::file(value.into_bytes(), mode));
    }
    Ok(files)
}
