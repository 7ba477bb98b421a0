//! Who owns the fields of what a request writes: `metadata.managedFields` (contract §9.5).
use super::change::Part;
use super::{creators, identity};
use crate::http::Call;
use crate::request::{self, Expected};
use crate::resources::StatusMetadata;
use bytes::Bytes;
use http::header::USER_AGENT;
use orlop_api::apply::{self, Managed, Type, Writer};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

const MANAGED_FIELDS: &str = "managedFields";
/// A list without entries is left out.
const EMPTY: &[u8] = b"[]";
/// A client that says neither `fieldManager` nor what it is.
const UNKNOWN_MANAGER: &str = "unknown";

/// The name under which this request owns fields: `fieldManager`, or what the client calls itself.
pub fn manager(call: &Call) -> &str {
    let agent = || {
        let agent = call.headers.get(USER_AGENT)?.to_str().ok()?;
        agent.split('/').next()
    };
    call.query
        .get("fieldManager")
        .filter(|m| !m.is_empty())
        .or_else(|| agent().filter(|m| !m.is_empty()))
        .unwrap_or(UNKNOWN_MANAGER)
}

/// Calls `with` with the type of the resource's objects, if it is known.
pub fn with_type<R>(call: &Call, with: impl FnOnce(Type<'_>) -> R) -> Option<R> {
    match call.resource.custom {
        Some(custom) => Some(with(Type::Custom(&custom.definition().schema))),
        None => Type::of_kind(&call.resource.api_version(), call.resource.kind).map(with),
    }
}

/// An empty object of the resource's kind: what a new one is compared with.
pub fn blank(call: &Call) -> Arc<Value> {
    /// By apiVersion and kind; there are as many as built-in kinds that are written.
    type Blanks = HashMap<(String, &'static str), Arc<Value>>;
    static BLANKS: LazyLock<Mutex<Blanks>> = LazyLock::new(Mutex::default);
    if call.resource.custom.is_some() {
        return Arc::new(json!({"metadata": {}}));
    }
    let of_kind = (call.resource.api_version(), call.resource.kind);
    let mut blanks = BLANKS.lock();
    let blank = blanks.entry(of_kind).or_insert_with(|| {
        Arc::new(request::typed(&Expected::from(call.resource), json!({})).unwrap_or_default())
    });
    blank.clone()
}

/// Calls `write` with who writes this part of the object in this request.
pub fn with_writer<R>(call: &Call, part: Part, write: impl FnOnce(&Writer<'_>) -> R) -> R {
    let ignored: &[&str] = match part {
        Part::Status => match call.resource.rules.status_metadata {
            StatusMetadata::Written => &["spec"],
            StatusMetadata::LabelsKept => &["spec", "metadata.labels"],
            StatusMetadata::OwnersKept => &["spec", "metadata.deletionTimestamp", "metadata.ownerReferences"],
            StatusMetadata::Kept => &["spec", "metadata"],
        },
        Part::Approval => &["spec"],
        _ if call.resource.has_status() => &["status"],
        _ => &[],
    };
    write(&Writer {
        manager: manager(call),
        api_version: &call.resource.api_version(),
        subresource: part.subresource(),
        ignored,
        now: &identity::now(),
    })
}

/// Takes the list out of an object.
pub fn take(object: &mut Value) -> Option<Value> {
    identity::metadata(object)
        .remove(MANAGED_FIELDS)
        .filter(|list| !list.is_null())
}

/// Puts the list into an object; an empty one is left out.
pub fn put(object: &mut Value, managed: &Managed) {
    let metadata = identity::metadata(object);
    if managed.is_empty() {
        metadata.remove(MANAGED_FIELDS);
    } else {
        metadata.insert(MANAGED_FIELDS.to_owned(), managed.to_value());
    }
}

/// What is managed in a stored object. A list that cannot be read manages nothing.
pub fn managed(object: &Value) -> Managed {
    Managed::parse(&object["metadata"][MANAGED_FIELDS]).unwrap_or_default()
}

/// A stored object as the request sees it: that is what it patches, and whose fields the writer then owns.
pub fn shown<'o>(call: &Call, object: &'o Value) -> Cow<'o, Value> {
    if !call.resource.is_stored_otherwise() {
        return Cow::Borrowed(object);
    }
    let mut shown = object.clone();
    call.resource.show(&mut shown);
    Cow::Owned(shown)
}

/// Credits the creator with a new object's fields.
pub fn created(call: &Call, object: &mut Value) {
    if let Some(managed) = of_new(call, object) {
        put(object, &managed);
    }
}

/// The same as it is written, for an object that will not have it in its tree; `None`: there is nothing to own.
pub fn created_list(call: &Call, object: &Value) -> Option<Bytes> {
    let resource = call.resource;
    if resource.custom.is_some() || resource.is_stored_otherwise() {
        return of_new(call, object)
            .filter(|managed| !managed.is_empty())
            .map(|managed| written(&managed));
    }
    let ty = Type::of_kind(&resource.api_version(), resource.kind)?;
    let now = identity::now();
    let made = || {
        of_new(call, object)
            .filter(|managed| !managed.is_empty())
            .map(|managed| written(&managed))
    };
    creators::list(resource, manager(call), object, ty, &now, made)
}

fn of_new(call: &Call, object: &Value) -> Option<Managed> {
    with_type(call, |ty| {
        with_writer(call, Part::Main, |writer| {
            let object = shown(call, object);
            apply::update(Managed::default(), &blank(call), &object, ty, writer)
        })
    })
}

fn written(managed: &Managed) -> Bytes {
    managed.to_value().to_string().into()
}

/// Credits the writer with what differs between `old` and `new`, which has no list itself. `given` is the list that the
/// client sent: it counts if it can be read, and an empty one ends the keeping of lists for this object until the next
/// apply.
pub fn updated(call: &Call, part: Part, given: Option<Value>, old: &Value, new: &mut Value) {
    let stored = &old["metadata"][MANAGED_FIELDS];
    let stored = (!stored.is_null()).then(|| Bytes::from(stored.to_string()));
    if let Some(list) = updated_list(call, part, given, stored, old, new) {
        // We have written it.
        let list = serde_json::from_slice(&list).unwrap_or_default();
        identity::metadata(new).insert(MANAGED_FIELDS.to_owned(), list);
    }
}

/// The same of a list that is in neither tree, but as it is written; `None`: there is none.
pub fn updated_list(
    call: &Call,
    part: Part,
    given: Option<Value>,
    stored: Option<Bytes>,
    old: &Value,
    new: &Value,
) -> Option<Bytes> {
    // Whoever writes a part says nothing about the owners of the whole.
    let list = match given.filter(|_| part == Part::Main) {
        Some(list) if Managed::is_reset(&list) => None,
        Some(list) => {
            let text = list.to_string();
            if stored.as_deref() == Some(text.as_bytes()) {
                stored
            } else {
                Managed::parse(&list).map_or(stored, |managed| Some(managed.to_value().to_string().into()))
            }
        }
        None => stored,
    }?;
    let updated = with_type(call, |ty| {
        with_writer(call, part, |writer| {
            apply::update_list(&list, &shown(call, old), &shown(call, new), ty, writer)
        })
    });
    let list = updated.flatten().map_or(list, Bytes::from);
    (*list != *EMPTY).then_some(list)
}
