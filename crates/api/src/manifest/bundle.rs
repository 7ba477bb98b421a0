//! Manifests with the ConfigMaps and Secrets of their pod beside it, in one file or in files of their own: what an
//! agent reads that was told to (upstream reads none).
use super::{Examined, MANIFEST_BYTES_MAX, ManifestError, StaticOrigin, made_beside, untyped};
use crate::yaml::{Node, documents};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret};

/// An object that lies on the node.
#[derive(Clone, Debug, PartialEq)]
pub enum LocalObject {
    ConfigMap(Box<ConfigMap>),
    Secret(Box<Secret>),
}

/// A pod, and what lies beside it.
pub struct Bundle {
    pub examined: Examined,
    pub objects: Vec<LocalObject>,
}

/// A pod's use of a ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Such as `spec.volumes[0].configMap`.
    pub field: String,
    /// `ConfigMap` or `Secret`.
    pub kind: &'static str,
    pub name: String,
    pub optional: bool,
}

impl LocalObject {
    /// `ConfigMap` or `Secret`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ConfigMap(_) => "ConfigMap",
            Self::Secret(_) => "Secret",
        }
    }

    fn metadata(&self) -> (&Option<String>, &Option<String>) {
        let metadata = match self {
            Self::ConfigMap(object) => &object.metadata,
            Self::Secret(object) => &object.metadata,
        };
        (&metadata.namespace, &metadata.name)
    }

    /// Its namespace, `default` if it names none.
    pub fn namespace(&self) -> &str {
        self.metadata()
            .0
            .as_deref()
            .filter(|name| !name.is_empty())
            .unwrap_or("default")
    }

    pub fn name(&self) -> &str {
        self.metadata().1.as_deref().unwrap_or_default()
    }
}

/// Reads a file of one Pod and of ConfigMaps and Secrets, in any order.
pub fn bundle(bytes: &[u8], origin: &StaticOrigin) -> Result<Bundle, ManifestError> {
    examine_bundle(bytes, origin).map_err(ManifestError::of_all)
}

/// As [`bundle`], with every error at its own place.
pub fn examine_bundle(bytes: &[u8], origin: &StaticOrigin) -> Result<Bundle, Vec<ManifestError>> {
    let (mut pod, mut objects) = (None, Vec::new());
    for tree in trees(bytes)? {
        match kind(&tree) {
            ("v1", "Pod") if pod.is_none() => pod = Some(tree),
            ("v1", "Pod") => {
                let reason = "a second Pod: it needs a manifest of its own";
                return Err(vec![ManifestError::at(tree.locate("kind"), "kind", reason)]);
            }
            ("v1", "ConfigMap" | "Secret") => objects.push(local_object(&tree)?),
            (_, "") => return Err(vec![without_kind(&tree)]),
            (_, other) => {
                let reason = format!(
                    "{other:?} cannot be run from a manifest: a file holds one Pod, and the ConfigMaps and Secrets that it \
                     uses"
                );
                return Err(vec![ManifestError::at(tree.locate("kind"), "kind", reason)]);
            }
        }
    }
    let Some(tree) = pod else {
        let reason = "Required value: a manifest needs a document of `kind: Pod`";
        return Err(vec![ManifestError::whole(reason)]);
    };
    let pod = untyped(&tree).map_err(|error| vec![error])?;
    Ok(Bundle {
        examined: Examined {
            pod: made_beside(pod, &tree, origin, true)?,
            tree,
            next_document: None,
        },
        objects,
    })
}

/// Reads a file of ConfigMaps and Secrets.
pub fn local_objects(bytes: &[u8]) -> Result<Vec<LocalObject>, Vec<ManifestError>> {
    let object = |tree: &Node| match kind(tree) {
        ("v1", "ConfigMap" | "Secret") => local_object(tree),
        (_, "") => Err(vec![without_kind(tree)]),
        (_, other) => {
            let reason = format!("{other:?} is neither a ConfigMap nor a Secret, which is what lies here");
            Err(vec![ManifestError::at(tree.locate("kind"), "kind", reason)])
        }
    };
    trees(bytes)?.iter().map(object).collect()
}

fn trees(bytes: &[u8]) -> Result<Vec<Node>, Vec<ManifestError>> {
    if bytes.len() >= MANIFEST_BYTES_MAX {
        return Err(vec![ManifestError::whole(format!(
            "the file is too large: the limit is {MANIFEST_BYTES_MAX} bytes"
        ))]);
    }
    documents(bytes).map_err(|error| vec![ManifestError::at(error.at, "", error.reason)])
}

