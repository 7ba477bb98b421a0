//! A container's variables (contract, node agent §14).
use super::local::LocalObjects;
use super::objects::{self, Content, FetchError, ObjectKind, Shelf};
use super::resource::{ThisNode, resource_value};
use super::{EnvError, field, file_key};
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod};
use orlop_api::expand::expand;
use orlop_api::pod::namespace;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What of the node and the sandbox goes into variables.
pub struct EnvContext<'a> {
    /// The agent's directory.
    pub root: &'a Path,
    pub pod_ips: &'a [String],
    pub host_ips: &'a [String],
    /// Variables that lead to Services; the container's own win.
    pub services: &'a [(String, String)],
    /// `None`: alone, without an API server.
    pub client: Option<&'a kube::Client>,
    /// What lies on the node for static pods, if they may use it.
    pub local: Option<&'a LocalObjects>,
    /// What stands in for limits that the container does not have.
    pub node: &'a ThisNode,
}

/// The variables of a container: those of Services, `envFrom` in order, then `env` in order, later ones over earlier ones.
pub async fn container_env(
    pod: &Pod,
    container: &Container,
    context: &EnvContext<'_>,
) -> Result<Vec<(String, String)>, EnvError> {
    let mut reader = Reader {
        shelf: Shelf::of(pod, context.client, context.local),
        namespace: namespace(pod),
        read: HashMap::new(),
    };
    let mut variables: BTreeMap<String, String> = context.services.iter().cloned().collect();
    for from in container.env_from.iter().flatten() {
        let (kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(source), _) => (ObjectKind::ConfigMap, &source.name, source.optional),
            (None, Some(source)) => (ObjectKind::Secret, &source.name, source.optional),
            (None, None) => continue,
        };
        let Some(content) = reader.content(kind, name, optional == Some(true)).await? else {
            continue;
        };
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let new = content
            .data
            .iter()
            .map(|(key, value)| (format!("{prefix}{key}"), text(value)));
        variables.extend(new);
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value_of(pod, container, variable, context, &variables, &mut reader).await? {
            variables.insert(variable.name.clone(), value);
        }
    }
    Ok(variables.into_iter().collect())
}

/// The value of one variable; `None` when it comes from something optional that is not there.
async fn value_of(
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    context: &EnvContext<'_>,
    known: &BTreeMap<String, String>,
    reader: &mut Reader<'_>,
) -> Result<Option<String>, EnvError> {
    if let Some(value) = variable.value.as_deref().filter(|value| !value.is_empty()) {
        return Ok(Some(expand(value, |name| known.get(name).cloned())));
    }
    let Some(from) = &variable.value_from else {
        return Ok(Some(String::new()));
    };
    if let Some(selector) = &from.field_ref {
        return field_value(pod, &selector.field_path, context).map(Some);
    }
    if let Some(selector) = &from.resource_field_ref {
        return Ok(Some(resource_value(
            pod,
            Some(container),
            selector,
            context.node,
        )?));
    }
    if let Some(selector) = &from.file_key_ref {
        return file_key::value(context.root, pod, selector);
    }
    let Some((kind, name, key, optional)) = key_reference(from) else {
        return Ok(Some(String::new()));
    };
    let namespace = reader.namespace.to_owned();
    let Some(content) = reader.content(kind, name, optional).await? else {
        return Ok(None);
    };
    match content.data.get(key) {
        Some(value) => Ok(Some(text(value))),
        None if optional => Ok(None),
        None => {
            let (name, key) = (name.to_owned(), key.to_owned());
            Err(EnvError::MissingKey {
                kind: kind.kind(),
                namespace,
                name,
                key,
            })
        }
    }
}

fn key_reference(from: &EnvVarSource) -> Option<(ObjectKind, &str, &str, bool)> {
    if let Some(selector) = &from.config_map_key_ref {
        return Some((
            ObjectKind::ConfigMap,
            &selector.name,
            &selector.key,
            selector.optional == Some(true),
        ));
    }
    let selector = from.secret_key_ref.as_ref()?;
    Some((
        ObjectKind::Secret,
        &selector.name,
        &selector.key,
        selector.optional == Some(true),
    ))
}

fn field_value(pod: &Pod, path: &str, context: &EnvContext<'_>) -> Result<String, EnvError> {
    let spec = pod.spec.as_ref();
    let first = |list: &[String]| list.first().cloned().unwrap_or_default();
    Ok(match path {
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec
            .and_then(|spec| spec.service_account_name.clone())
            .unwrap_or_default(),
        "status.podIP" => first(context.pod_ips),
        "status.podIPs" => context.pod_ips.join(","),
        "status.hostIP" => first(context.host_ips),
        "status.hostIPs" => context.host_ips.join(","),
        // Whole maps are for volumes only.
        "metadata.labels" | "metadata.annotations" => {
            return Err(EnvError::UnsupportedField(path.to_owned()));
        }
        _ => {
            let value = field::metadata_value(pod, path);
            return value.ok_or_else(|| EnvError::UnsupportedField(path.to_owned()));
        }
    })
}

/// Variables are text; what is not UTF-8 is shown as well as it can be.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// Reads every object once a container.
struct Reader<'a> {
    shelf: Shelf<'a>,
    namespace: &'a str,
    read: HashMap<(ObjectKind, String), Result<Content, FetchError>>,
}

impl Reader<'_> {
    /// `None`: it is optional and not there.
    async fn content(
        &mut self,
        kind: ObjectKind,
        name: &str,
        optional: bool,
    ) -> Result<Option<&Content>, EnvError> {
        let key = (kind, name.to_owned());
        if !self.read.contains_key(&key) {
            let answer = objects::fetch(self.shelf, kind, self.namespace, name).await;
            self.read.insert(key.clone(), answer);
        }
        match self.read.get(&key) {
            Some(Ok(content)) => Ok(Some(content)),
            Some(Err(error)) if !(optional && error.is_absent()) => Err(error.clone().into()),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
#[path = "variables_tests.rs"]
mod tests;
