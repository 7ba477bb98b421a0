//! projected volumes: several sources in one directory; later ones win.
use super::atomic::Files;
use super::objects::Objects;
use super::token::{Tokens, Wanted};
use super::{Fault, downward_api, keys};
use crate::environment::objects::ObjectKind;
use crate::environment::resource::ThisNode;
use k8s_openapi::api::core::v1::{Pod, ProjectedVolumeSource};

pub async fn files(
    source: &ProjectedVolumeSource,
    pod: &Pod,
    volume: &str,
    objects: &Objects<'_>,
    tokens: &Tokens,
    node: &ThisNode,
) -> Result<Files, Fault> {
    let mode = source.default_mode;
    let mut files = Files::new();
    for part in source.sources.iter().flatten() {
        if let Some(wanted) = &part.config_map {
            let optional = wanted.optional == Some(true);
            let content = objects
                .content(ObjectKind::ConfigMap, &wanted.name, optional)
                .await?;
            files.extend(keys::files(
                ObjectKind::ConfigMap,
                &content,
                wanted.items.as_deref(),
                mode,
                optional,
            )?);
        } else if let Some(wanted) = &part.secret {
            let optional = wanted.optional == Some(true);
            let content = objects
                .content(ObjectKind::Secret, &wanted.name, optional)
                .await?;
            files.extend(keys::files(
                ObjectKind::Secret,
                &content,
                wanted.items.as_deref(),
                mode,
                optional,
            )?);
        } else if let Some(wanted) = &part.downward_api {
            files.extend(downward_api::of_items(
                wanted.items.as_deref().unwrap_or_default(),
                mode,
                pod,
                node,
            )?);
        } else if let Some(wanted) = &part.service_account_token {
            let token = tokens
                .token(
                    pod,
                    &Wanted {
                        volume,
                        projection: wanted,
                    },
                )
                .await?;
            files.insert(wanted.path.clone(), super::token::file(pod, token, mode));
        } else {
            let value = serde_json::to_value(part).unwrap_or_default();
            let name = value
                .as_object()
                .and_then(|map| map.keys().next().cloned())
                .unwrap_or_default();
            return Err(Fault::Unsupported(format!("projected.{name}")));
        }
    }
    Ok(files)
}
