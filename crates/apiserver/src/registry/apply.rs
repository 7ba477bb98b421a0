//! Server-side apply: PATCH with a configuration of which the server knows what its manager applied before
//! (contract §9.5).
use super::change::{Change, Outcome, Part, Tracking};
use super::{create, identity, ownership, scale, update};
use crate::admission::Admission;
use crate::authz;
use crate::custom;
use crate::http::{Answer, Call};
use crate::request::{self, Expected, FieldValidation, WriteOptions};
use crate::resources;
use crate::status::{ApiError, Cause};
use orlop_api::apply::{self, Applied, Managed, Present, Refused};
use orlop_api::wire;
use serde_json::{Value, json};

/// Rounds against others who create and delete the same object.
const ATTEMPTS_MAX: usize = 5;

pub async fn apply(call: &Call, part: Part) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse_apply(&call.query)?;
    let configuration = Configuration {
        call,
        part,
        force: call.query.flag("force"),
        body: read(call, &Expected::from(call.resource), options.validation)?,
    };
    let change = Change {
        call,
        part,
        name: &call.info.name,
        dry_run: options.dry_run,
        is_put: false,
        tracking: Tracking::Applied,
        admission: Admission::Due,
        sees_owners: true,
    };
    for _ in 0..ATTEMPTS_MAX {
        if let Some(outcome) = change.apply(|old| configuration.over(old)).await? {
            return update::answer(call, outcome).await;
        }
        if part != Part::Main {
            break;
        }
        match configuration.create(&options).await {
            Err(error) if error.reason == "AlreadyExists" => {}
            answer => return answer,
        }
    }
    Err(ApiError::not_found(call.resource, &call.info.name))
}

/// Applies a Scale: a configuration of the scaled object that lists its replicas alone. `None`: there is no object.
pub async fn apply_scale(call: &Call) -> Result<Option<Outcome>, ApiError> {
    let options = WriteOptions::parse_apply(&call.query)?;
    let given = read(call, &scale::SCALE, options.validation)?;
    let configuration = Configuration {
        call,
        part: Part::Scale,
        force: call.query.flag("force"),
        body: scale::configuration(call, &given)?,
    };
    let change = Change {
        call,
        part: Part::Scale,
        name: &call.info.name,
        dry_run: options.dry_run,
        is_put: false,
        tracking: Tracking::Applied,
        admission: Admission::Due,
        sees_owners: true,
    };
    change.apply(|old| configuration.over(old)).await
}

/// The body, in YAML or JSON, with what every configuration has to say.
fn read(call: &Call, expected: &Expected<'_>, validation: FieldValidation) -> Result<Value, ApiError> {
    let body = wire::from_yaml(&call.body)
        .map_err(|error| ApiError::bad_request(format!("error decoding YAML: {error}")))?;
    if validation != FieldValidation::Ignore {
        let duplicates = wire::duplicate_keys(&call.body);
        if validation == FieldValidation::Strict && !duplicates.is_empty() {
            return Err(ApiError::bad_request(format!(
                "error strict decoding YAML: error converting YAML to JSON: {}",
                wire::strict_text(&duplicates)
            )));
        }
        for duplicate in duplicates {
            call.warn(duplicate.to_string());
        }
    }
    let text = |key: &str| body[key].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version != resources::api_version(expected.group, expected.version) || kind != expected.kind {
        let (group, version) = wire::group_and_version(api_version);
        return Err(ApiError::bad_request(format!(
            "invalid object type: {group}/{version}, Kind={kind}"
        )));
    }
    if !body["metadata"]["managedFields"].is_null() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    Ok(body)
}

struct Configuration<'c> {
    call: &'c Call,
    part: Part,
    force: bool,
    body: Value,
}

impl Configuration<'_> {
    /// The present object with the configuration applied, in stored form, and its managed fields.
    fn over(&self, old: &Value) -> Result<Value, ApiError> {
        let resource = self.call.resource;
        let mut live = old.clone();
        ownership::take(&mut live);
        resource.show(&mut live);
        let applied = self.apply(Present {
            object: &live,
            blank: &ownership::blank(self.call),
            managed: ownership::managed(old),
            exists: true,
        })?;
        let name = identity::text(&applied.object, "name");
        if name != self.call.info.name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                self.call.info.name
            )));
        }
        let mut object = applied.object;
        resource.store(&mut object);
        ownership::put(&mut object, &applied.managed);
        Ok(object)
    }

    /// There is no object yet: the configuration becomes one.
    async fn create(&self, options: &WriteOptions) -> Result<Answer, ApiError> {
        let call = self.call;
        let uid = identity::text(&self.body, "uid");
        if !uid.is_empty() {
            return Err(ApiError::conflict(
                call.resource.group,
                call.resource.plural,
                &call.info.name,
                &format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                ),
            ));
        }
        let mut info = call.info.clone();
        info.verb = "create".to_owned();
        authz::check(&call.server, &call.user, &info, &call.query).await?;
        let blank = ownership::blank(call);
        let applied = self.apply(Present {
            object: &blank,
            blank: &blank,
            managed: Managed::default(),
            exists: false,
        })?;
        let mut object = applied.object;
        let name = identity::text(&object, "name").to_owned();
        if name.is_empty() {
            identity::metadata(&mut object).insert("name".to_owned(), json!(call.info.name));
        } else if name != call.info.name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                call.info.name
            )));
        }
        call.resource.store(&mut object);
        create::create_object(call, object, options, Some(&applied.managed)).await
    }

    fn apply(&self, present: Present<'_>) -> Result<Applied, ApiError> {
        let applied = ownership::with_type(self.call, |ty| {
            ownership::with_writer(self.call, self.part, |writer| {
                apply::apply(present, &self.body, ty, writer, self.force, |object| {
                    self.complete(object)
                })
            })
        });
        let mut applied = applied
            .ok_or_else(|| ApiError::unsupported_media_type("415: Unsupported Media Type"))?
            .map_err(|refused| self.refusal(&refused))?;
        if self.part == Part::Main && ownership::manager(self.call) == apply::KUBECTL {
            apply::renew_last_applied(&mut applied.object, &self.body);
        }
        Ok(applied)
    }

    /// A status write keeps the stored spec, which has its defaults.
    fn complete(&self, object: Value) -> Result<Value, String> {
        let resource = self.call.resource;
        if let Some(custom) = resource.custom {
            let (object, _) = custom::typed(resource, custom, object).map_err(|error| error.message)?;
            return Ok(object);
        }
        let mut object =
            request::typed(&Expected::from(resource), object).map_err(|error| error.to_string())?;
        if self.part == Part::Status {
            return Ok(object);
        }
        resource.store(&mut object);
        (resource.rules.default)(&mut object);
        resource.show(&mut object);
        Ok(object)
    }

    fn refusal(&self, refused: &Refused) -> ApiError {
        let message = refused.to_string();
        match refused {
            Refused::Malformed(why) => self.malformed(why),
            Refused::Conflicts(conflicts) => {
                let cause = |c: &apply::Conflict| {
                    let text = format!("conflict with {}", c.manager);
                    Cause::new("FieldManagerConflict", c.field.clone(), text)
                };
                ApiError::apply_conflict(message, conflicts.iter().map(cause).collect())
            }
        }
    }

    fn malformed(&self, why: &str) -> ApiError {
        let (info, resource) = (&self.call.info, self.call.resource);
        ApiError::untyped(format!(
            "failed to create typed patch object ({}/{}; {}/{}, Kind={}): {why}",
            info.namespace, info.name, resource.group, resource.version, resource.kind
        ))
    }
}
