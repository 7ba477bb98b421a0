//! secret volumes.
use super::atomic::Files;
use super::objects::Objects;
use super::{Fault, keys};
use crate::environment::objects::ObjectKind;
use k8s_openapi::api::core::v1::SecretVolumeSource;

pub async fn files(source: &SecretVolumeSource, objects: &Objects<'_>) -> Result<Files, Fault> {
    let optional = source.optional == Some(true);
    let name = source.secret_name.as_deref().unwrap_or_default();
    let content = objects.content(ObjectKind::Secret, name, optional).await?;
    keys::files(
        ObjectKind::Secret,
        &content,
        source.items.as_deref(),
        source.default_mode,
        optional,
    )
}
