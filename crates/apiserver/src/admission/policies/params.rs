//! Parameters: objects of the policy's kind that a binding names or selects.
use crate::admission::Attempt;
use crate::cache::Object;
use crate::custom;
use crate::resources::{self, Resource};
use orlop_api::selector::LabelSelector;
use orlop_api::wire::group_and_version;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// `paramKind`.
#[derive(Debug)]
pub struct ParamKind {
    group: String,
    version: String,
    kind: String,
}

/// `paramRef`.
#[derive(Debug)]
pub struct ParamRef {
    name: String,
    namespace: String,
    selector: Option<LabelSelector>,
    /// Whether requests are refused while there are no such objects.
    denies_if_missing: bool,
}

/// With what a policy is evaluated.
#[derive(Debug)]
pub enum Params {
    /// Once, without any.
    None,
    /// Once with each.
    Each(Vec<Value>),
    /// There are none, and that is no reason to refuse.
    Skip,
}

impl ParamKind {
    pub fn of(value: &Value) -> Option<Self> {
        let (version, kind) = (value["apiVersion"].as_str()?, value["kind"].as_str()?);
        let (group, version) = group_and_version(version);
        Some(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        })
    }

    /// What is served of the kind.
    pub fn resource(&self, attempt: &Attempt<'_>) -> Option<&'static Resource> {
        let own = |r: &&'static Resource| {
            r.group == self.group && r.version == self.version && r.kind == self.kind && !r.storage.is_empty()
        };
        let custom = || attempt.server.cache.custom().all().into_iter().find(own);
        resources::all().iter().find(own).or_else(custom)
    }
}

impl ParamRef {
    pub fn of(value: &Value) -> Option<Self> {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let selector = serde_json::from_value(value["selector"].clone()).ok();
        let selector = selector.filter(|_| value["selector"].is_object());
        value.is_object().then(|| Self {
            name: text("name"),
            namespace: text("namespace"),
            selector: selector
                .map(|meta| LabelSelector::from_meta(&meta).unwrap_or_else(|_| LabelSelector::nothing())),
            denies_if_missing: value["parameterNotFoundAction"] == "Deny",
        })
    }
}

/// Finds the parameters.
///
/// # Errors
/// They cannot be looked for, or have to be there and aren't.
pub async fn find(
    attempt: &Attempt<'_>,
    kind: Option<&ParamKind>,
    reference: Option<&ParamRef>,
) -> Result<Params, String> {
    let (Some(kind), Some(reference)) = (kind, reference) else {
        return Ok(Params::None);
    };
    let resource = kind.resource(attempt).ok_or_else(|| {
        format!(
            "failed to find resource referenced by paramKind: '{}/{}, Kind={}'",
            kind.group, kind.version, kind.kind
        )
    })?;
    let namespace = match (resource.namespaced, reference.namespace.as_str()) {
        (false, "") => "",
        (false, _) => {
            return Err(
                "paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned(),
            );
        }
        (true, "") if attempt.namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .to_owned(),
            );
        }
        (true, "") => attempt.namespace,
        (true, given) => given,
    };
    let cache = &attempt.server.cache;
    let storage = cache
        .storage(resource)
        .ok_or("the kind of the parameters is not stored")?;
    let stored: Vec<Arc<Object>> = match &reference.selector {
        None => {
            let key = cache.resource(storage).key(namespace, &reference.name);
            cache.get(storage, &key).into_iter().collect()
        }
        Some(selector) => {
            let labels = |object: &Object| -> BTreeMap<String, String> {
                let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
                object.labels().map(owned).collect()
            };
            let mut objects = cache.snapshot(storage, namespace).objects;
            objects.retain(|object| selector.matches(&labels(object)));
            objects
        }
    };
    let objects = custom::in_form(attempt.server, resource, stored).await;
    let objects = objects.map_err(|error| error.message)?;
    let shown = |object: &Arc<Object>| {
        let mut object = object.value();
        resource.show(&mut object);
        object
    };
    let found: Vec<Value> = objects.iter().map(shown).collect();
    match (found.is_empty(), reference.denies_if_missing) {
        (false, _) => Ok(Params::Each(found)),
        (true, false) => Ok(Params::Skip),
        (true, true) => {
            Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned())
        }
    }
}
