//! Who owns the fields of what a request writes: `metadata.managedFields` (contract §9.5).
use super::change::Part;
use super::identity;
use crate::http::Call;
use crate::request::{self, Expected};
use crate::resources::StatusMetadata;
use http::header::USER_AGENT;
use orlop_api::apply::{self, Managed, Type, Writer};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

const MANAGED_FIELDS: &str = "managedFields";
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

/// The same for a list as it is written.
fn put_list(object: &mut Value, list: Value) {
    let metadata = identity::metadata(object);
    match list.as_array() {
        Some(entries) if !entries.is_empty() => metadata.insert(MANAGED_FIELDS.to_owned(), list),
        _ => metadata.remove(MANAGED_FIELDS),
    };
}

/// What is managed in a stored object. A list that cannot be read manages nothing.
pub fn managed(object: &Value) -> Managed {
    Managed::parse(&object["metadata"][MANAGED_FIELDS]).unwrap_or_default()
}

/// A stored object as the request sees it, whose fields the writer then owns.
fn shown<'o>(call: &Call, object: &'o Value) -> Cow<'o, Value> {
    if !call.resource.is_stored_otherwise() {
        return Cow::Borrowed(object);
    }
    let mut shown = object.clone();
    call.resource.show(&mut shown);
    Cow::Owned(shown)
}

/// Credits the creator with a new object's fields.
pub fn created(call: &Call, object: &mut Value) {
    let managed = with_type(call, |ty| {
        with_writer(call, Part::Main, |writer| {
            let object = shown(call, object);
            apply::update(Managed::default(), &blank(call), &object, ty, writer)
        })
    });
    if let Some(managed) = managed {
        put(object, &managed);
    }
}

/// Credits the writer with what differs between `old` and `new`. `given` is the list that the client sent: it counts
/// if it can be read, and an empty one ends the keeping of lists for this object until the next apply.
pub fn updated(call: &Call, part: Part, given: Option<Value>, old: &Value, new: &mut Value) {
    let stored = &old["metadata"][MANAGED_FIELDS];
    // Whoever writes a part says nothing about the owners of the whole.
    let mut list = match given.filter(|_| part == Part::Main) {
        Some(list) if Managed::is_reset(&list) => Value::Null,
        Some(list) if list == *stored => list,
        Some(list) => Managed::parse(&list).map_or_else(|| stored.clone(), |managed| managed.to_value()),
        None => stored.clone(),
    };
    if part != Part::Binding {
        with_type(call, |ty| {
            with_writer(call, part, |writer| {
                apply::update_list(&mut list, &shown(call, old), &shown(call, new), ty, writer)
            })
        });
    }
    put_list(new, list);
}
