//! Reading the configMaps and secrets that pods refer to.
use super::local::LocalObjects;
use crate::in_time::within;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{Api, Client};
use orlop_api::pod::is_static;
use std::collections::BTreeMap;
use std::time::Duration;

/// A read that takes longer counts as failed; the pod's next sync tries again.
const READ_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    ConfigMap,
    Secret,
}

impl ObjectKind {
    /// As messages about missing objects name it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }

    /// As messages about missing keys name it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// What is in a configMap or secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub data: BTreeMap<String, Vec<u8>>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub immutable: bool,
}

/// Why an object cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{resource} \"{name}\" not found")]
    NotFound { resource: &'static str, name: String },
    #[error("cannot read {resource} \"{name}\": {reason}")]
    Unavailable {
        resource: &'static str,
        name: String,
        reason: String,
    },
    #[error("cannot read {resource} \"{name}\": the agent runs without an API server")]
    Standalone { resource: &'static str, name: String },
}

impl FetchError {
    /// The object does not exist, as far as this node can ever know.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Standalone { .. })
    }
}

/// Where the objects of a pod are.
#[derive(Clone, Copy)]
pub enum Shelf<'a> {
    /// Behind the API server; `None`: nowhere.
    Api(Option<&'a Client>),
    /// On the node.
    Node(&'a LocalObjects),
}

impl<'a> Shelf<'a> {
    /// Of a pod; `local` is what lies on the node, if static pods may use it.
    pub fn of(pod: &Pod, client: Option<&'a Client>, local: Option<&'a LocalObjects>) -> Self {
        match local {
            Some(local) if is_static(pod) => Self::Node(local),
            _ => Self::Api(client),
        }
    }
}

/// Reads one object.
pub async fn fetch(
    shelf: Shelf<'_>,
    kind: ObjectKind,
    namespace: &str,
    name: &str,
) -> Result<Content, FetchError> {
    let resource = kind.resource();
    let client = match shelf {
        Shelf::Node(local) => return local.get(kind, namespace, name),
        Shelf::Api(client) => client,
    };
    let Some(client) = client else {
        return Err(FetchError::Standalone {
            resource,
            name: name.to_owned(),
        });
    };
    let object = async {
        match kind {
            ObjectKind::ConfigMap => Api::<ConfigMap>::namespaced(client.clone(), namespace)
                .get(name)
                .await
                .map(of_config_map),
            ObjectKind::Secret => Api::<Secret>::namespaced(client.clone(), namespace)
                .get(name)
                .await
                .map(of_secret),
        }
    };
    read(resource, name, object).await
}

/// What a read gives, if it comes in time.
pub async fn read<T>(
    resource: &'static str,
    name: &str,
    object: impl Future<Output = kube::Result<T>>,
) -> Result<T, FetchError> {
    let unavailable = |reason: String| FetchError::Unavailable {
        resource,
        name: name.to_owned(),
        reason,
    };
    match within(READ_MAX, object).await {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(FetchError::NotFound {
            resource,
            name: name.to_owned(),
        }),
        Err(error) => Err(unavailable(error.to_string())),
    }
}

fn of_config_map(object: ConfigMap) -> Content {
    let text = object
        .data
        .into_iter()
        .flatten()
        .map(|(key, value)| (key, value.into_bytes()));
    let binary = object
        .binary_data
        .into_iter()
        .flatten()
        .map(|(key, value)| (key, value.0));
    Content {
        data: text.chain(binary).collect(),
        uid: object.metadata.uid,
        resource_version: object.metadata.resource_version,
        immutable: object.immutable == Some(true),
    }
}

fn of_secret(object: Secret) -> Content {
    Content {
        uid: object.metadata.uid,
        data: object
            .data
            .into_iter()
            .flatten()
            .map(|(key, value)| (key, value.0))
            .collect(),
        resource_version: object.metadata.resource_version,
        immutable: object.immutable == Some(true),
    }
}