fn kind(tree: &Node) -> (&str, &str) {
    let given = |field: &str| tree.get(field).and_then(Node::as_str).unwrap_or_default();
    (given("apiVersion"), given("kind"))
}

/// Whether a document is meant as a Pod, though its version may be missing.
pub(super) fn is_pod(tree: &Node) -> bool {
    matches!(kind(tree), ("v1" | "", "Pod"))
}

/// The document that is a file's Pod, whatever else is wrong with it.
pub(super) fn pod_tree(bytes: &[u8]) -> Option<Node> {
    trees(bytes).ok()?.into_iter().find(is_pod)
}

fn without_kind(tree: &Node) -> ManifestError {
    let reason = "Required value: a document needs `apiVersion: v1` and a `kind`";
    ManifestError::at(tree.locate("kind"), "kind", reason)
}

fn local_object(tree: &Node) -> Result<LocalObject, Vec<ManifestError>> {
    let object = match kind(tree).1 {
        "ConfigMap" => decode(tree).map(LocalObject::ConfigMap),
        _ => decode(tree).map(|secret| LocalObject::Secret(with_texts(secret))),
    }
    .map_err(|error| vec![error])?;
    if object.name().is_empty() {
        let reason = format!("Required value: a {} needs a name", object.kind());
        return Err(vec![ManifestError::at(
            tree.locate("metadata.name"),
            "metadata.name",
            reason,
        )]);
    }
    Ok(object)
}

fn decode<T: serde::de::DeserializeOwned>(tree: &Node) -> Result<Box<T>, ManifestError> {
    tree.decode().map(Box::new).map_err(|error| ManifestError {
        field: Some(error.field).filter(|field| !field.is_empty()),
        line: error.at.map(|at| at.line),
        column: error.at.map(|at| at.column),
        reason: error.reason,
    })
}

/// An API server puts `stringData` among `data`.
fn with_texts(mut secret: Box<Secret>) -> Box<Secret> {
    for (key, text) in secret.string_data.take().into_iter().flatten() {
        let data = secret.data.get_or_insert_default();
        data.insert(key, ByteString(text.into_bytes()));
    }
    secret
}

/// The ConfigMaps and Secrets that a pod's containers mount or have in variables.
pub fn references(pod: &Pod) -> Vec<Reference> {
    let Some(spec) = pod.spec.as_ref() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut add = |field: String, kind, name: &str, optional: Option<bool>| {
        found.push(Reference {
            field,
            kind,
            name: name.to_owned(),
            optional: optional == Some(true),
        });
    };
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let field = format!("spec.volumes[{index}]");
        if let Some(map) = &volume.config_map {
            add(format!("{field}.configMap"), "ConfigMap", &map.name, map.optional);
        }
        if let Some(secret) = &volume.secret {
            let name = secret.secret_name.as_deref().unwrap_or_default();
            add(format!("{field}.secret"), "Secret", name, secret.optional);
        }
        let projected = volume.projected.iter();
        let sources = projected.flat_map(|projected| projected.sources.iter().flatten());
        for (index, source) in sources.enumerate() {
            let field = format!("{field}.projected.sources[{index}]");
            if let Some(map) = &source.config_map {
                add(format!("{field}.configMap"), "ConfigMap", &map.name, map.optional);
            }
            if let Some(secret) = &source.secret {
                add(format!("{field}.secret"), "Secret", &secret.name, secret.optional);
            }
        }
    }
    for (path, container) in crate::pod::containers_with_paths(spec) {
        in_variables(&path, container, &mut add);
    }
    found
}

