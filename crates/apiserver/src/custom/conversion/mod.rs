//! Objects of one version in the form of another (contract §18, M14): by their name alone, or by a webhook.
//!
//! The cache holds every object in the version it is stored in. Whoever asks for another has it converted here; what a
//! webhook has converted is kept for others who ask, up to a limit.
mod kept;
mod review;

pub use kept::Converted;

use super::Definition;
use crate::ApiServer;
use crate::cache::Object;
use crate::encode;
use crate::outbound::{Endpoint, Question, Ways};
use crate::resources::Resource;
use crate::status::ApiError;
use bytes::Bytes;
use orlop_api::structural;
use review::Version;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How long a webhook may take (upstream's limit).
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of objects that are asked about at once. A list that has more is asked about in parts.
const REVIEW_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest answer: objects may grow.
const ANSWER_BYTES_MAX: usize = 4 * REVIEW_BYTES_MAX;

/// How the versions of a definition become each other.
#[derive(Debug)]
pub enum Conversion {
    /// They differ in nothing but their name.
    Renaming,
    Asking(Box<Webhook>),
}

#[derive(Debug)]
pub struct Webhook {
    endpoint: Endpoint,
    version: Option<Version>,
}

impl Conversion {
    /// What a definition says.
    pub fn of(crd: &Value, ways: &Ways) -> Self {
        let conversion = &crd["spec"]["conversion"];
        if conversion["strategy"] != "Webhook" {
            return Self::Renaming;
        }
        let webhook = &conversion["webhook"];
        Self::Asking(Box::new(Webhook {
            endpoint: Endpoint::of(&webhook["clientConfig"], None, ways),
            version: Version::of(&webhook["conversionReviewVersions"]),
        }))
    }

    /// Objects, each in the form of the version it names, in that of `api_version`.
    async fn convert(
        &self,
        server: &ApiServer,
        mut objects: Vec<Value>,
        api_version: &str,
    ) -> Result<Vec<Value>, ApiError> {
        match self {
            Self::Renaming => {
                for object in &mut objects {
                    object["apiVersion"] = json!(api_version);
                }
                Ok(objects)
            }
            Self::Asking(webhook) => webhook.convert(server, objects, api_version).await,
        }
    }
}

impl Webhook {
    async fn convert(
        &self,
        server: &ApiServer,
        originals: Vec<Value>,
        api_version: &str,
    ) -> Result<Vec<Value>, ApiError> {
        let Some(first) = originals.first() else {
            return Ok(originals);
        };
        let text = |key: &str| first[key].as_str().unwrap_or_default();
        let about = format!("{}, Kind={}", text("apiVersion"), text("kind"));
        let failed = |why: String| ApiError::untyped(format!("conversion webhook for {about} failed: {why}"));
        let version = self
            .version
            .ok_or_else(|| ApiError::untyped("no supported conversion review versions"))?;
        let uid = Uuid::new_v4().to_string();
        let review = review::request(version, &uid, api_version, &originals);
        let question = Question {
            body: Bytes::from(encode::json(&review)),
            agent: "kube-apiserver-admission",
            timeout: TIMEOUT,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        drop(review);
        let mut answer = question.ask(server, &self.endpoint).await.map_err(failed)?;
        let converted = review::read(&mut answer, version, &uid).map_err(failed)?;
        if converted.len() != originals.len() {
            return Err(ApiError::untyped(format!(
                "conversion for {about} returned {} objects, expected {}",
                converted.len(),
                originals.len()
            )));
        }
        let pairs = originals.iter().zip(converted).enumerate();
        pairs
            .map(|(number, (original, converted))| {
                review::accept(original, converted, api_version).map_err(|why| {
                    ApiError::untyped(format!(
                        "conversion for {about} returned invalid converted object at index {number}: {why}"
                    ))
                })
            })
            .collect()
    }
}

/// Whether a tree is in the form of `resource` already; what is not of a definition always is.
pub fn has_form(resource: &Resource, object: &Value) -> bool {
    resource.custom.is_none() || object["apiVersion"] == resource.api_version()
}

/// One tree in the form of `resource`; what is not of a definition stays as it is.
///
/// # Errors
/// Who converts it doesn't.
pub async fn converted(
    server: &ApiServer,
    resource: &'static Resource,
    object: Value,
) -> Result<Value, ApiError> {
    let Some(custom) = resource.custom.filter(|_| !has_form(resource, &object)) else {
        return Ok(object);
    };
    let api_version = resource.api_version();
    let definition = custom.definition();
    let all = vec![object];
    let converted = definition.conversion.convert(server, all, &api_version).await?;
    let mut object = converted.into_iter().next().unwrap_or_default();
    structural::prune(&mut object, &definition.schema);
    Ok(object)
}

/// A cached object in the form of `resource`.
///
/// # Errors
/// Who converts it doesn't.
pub async fn one_in_form(
    server: &ApiServer,
    resource: &'static Resource,
    object: Arc<Object>,
) -> Result<Arc<Object>, ApiError> {
    if object.is_seen_as(resource) {
        return Ok(object);
    }
    let mut objects = in_form(server, resource, vec![object]).await?;
    objects.pop().ok_or_else(ApiError::no_such_resource)
}

/// Cached objects in the form of `resource`: in its version, without what its schema doesn't specify.
///
/// # Errors
/// Who converts them doesn't.
pub async fn in_form(
    server: &ApiServer,
    resource: &'static Resource,
    mut objects: Vec<Arc<Object>>,
) -> Result<Vec<Arc<Object>>, ApiError> {
    let Some(custom) = resource.custom else {
        return Ok(objects);
    };
    let definition = custom.definition();
    let mut due = Vec::new();
    for (place, object) in objects.iter_mut().enumerate() {
        if object.is_seen_as(resource) {
            continue;
        }
        match server.converted.get(&definition, object) {
            Some(kept) => *object = kept,
            None => due.push(place),
        }
    }
    let mut rest = due.as_slice();
    while !rest.is_empty() {
        let (part, others) = rest.split_at(fitting(&objects, rest, REVIEW_BYTES_MAX));
        convert_places(server, resource, &definition, &mut objects, part).await?;
        rest = others;
    }
    Ok(objects)
}

/// How many of these places are asked about at once: one, or as many as have no more bytes than that.
fn fitting(objects: &[Arc<Object>], places: &[usize], bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fitting = places.iter().take_while(|place| {
        // Whoever is asked gets all of it, what others have as well included.
        bytes += objects[**place].item_len(true);
        bytes <= bytes_max
    });
    fitting.count().max(1)
}

async fn convert_places(
    server: &ApiServer,
    resource: &'static Resource,
    definition: &Arc<Definition>,
    objects: &mut [Arc<Object>],
    places: &[usize],
) -> Result<(), ApiError> {
    let api_version = resource.api_version();
    let (mut asked, mut trees) = (Vec::new(), Vec::new());
    let mut done: Vec<(usize, Value)> = Vec::new();
    for place in places {
        let mut tree = objects[*place].value();
        definition.prune_as_stored(&mut tree);
        if tree["apiVersion"] == api_version.as_str() {
            done.push((*place, tree));
        } else {
            asked.push(*place);
            trees.push(tree);
        }
    }
    let converted = definition.conversion.convert(server, trees, &api_version).await?;
    done.extend(asked.into_iter().zip(converted));
    let keeps = matches!(&*definition.conversion, Conversion::Asking(_));
    for (place, mut tree) in done {
        structural::prune(&mut tree, &definition.schema);
        let object = &objects[place];
        let stored = encode::stored(resource, &tree);
        let made = object.as_shown(resource, &stored).map_err(ApiError::internal)?;
        let made = Arc::new(made);
        if keeps {
            server.converted.keep(definition, object, made.clone());
        }
        objects[place] = made;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;

    #[test]
    fn as_many_are_asked_about_at_once_as_fit_with_all_that_they_say() {
        let resource = resources::find("", "v1", "configmaps").unwrap();
        let object = |name: &str| {
            let stored = format!(
                r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"managedFields":[{{"fieldsV1":{{"f:{}":{{}}}}}}],"name":"{name}"}}}}"#,
                "fitting".repeat(100)
            );
            Arc::new(Object::from_stored(resource, name.into(), stored.as_bytes(), 7, false).unwrap())
        };
        let objects = ["a", "b", "c", "d"].map(object);
        let bytes = objects[0].json().len();
        let fitting_in = |bytes_max: usize| fitting(&objects, &[3, 1, 0], bytes_max);
        assert_eq!(fitting_in(2 * bytes), 2);
        assert_eq!((fitting_in(2 * bytes - 1), fitting_in(1)), (1, 1));
        assert_eq!(fitting_in(9 * bytes), 3);
    }
}
