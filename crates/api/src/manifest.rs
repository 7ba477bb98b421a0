//! Static-pod manifests: from the bytes of a file to the pod that runs, or to an error that says where
//! in the file the fault lies (contract, static pods §2.3 to §2.5).
mod references;
mod uid;

use crate::annotations::CONFIG_HASH;
use crate::taints::NO_EXECUTE;
use crate::validation::{FieldError, pod_create};
use crate::yaml::{Location, Node, Value, first_document};
use crate::{defaults, taints};
use k8s_openapi::api::core::v1::{Pod, PodStatus, Toleration};
use std::fmt;
use std::path::PathBuf;

/// A manifest of this many bytes is refused.
pub const MANIFEST_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Where a manifest came from; part of the pod's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    Http(String),
}

/// Where a manifest came from and which node runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticOrigin {
    pub node_name: String,
    pub source: Source,
}

/// Why a manifest cannot be used, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// Field path, such as `spec.containers[0].image`.
    pub field: Option<String>,
    /// From 1.
    pub line: Option<usize>,
    /// From 1.
    pub column: Option<usize>,
    pub reason: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "line {line}, column {column}: ")?;
        }
        if let Some(field) = self.field.as_ref().filter(|field| !field.is_empty()) {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.reason)
    }
}

impl ManifestError {
    fn whole(reason: impl Into<String>) -> Self {
        Self {
            field: None,
            line: None,
            column: None,
            reason: reason.into(),
        }
    }

    fn at(place: Location, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()).filter(|field| !field.is_empty()),
            line: Some(place.line),
            column: Some(place.column),
            reason: reason.into(),
        }
    }

    /// The first error, at its place; how many more there are.
    fn of_fields(errors: &[FieldError], tree: &Node) -> Option<Self> {
        let first = errors.first()?;
        let mut reason = first.detail.clone();
        if errors.len() > 1 {
            let others: Vec<String> = errors[1..].iter().map(ToString::to_string).collect();
            reason = format!("{reason} (and {} more: {})", others.len(), others.join("; "));
        }
        Some(Self::at(tree.locate(&first.field), first.field.clone(), reason))
    }
}

/// Reads a Pod leniently: the first document counts, unknown and repeated fields are ignored.
pub fn decode(bytes: &[u8]) -> Result<Pod, ManifestError> {
    read(bytes).map(|(pod, _)| pod)
}

fn read(bytes: &[u8]) -> Result<(Pod, Node), ManifestError> {
    let tree = tree_of(bytes)?;
    let pod = typed(&tree)?;
    Ok((pod, tree))
}

fn tree_of(bytes: &[u8]) -> Result<Node, ManifestError> {
    if bytes.len() >= MANIFEST_BYTES_MAX {
        return Err(ManifestError::whole(format!(
            "the file is too large: the limit is {MANIFEST_BYTES_MAX} bytes"
        )));
    }
    first_document(bytes).map_err(|error| ManifestError::at(error.at, "", error.reason))
}

fn typed(tree: &Node) -> Result<Pod, ManifestError> {
    let given = |field: &str| tree.get(field).and_then(Node::as_str).unwrap_or_default();
    for (field, wanted) in [("apiVersion", "v1"), ("kind", "Pod")] {
        let found = given(field);
        if found != wanted {
            let reason = match found {
                "" => format!("Required value: a manifest needs `{field}: {wanted}`"),
                found => format!("{found:?} is not what a manifest can be: it must be {wanted:?}"),
            };
            return Err(ManifestError::at(tree.locate(field), field, reason));
        }
    }
    untyped(tree)
}

/// Reads a Pod whose type is known from where it stands.
fn untyped(tree: &Node) -> Result<Pod, ManifestError> {
    tree.decode().map_err(|error| ManifestError {
        field: Some(error.field).filter(|field| !field.is_empty()),
        line: error.at.map(|at| at.line),
        column: error.at.map(|at| at.column),
        reason: error.reason,
    })
}