fn in_variables(
    path: &str,
    container: &Container,
    add: &mut impl FnMut(String, &'static str, &str, Option<bool>),
) {
    for (index, from) in container.env_from.iter().flatten().enumerate() {
        let field = format!("{path}.envFrom[{index}]");
        if let Some(map) = &from.config_map_ref {
            add(
                format!("{field}.configMapRef"),
                "ConfigMap",
                &map.name,
                map.optional,
            );
        }
        if let Some(secret) = &from.secret_ref {
            add(
                format!("{field}.secretRef"),
                "Secret",
                &secret.name,
                secret.optional,
            );
        }
    }
    for (index, variable) in container.env.iter().flatten().enumerate() {
        let field = format!("{path}.env[{index}].valueFrom");
        let from = variable.value_from.as_ref();
        if let Some(key) = from.and_then(|from| from.config_map_key_ref.as_ref()) {
            add(
                format!("{field}.configMapKeyRef"),
                "ConfigMap",
                &key.name,
                key.optional,
            );
        }
        if let Some(key) = from.and_then(|from| from.secret_key_ref.as_ref()) {
            add(format!("{field}.secretKeyRef"), "Secret", &key.name, key.optional);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Source;

    fn origin() -> StaticOrigin {
        StaticOrigin {
            node_name: "n1".into(),
            source: Source::File("/m/web.yaml".into()),
        }
    }

    const CONFIG: &str =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: blue}\n";
    const SECRET: &str =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: key}\ndata: {a: YQ==}\nstringData: {b: bee}\n";
    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - name: c\n    image: i:1\n    \
        envFrom: [{secretRef: {name: key}}]\n    env: [{name: C, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}]\n  \
        volumes:\n  - {name: v, configMap: {name: settings}}\n  - name: p\n    projected:\n      sources: [{secret: {name: key, \
        optional: true}}]\n";

    fn refused(text: &str) -> String {
        bundle(text.as_bytes(), &origin()).err().unwrap().to_string()
    }

    #[test]
    fn a_file_for_podman_kube_play_makes_a_pod_and_its_objects() {
        let text = format!("{CONFIG}---\n{POD}---\n{SECRET}---\n");
        let made = bundle(text.as_bytes(), &origin()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(made.examined.pod.metadata.name.as_deref(), Some("web-n1"));
        let names: Vec<_> = made
            .objects
            .iter()
            .map(|o| (o.kind(), o.namespace(), o.name()))
            .collect();
        assert_eq!(
            names,
            [("ConfigMap", "default", "settings"), ("Secret", "default", "key")]
        );
        let LocalObject::Secret(secret) = &made.objects[1] else {
            panic!("no secret")
        };
        let data = secret.data.clone().unwrap();
        assert_eq!(
            (data["a"].0.as_slice(), data["b"].0.as_slice()),
            (&b"a"[..], &b"bee"[..])
        );
        let used: Vec<(String, bool)> = references(&made.examined.pod)
            .into_iter()
            .map(|reference| (reference.field, reference.optional))
            .collect();
        let want = [
            ("spec.volumes[0].configMap", false),
            ("spec.volumes[1].projected.sources[0].secret", true),
            ("spec.containers[0].envFrom[0].secretRef", false),
            ("spec.containers[0].env[0].valueFrom.configMapKeyRef", false),
        ];
        assert_eq!(used, want.map(|(field, optional)| (field.to_owned(), optional)));
    }

    #[test]
    fn what_a_node_cannot_run_is_refused_where_it_stands() {
        let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n";
        let error = refused(&format!("{POD}---\n{deployment}"));
        let line = POD.lines().count() + 3;
        assert!(error.starts_with(&format!("line {line}, ")), "{error}");
        assert!(
            error.contains("kind: \"Deployment\" cannot be run from a manifest"),
            "{error}"
        );
        assert!(refused(&format!("{POD}---\n{POD}")).contains("a second Pod"));
        assert!(refused(CONFIG).contains("kind: Pod"));
        assert!(refused(&format!("{POD}---\na: b\n")).contains("needs `apiVersion: v1` and a `kind`"));
        let nameless = CONFIG.replace("settings", "\"\"");
        assert!(refused(&format!("{POD}---\n{nameless}")).contains("needs a name"));
        let account = POD.replace("spec:\n", "spec:\n  serviceAccountName: robot\n");
        assert!(refused(&account).contains("ServiceAccount \"robot\""));
        let claim = format!("{POD}  - {{name: d, persistentVolumeClaim: {{claimName: x}}}}\n");
        assert!(refused(&claim).contains("PersistentVolumeClaim \"x\""));
    }

    #[test]
    fn files_of_objects_hold_nothing_else() {
        let both = format!("{CONFIG}---\n{SECRET}");
        assert_eq!(local_objects(both.as_bytes()).unwrap().len(), 2);
        let errors = local_objects(POD.as_bytes()).unwrap_err();
        assert!(
            errors[0].to_string().contains("neither a ConfigMap nor a Secret"),
            "{errors:?}"
        );
        let torn = local_objects(b"data: [").unwrap_err();
        assert!(torn[0].line.is_some(), "{torn:?}");
    }

    #[test]
    fn without_being_told_nothing_but_upstreams_behaviour() {
        let error = crate::manifest::static_pod(POD.as_bytes(), &origin()).unwrap_err();
        assert!(
            error.to_string().contains("a static pod cannot use API objects"),
            "{error}"
        );
    }
}
