//! Static-pod manifests: from the bytes of a file to the pod that runs, or to an error that says where
//! in the file the fault lies (contract, static pods §2.3 to §2.5).
mod bundle;
mod references;
mod uid;

pub use bundle::{Bundle, LocalObject, Reference, bundle, examine_bundle, local_objects, references};

use crate::annotations::CONFIG_HASH;
use crate::taints::NO_EXECUTE;
use crate::validation::{FieldError, pod_create};
use crate::yaml::{Location, Node, Value, first_document, second_document};
use crate::{defaults, taints, wire};
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

    /// The first of several errors, which says what the others are.
    fn of_all(errors: Vec<Self>) -> Self {
        let mut errors = errors.into_iter();
        let Some(mut first) = errors.next() else {
            return Self::whole("the manifest cannot be used");
        };
        let others: Vec<String> = errors
            .map(|error| match error.field {
                Some(field) => format!("{field}: {}", error.reason),
                None => error.reason,
            })
            .collect();
        if !others.is_empty() {
            first.reason = format!(
                "{} (and {} more: {})",
                first.reason,
                others.len(),
                others.join("; ")
            );
        }
        first
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
        let pod = made(typed(&tree)?, &tree, origin).map_err(ManifestError::of_all)?;
        return Ok(vec![pod]);
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
        let made = |pod| made(pod, item, origin).map_err(ManifestError::of_all);
        let pod = untyped(item).and_then(made);
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
    made(pod, &tree, origin).map_err(ManifestError::of_all)
}

/// A manifest that can be used, and where its fields stand.
pub struct Examined {
    /// The pod it makes.
    pub pod: Pod,
    /// The text.
    pub tree: Node,
    /// Where another document begins, which is not read.
    pub next_document: Option<Location>,
}

impl Examined {
    /// Paths of the fields that no Pod has, which decoding passes over, and where they stand.
    pub fn unknown_fields(&self) -> Vec<(String, Location)> {
        unknown_of(&self.tree)
    }
}

/// The same for a text that may make no pod: what is misspelt is often why. `beside`: ConfigMaps and Secrets may stand
/// before the Pod.
pub fn unknown_fields(bytes: &[u8], beside: bool) -> Vec<(String, Location)> {
    let tree = if beside {
        bundle::pod_tree(bytes)
    } else {
        tree_of(bytes).ok().filter(bundle::is_pod)
    };
    tree.map(|tree| unknown_of(&tree)).unwrap_or_default()
}

fn unknown_of(tree: &Node) -> Vec<(String, Location)> {
    let found = wire::unknown_fields("v1", "Pod", &tree.to_json());
    let placed = |finding| match finding {
        wire::Finding::Unknown(path) => {
            let at = tree.locate(&path);
            Some((path, at))
        }
        wire::Finding::Duplicate(_) | wire::Finding::DuplicateKey { .. } => None,
    };
    found.into_iter().filter_map(placed).collect()
}

/// As [`static_pod`], with every error at its own place.
pub fn examine(bytes: &[u8], origin: &StaticOrigin) -> Result<Examined, Vec<ManifestError>> {
    let (pod, tree) = read(bytes).map_err(|error| vec![error])?;
    Ok(Examined {
        pod: made(pod, &tree, origin)?,
        tree,
        next_document: second_document(bytes),
    })
}

fn made(pod: Pod, tree: &Node, origin: &StaticOrigin) -> Result<Pod, Vec<ManifestError>> {
    made_beside(pod, tree, origin, false)
}

/// `beside`: ConfigMaps and Secrets may lie on the node, too.
fn made_beside(
    mut pod: Pod,
    tree: &Node,
    origin: &StaticOrigin,
    beside: bool,
) -> Result<Pod, Vec<ManifestError>> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    if name.is_empty() {
        let reason = "Required value: a static pod needs a name of its own";
        return Err(vec![ManifestError::at(
            tree.locate("metadata.name"),
            "metadata.name",
            reason,
        )]);
    }
    defaults::typed(&mut pod, defaults::pod)
        .map_err(|error| vec![ManifestError::at(tree.locate(""), "", error.to_string())])?;
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
    let errors = pod_create(&pod);
    if !errors.is_empty() {
        let at = |error: FieldError| ManifestError::at(tree.locate(&error.field), error.field, error.detail);
        return Err(errors.into_iter().map(at).collect());
    }
    if let Some((field, reason)) = references::first(&pod, beside) {
        let field = as_written(field, tree);
        return Err(vec![ManifestError::at(tree.locate(&field), field, reason)]);
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