/// The pods of an answer over HTTP: of a Pod, or of a PodList, of which one bad item spoils all.
pub fn static_pods(bytes: &[u8], origin: &StaticOrigin) -> Result<Vec<Pod>, ManifestError> {
    let tree = tree_of(bytes)?;
    let of = |field: &str| tree.get(field).and_then(Node::as_str).unwrap_or_default();
    if (of("apiVersion"), of("kind")) != ("v1", "PodList") {
        return Ok(vec![made(typed(&tree)?, &tree, origin)?]);
    }
    let items = match tree.get("items").map(|items| &items.value) {
        Some(Value::List(items)) => items.as_slice(),
        None | Some(Value::Null) => &[],
        Some(_) => {
            let reason = "Invalid value: must be a list of Pods";
            return Err(ManifestError::at(tree.locate("items"), "items", reason));
        }
    };
    let pods = items.iter().enumerate().map(|(index, item)| {
        let pod = untyped(item).and_then(|pod| made(pod, item, origin));
        pod.map_err(|mut error| {
            let inside = error.field.map(|field| format!(".{field}")).unwrap_or_default();
            error.field = Some(format!("items[{index}]{inside}"));
            error
        })
    });
    pods.collect()
}

/// The pod that a manifest makes on a node: defaulted, named, identified, validated.
pub fn static_pod(bytes: &[u8], origin: &StaticOrigin) -> Result<Pod, ManifestError> {
    let (pod, tree) = read(bytes)?;
    made(pod, &tree, origin)
}

fn made(mut pod: Pod, tree: &Node, origin: &StaticOrigin) -> Result<Pod, ManifestError> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    if name.is_empty() {
        let reason = "Required value: a static pod needs a name of its own";
        return Err(ManifestError::at(
            tree.locate("metadata.name"),
            "metadata.name",
            reason,
        ));
    }
    defaults::pod(&mut pod);
    let uid = match pod.metadata.uid.clone().filter(|uid| !uid.is_empty()) {
        Some(uid) => uid,
        None => uid::of(&pod, origin),
    };
    pod.metadata.uid = Some(uid.clone());
    pod.metadata.name = Some(format!("{name}-{}", origin.node_name.to_lowercase()));
    let namespace = pod
        .metadata
        .namespace
        .take()
        .filter(|namespace| !namespace.is_empty());
    pod.metadata.namespace = Some(namespace.unwrap_or_else(|| "default".to_owned()));
    pod.metadata
        .annotations
        .get_or_insert_default()
        .insert(CONFIG_HASH.to_owned(), uid);
    pod.metadata.creation_timestamp = None;
    pod.metadata.resource_version = None;
    pod.metadata.generation = None;
    pod.metadata.self_link = None;
    if let Some(spec) = &mut pod.spec {
        spec.node_name = Some(origin.node_name.clone());
        if matches!(origin.source, Source::File(_)) {
            let blanket = Toleration {
                operator: Some("Exists".into()),
                effect: Some(NO_EXECUTE.into()),
                ..Toleration::default()
            };
            let tolerations = spec.tolerations.get_or_insert_default();
            if !tolerations
                .iter()
                .any(|toleration| taints::same_toleration(toleration, &blanket))
            {
                tolerations.push(blanket);
            }
        }
    }
    pod.status = Some(PodStatus {
        phase: Some("Pending".into()),
        ..PodStatus::default()
    });
    if let Some(error) = ManifestError::of_fields(&pod_create(&pod), tree) {
        return Err(error);
    }
    if let Some((field, reason)) = references::first(&pod) {
        let field = as_written(field, tree);
        return Err(ManifestError::at(tree.locate(&field), field, reason));
    }
    Ok(pod)
}

/// Defaults copy the old name of the account's field to the new one: the error names what the file has.
fn as_written(field: String, tree: &Node) -> String {
    let old = "serviceAccount";
    let given = |name: &str| tree.get("spec").is_some_and(|spec| spec.get(name).is_some());
    if field == "spec.serviceAccountName" && !given("serviceAccountName") && given(old) {
        return format!("spec.{old}");
    }
    field
}

#[cfg(test)]
mod tests;
