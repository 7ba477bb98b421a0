//! From a CustomResourceDefinition to the resources it declares, one a version.
use super::columns::Columns;
use super::conversion::Conversion;
use super::path::pointer;
use super::registry::version_rank;
use super::{Custom, Definition, Scale};
use crate::outbound::Ways;
use crate::resources::{ALL_VERBS, Field, Read, Resource, Rules, SCALE, STATUS, StatusMetadata, Subresource};
use orlop_api::structural;
use orlop_api::validation::FieldError;
use parking_lot::RwLock;
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A version of a definition.
pub struct Declared {
    pub shape: Shape,
    pub definition: Arc<Definition>,
    /// Objects are stored in this version.
    pub storage: bool,
}

/// Counts the states of definitions.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// The versions of an established definition. Objects may be stored in one that isn't served.
///
/// # Errors
/// A schema is not structural; validation refuses such a definition, so only another server's is.
pub fn declare(crd: &Value, ways: &Ways) -> Result<Vec<Declared>, Vec<FieldError>> {
    let versions = crd["spec"]["versions"].as_array().map_or(&[][..], Vec::as_slice);
    let preserves = crd["spec"]["preserveUnknownFields"] == true;
    let mut schemas = BTreeMap::new();
    for (number, version) in versions.iter().enumerate() {
        let schema_text = &version["schema"]["openAPIV3Schema"];
        let path = schema_path(number);
        let schema = match preserves {
            true => structural::compile_preserving(schema_text, &path),
            false => structural::compile(schema_text, &path)?,
        };
        let name = version["name"].as_str().unwrap_or_default();
        schemas.insert(name.to_owned(), Arc::new(schema));
    }
    let fills_some = schemas.values().any(|schema| structural::fills(schema));
    let schemas = Arc::new(schemas);
    let schemas_hash = hash(versions, preserves);
    let conversion = Arc::new(Conversion::of(crd, ways));
    let stored = versions.iter().find(|version| version["storage"] == true);
    let stored: Arc<str> = stored
        .and_then(|version| version["name"].as_str())
        .unwrap_or_default()
        .into();
    let mut declared = Vec::new();
    for version in versions {
        let storage = version["storage"] == true;
        let Some(schema) = schemas.get(version["name"].as_str().unwrap_or_default()) else {
            continue;
        };
        let schema_text = &version["schema"]["openAPIV3Schema"];
        declared.push(Declared {
            shape: Shape::of(crd, version),
            definition: Arc::new(Definition {
                number: NUMBERS.fetch_add(1, Ordering::Relaxed),
                fills: structural::fills(schema),
                schema: schema.clone(),
                schemas: schemas.clone(),
                schemas_hash,
                fills_some,
                conversion: conversion.clone(),
                schema_text: schema_text.clone(),
                columns: Columns::of(version),
                list_kind: list_kind(crd),
                warning: deprecation(crd, version),
                scale: scale(version),
                terminating: !crd["metadata"]["deletionTimestamp"].is_null(),
                stored: stored.clone(),
            }),
            storage,
        });
    }
    Ok(declared)
}

/// Where the schema of a version stands in its definition.
fn schema_path(version: usize) -> String {
    format!("spec.versions[{version}].schema.openAPIV3Schema")
}

/// A number for the schemas of all versions, as they are written, and whether they take nothing out.
fn hash(versions: &[Value], preserves: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    preserves.hash(&mut hasher);
    for version in versions {
        (&version["name"], &version["schema"]["openAPIV3Schema"]).hash(&mut hasher);
    }
    hasher.finish()
}

/// What doesn't change of a resource while it is served: with anything else it is another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    group: String,
    version: String,
    plural: String,
    singular: String,
    kind: String,
    namespaced: bool,
    short_names: Vec<String>,
    categories: Vec<String>,
    /// Names of selectable fields, and JSON pointers to them.
    fields: Vec<(String, String)>,
    has_status: bool,
    has_scale: bool,
}

