//! PUT (contract §7.3).
use super::change::{Change, Outcome, Part, Tracking};
use super::{create, identity, present};
use crate::admission::Admission;
use crate::authz;
use crate::http::{Answer, Call};
use crate::request::WriteOptions;
use crate::status::{ApiError, cause};
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};

pub async fn update(call: &Call, part: Part) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let resource = call.resource;
    let name = call.info.name.as_str();
    let body = decode(call, part, &options)?;
    let versioned = !matches!(identity::text(&body, "resourceVersion"), "" | "0");
    // Tried again when others take a quota or an address at the same time, though the object is as it was: seldom enough
    // to read the body anew then, and not to keep a copy of it each time.
    let body = Mutex::new(Some(body));
    let given = || match body.lock().take() {
        Some(body) => Ok(body),
        None => decode(call, part, &options),
    };
    let change = Change {
        call,
        part,
        name,
        dry_run: options.dry_run,
        is_put: true,
        tracking: Tracking::Update,
        admission: Admission::Due,
        sees_owners: false,
    };
    let outcome = change
        .apply(|_| {
            if !versioned && !resource.rules.unconditional_update {
                // Upstream names the resource here, not the kind.
                return Err(ApiError::invalid_kind(
                    resource.group,
                    resource.plural,
                    name,
                    vec![cause::invalid(
                        "metadata.resourceVersion",
                        &json!(0),
                        "must be specified for an update",
                    )],
                ));
            }
            given()
        })
        .await?;
    match outcome {
        Some(outcome) => answer(call, outcome).await,
        None if resource.rules.create_on_update && part == Part::Main => {
            // Who may change what there is may not make what there isn't.
            let mut info = call.info.clone();
            info.verb = "create".to_owned();
            authz::check(&call.server, &call.user, &info, &call.query).await?;
            let mut body = given()?;
            identity::metadata(&mut body).remove("resourceVersion");
            create::create_object(call, body, &options, None).await
        }
        None => Err(ApiError::not_found(resource, name)),
    }
}

/// The request's body, which is about the object that the URL names.
fn decode(call: &Call, part: Part, options: &WriteOptions) -> Result<Value, ApiError> {
    let mut body = if part == Part::Status {
        create::decode_plain(call, options)?
    } else {
        create::decode(call, options)?
    };
    let name = call.info.name.as_str();
    match identity::text(&body, "name") {
        "" => {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({name} based on URL) was undeterminable: name must be provided"
            )));
        }
        given if given != name => {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            )));
        }
        _ => {}
    }
    identity::settle_namespace(call.resource, &mut body, &call.info.namespace)?;
    if part == Part::Main && forgets_owners(&call.body) {
        identity::metadata(&mut body).insert("managedFields".to_owned(), json!([]));
    }
    Ok(body)
}

/// Whether a body has an empty list of owners, which the form that it is given leaves out. Few bodies are read again for
/// this.
fn forgets_owners(body: &[u8]) -> bool {
    const KEY: &[u8] = b"\"managedFields\"";
    let mut keys = body
        .windows(KEY.len())
        .enumerate()
        .filter(|(_, window)| *window == KEY);
    let is_empty = |start: usize| {
        let behind = body[start..].iter().filter(|byte| !byte.is_ascii_whitespace());
        behind.take(3).eq(b":[]")
    };
    if !keys.any(|(start, _)| is_empty(start + KEY.len())) {
        return false;
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["metadata"]["managedFields"]
        .as_array()
        .is_some_and(Vec::is_empty)
}

/// 200 with the object, stored or not.
pub async fn answer(call: &Call, outcome: Outcome) -> Result<Answer, ApiError> {
    match outcome {
        Outcome::Stored(object) => present::object(call, StatusCode::OK, object).await,
        Outcome::Would(mut value) => {
            call.resource.show(&mut value);
            present::value(call, StatusCode::OK, value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::forgets_owners;

    #[test]
    fn an_empty_list_of_owners_is_told_from_none() {
        for (body, forgets) in [
            (r#"{"metadata":{"managedFields":[]}}"#, true),
            ("{\"metadata\": {\"managedFields\" : [\n ] }}", true),
            (r#"{"metadata":{"managedFields":[{}]}}"#, false),
            (r#"{"metadata":{}}"#, false),
            (
                r#"{"metadata":{},"spec":{"metadata":{"managedFields":[]}}}"#,
                false,
            ),
            ("no JSON", false),
        ] {
            assert_eq!(forgets_owners(body.as_bytes()), forgets, "{body}");
        }
    }
}
