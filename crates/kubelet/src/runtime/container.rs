//! The ContainerConfig of a container (contract, node agent §11.3 and §11.4). Pure.
mod security;

pub use security::{
    Security, groups_policy, non_root_violation, selinux, supplemental_groups, thermal_throttles,
};

use super::hash::container_hash;
use super::seen::{annotations, labels};
use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_api::pod::{name, namespace, uid};
use orlop_cri::v1;
use security::security_context;
use std::collections::{BTreeMap, HashMap};

/// What was prepared for a container before it is created.
pub struct Prepared {
    /// Image reference of the runtime.
    pub image: v1::ImageSpec,
    pub restart_count: u32,
    pub env: Vec<(String, String)>,
    pub mounts: Vec<v1::Mount>,
    pub resources: v1::LinuxContainerResources,
    /// Devices, and what their plugins want the runtime to be told.
    pub devices: Vec<v1::Device>,
    pub cdi_devices: Vec<v1::CdiDevice>,
    pub annotations: BTreeMap<String, String>,
    /// The image's own user, for when the spec names none.
    pub image_user: ImageUser,
}

/// The user an image wants to run as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUser {
    pub uid: Option<i64>,
    pub name: String,
}

/// The request for one container.
pub fn container_config(
    pod: &Pod,
    container: &Container,
    prepared: Prepared,
    security: &Security<'_>,
) -> v1::ContainerConfig {
    let Some(spec) = pod.spec.as_ref() else {
        return v1::ContainerConfig::default();
    };
    let lookup = |key: &str| {
        prepared
            .env
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.clone())
    };
    let expand = |words: &Option<Vec<String>>| {
        words
            .iter()
            .flatten()
            .map(|word| orlop_api::expand::expand(word, lookup))
            .collect::<Vec<_>>()
    };
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: container.name.clone(),
            attempt: prepared.restart_count,
        }),
        image: Some(prepared.image),
        command: expand(&container.command),
        args: expand(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        log_path: format!("{}/{}.log", container.name, prepared.restart_count),
        labels: HashMap::from([
            (labels::POD_NAME.to_owned(), name(pod).to_owned()),
            (labels::POD_NAMESPACE.to_owned(), namespace(pod).to_owned()),
            (labels::POD_UID.to_owned(), uid(pod).to_owned()),
            (labels::CONTAINER_NAME.to_owned(), container.name.clone()),
        ]),
        annotations: {
            let mut annotations = notes(pod, container, prepared.restart_count);
            annotations.extend(prepared.annotations);
            annotations
        },
        devices: prepared.devices,
        cdi_devices: prepared.cdi_devices,
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(prepared.resources),
            security_context: Some(security_context(
                pod.metadata.annotations.as_ref(),
                spec,
                container,
                &prepared.image_user,
                security,
            )),
        }),
        mounts: prepared.mounts,
        envs: prepared
            .env
            .into_iter()
            .map(|(key, value)| v1::KeyValue { key, value })
            .collect(),
        ..v1::ContainerConfig::default()
    }
}

/// What a restarted agent, or one that never knew the spec, needs to stop the container properly.
fn notes(pod: &Pod, container: &Container, restart_count: u32) -> HashMap<String, String> {
    let mut notes = HashMap::from([
        (annotations::HASH.to_owned(), container_hash(container)),
        (annotations::RESTART_COUNT.to_owned(), restart_count.to_string()),
        (
            annotations::TERMINATION_MESSAGE_PATH.to_owned(),
            container.termination_message_path.clone().unwrap_or_default(),
        ),
        (
            annotations::TERMINATION_MESSAGE_POLICY.to_owned(),
            container.termination_message_policy.clone().unwrap_or_default(),
        ),
    ]);
    if let Some(pre_stop) = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.pre_stop.as_ref())
        && let Ok(text) = serde_json::to_string(pre_stop)
    {
        notes.insert(annotations::PRE_STOP.to_owned(), text);
    }
    if let Some(ports) = container.ports.as_ref().filter(|ports| !ports.is_empty())
        && let Ok(text) = serde_json::to_string(ports)
    {
        notes.insert(annotations::PORTS.to_owned(), text);
    }
    if let Some(grace) = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.termination_grace_period_seconds)
    {
        notes.insert(annotations::POD_GRACE.to_owned(), grace.to_string());
    }
    if let Some(grace) = pod.metadata.deletion_grace_period_seconds {
        notes.insert(annotations::POD_DELETION_GRACE.to_owned(), grace.to_string());
    }
    notes
}

#[cfg(test)]
mod tests;
