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
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A version of a definition.
pub struct Declared {
    pub resource: Resource,
    pub definition: Definition,
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
    let mut schemas = BTreeMap::new();
    for (number, version) in versions.iter().enumerate() {
        let schema_text = &version["schema"]["openAPIV3Schema"];
        let schema = structural::compile(schema_text, &schema_path(number))?;
        let name = version["name"].as_str().unwrap_or_default();
        schemas.insert(name.to_owned(), Arc::new(schema));
    }
    let schemas = Arc::new(schemas);
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
            resource: resource(crd, version),
            definition: Definition {
                number: NUMBERS.fetch_add(1, Ordering::Relaxed),
                fills: structural::fills(schema),
                schema: schema.clone(),
                schemas: schemas.clone(),
                conversion: conversion.clone(),
                schema_text: schema_text.clone(),
                columns: Columns::of(version),
                list_kind: list_kind(crd),
                warning: deprecation(crd, version),
                scale: scale(version),
                terminating: !crd["metadata"]["deletionTimestamp"].is_null(),
                stored: stored.clone(),
            },
            storage,
        });
    }
    Ok(declared)
}

/// Where the schema of a version stands in its definition.
fn schema_path(version: usize) -> String {
    format!("spec.versions[{version}].schema.openAPIV3Schema")
}

/// Gives a declared resource the life that the rest of the server expects of resources, which is forever. What is
/// spent is some hundred bytes for each change of a definition's names, versions or subresources.
pub fn settle(declared: Declared) -> &'static Resource {
    let custom = Box::leak(Box::new(Custom {
        definition: RwLock::new(Arc::new(declared.definition)),
    }));
    let resource = Resource {
        custom: Some(custom),
        ..declared.resource
    };
    Box::leak(Box::new(resource))
}

/// Replaces the definition of a settled resource.
pub fn replace(resource: &Resource, definition: Definition) {
    if let Some(custom) = resource.custom {
        *custom.definition.write() = Arc::new(definition);
    }
}

/// Whether two differ in nothing that is settled.
pub fn same(a: &Resource, b: &Resource) -> bool {
    let fields = |r: &Resource| r.fields.iter().map(|f| f.name).collect::<Vec<_>>();
    let parts = |r: &Resource| r.subresources.iter().map(|s| s.name).collect::<Vec<_>>();
    (a.group, a.version, a.plural, a.singular, a.kind, a.namespaced)
        == (b.group, b.version, b.plural, b.singular, b.kind, b.namespaced)
        && (a.short_names, a.categories, a.storage) == (b.short_names, b.categories, b.storage)
        && fields(a) == fields(b)
        && parts(a) == parts(b)
}

fn resource(crd: &Value, version: &Value) -> Resource {
    let (spec, names) = (&crd["spec"], &crd["status"]["acceptedNames"]);
    let group = text(&spec["group"]);
    let plural = text(&names["plural"]);
    let has = |part: &str| version["subresources"][part].is_object();
    let subresources: &'static [Subresource] = match (has("status"), has("scale")) {
        (false, false) => &[],
        (true, false) => &[STATUS],
        (false, true) => &[SCALE],
        (true, true) => &[STATUS, SCALE],
    };
    let fields: Vec<Field> = version["selectableFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|field| {
            let path = field["jsonPath"].as_str()?;
            Some(Field {
                name: leak(path.trim_start_matches('.')),
                read: Read::Scalar(leak(&pointer(path)?)),
            })
        })
        .collect();
    Resource {
        version: text(&version["name"]),
        namespaced: spec["scope"] == "Namespaced",
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        verbs: ALL_VERBS,
        subresources,
        fields: Box::leak(fields.into_boxed_slice()),
        storage: leak(&format!("{group}/{plural}")),
        rules: Rules {
            unconditional_update: false,
            status_metadata: StatusMetadata::Kept,
            ..Rules::WITH_GENERATION
        },
        ..Resource::new(group, plural, text(&names["singular"]), text(&names["kind"]))
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

fn text(value: &Value) -> &'static str {
    leak(value.as_str().unwrap_or_default())
}

fn texts(list: &Value) -> &'static [&'static str] {
    let texts: Vec<&'static str> = list.as_array().into_iter().flatten().map(text).collect();
    Box::leak(texts.into_boxed_slice())
}