impl Shape {
    fn of(crd: &Value, version: &Value) -> Self {
        let (spec, names) = (&crd["spec"], &crd["status"]["acceptedNames"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let texts = |list: &Value| list.as_array().into_iter().flatten().map(text).collect();
        let has = |part: &str| version["subresources"][part].is_object();
        let fields = version["selectableFields"].as_array().into_iter().flatten();
        let fields = fields.filter_map(|field| {
            let path = field["jsonPath"].as_str()?;
            Some((path.trim_start_matches('.').to_owned(), pointer(path)?))
        });
        Self {
            group: text(&spec["group"]),
            version: text(&version["name"]),
            plural: text(&names["plural"]),
            singular: text(&names["singular"]),
            kind: text(&names["kind"]),
            namespaced: spec["scope"] == "Namespaced",
            short_names: texts(&names["shortNames"]),
            categories: texts(&names["categories"]),
            fields: fields.collect(),
            has_status: has("status"),
            has_scale: has("scale"),
        }
    }

    /// A resource of this shape with the life that the rest of the server expects of resources, which is forever: what is
    /// spent is some hundred bytes for each shape that there ever was.
    pub fn settle(&self, definition: Arc<Definition>) -> &'static Resource {
        let subresources: &'static [Subresource] = match (self.has_status, self.has_scale) {
            (false, false) => &[],
            (true, false) => &[STATUS],
            (false, true) => &[SCALE],
            (true, true) => &[STATUS, SCALE],
        };
        let fields: Vec<Field> = self
            .fields
            .iter()
            .map(|(name, pointer)| Field {
                name: leak(name),
                read: Read::Scalar(leak(pointer)),
            })
            .collect();
        let custom = Box::leak(Box::new(Custom {
            definition: RwLock::new(definition),
        }));
        Box::leak(Box::new(Resource {
            version: leak(&self.version),
            namespaced: self.namespaced,
            short_names: leak_all(&self.short_names),
            categories: leak_all(&self.categories),
            verbs: ALL_VERBS,
            subresources,
            fields: Box::leak(fields.into_boxed_slice()),
            storage: leak(&format!("{}/{}", self.group, self.plural)),
            custom: Some(custom),
            rules: Rules {
                unconditional_update: false,
                status_metadata: StatusMetadata::Kept,
                ..Rules::WITH_GENERATION
            },
            ..Resource::new(
                leak(&self.group),
                leak(&self.plural),
                leak(&self.singular),
                leak(&self.kind),
            )
        }))
    }
}

/// Replaces the definition of a settled resource.
pub fn replace(resource: &Resource, definition: Arc<Definition>) {
    if let Some(custom) = resource.custom {
        *custom.definition.write() = definition;
    }
}

fn list_kind(crd: &Value) -> Arc<str> {
    let names = &crd["status"]["acceptedNames"];
    match names["listKind"].as_str() {
        Some(kind) if !kind.is_empty() => kind.into(),
        _ => format!("{}List", names["kind"].as_str().unwrap_or_default()).into(),
    }
}

/// The definition's own warning about a version, or that it is deprecated and which newer one is not.
fn deprecation(crd: &Value, version: &Value) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    if let Some(own) = version["deprecationWarning"].as_str() {
        return Some(own.to_owned());
    }
    let (group, kind) = (&crd["spec"]["group"], &crd["spec"]["names"]["kind"]);
    let (group, kind) = (
        group.as_str().unwrap_or_default(),
        kind.as_str().unwrap_or_default(),
    );
    let name = version["name"].as_str().unwrap_or_default();
    let others = crd["spec"]["versions"].as_array().into_iter().flatten();
    let newest = others
        .filter(|other| other["served"] == true && other["deprecated"] != true)
        .filter_map(|other| other["name"].as_str())
        .min_by_key(|other| version_rank(other))
        .filter(|other| version_rank(other) < version_rank(name));
    let instead = newest.map_or_else(String::new, |newest| format!("; use {group}/{newest} {kind}"));
    Some(format!("{group}/{name} {kind} is deprecated{instead}"))
}

fn scale(version: &Value) -> Option<Scale> {
    let scale = version["subresources"]["scale"].as_object()?;
    let path = |key: &str| pointer(scale.get(key)?.as_str()?);
    Some(Scale {
        replicas: path("specReplicasPath")?,
        status_replicas: path("statusReplicasPath")?,
        selector: path("labelSelectorPath"),
    })
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn leak_all(texts: &[String]) -> &'static [&'static str] {
    let texts: Vec<&'static str> = texts.iter().map(|text| leak(text)).collect();
    Box::leak(texts.into_boxed_slice())
}
