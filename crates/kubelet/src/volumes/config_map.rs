//! configMap volumes.
use super::atomic::Files;
use super::objects::Objects;
use super::{Fault, keys};
use crate::environment::objects::ObjectKind;
use k8s_openapi::api::core::v1::ConfigMapVolumeSource;

pub async fn files(source: &ConfigMapVolumeSource, objects: &Objects<'_>) -> Result<Files, Fault> {
    let optional = source.optional == Some(true);
    let content = objects
        .content(ObjectKind::ConfigMap, &source.name, optional)
        .await?;
    keys::files(
        ObjectKind::ConfigMap,
        &content,
        source.items.as_deref(),
        source.default_mode,
        optional,
    )
}
