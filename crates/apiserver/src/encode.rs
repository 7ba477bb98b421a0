//! Objects to bytes, in one canonical form, so that equal objects are equal bytes.
//!
//! `kind`, `apiVersion` and `metadata` come first, everything below them in key order, and strings are
//! escaped as Go's encoder does: what a client hashes or compares byte for byte comes back unchanged.
use crate::resources::Resource;
use bytes::Bytes;
use orlop_api::wire::GoEscapes;
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::CompactFormatter;
use std::cell::RefCell;

/// Appends `value` as compact JSON. Writing a `Value` into memory has no way to fail.
pub fn append(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let mut serializer = serde_json::Serializer::with_formatter(out, GoEscapes(CompactFormatter));
    if let Err(error) = value.serialize(&mut serializer) {
        tracing::error!(%error, "a JSON value could not be written");
    }
}

/// `value` as compact JSON.
pub fn json(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    append(&mut out, value);
    out
}

/// What every stored object of this resource begins with, up to and including metadata's brace.
pub fn head(resource: &Resource) -> String {
    head_of(resource.kind, &resource.api_version())
}

/// The same for any kind.
pub fn head_of(kind: &str, api_version: &str) -> String {
    format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{{"#)
}

/// Whether these bytes begin as stored objects of this resource do.
pub fn has_head(bytes: &[u8], resource: &Resource) -> bool {
    let slash = if resource.group.is_empty() { "" } else { "/" };
    let parts = [
        r#"{"kind":""#,
        resource.kind,
        r#"","apiVersion":""#,
        resource.group,
        slash,
        resource.version,
        r#"","metadata":{"#,
    ];
    let rest = parts
        .iter()
        .try_fold(bytes, |rest, part| rest.strip_prefix(part.as_bytes()));
    rest.is_some()
}

/// The bytes to store: no resourceVersion, no selfLink.
pub fn stored(resource: &Resource, object: &Value) -> Bytes {
    stored_with(&head(resource), object)
}

/// The same behind a head that the caller has.
pub fn stored_with(head: &str, object: &Value) -> Bytes {
    stored_managed(head, object, None)
}

/// The same of an object whose managed fields are not in its tree, but written already.
pub fn stored_managed(head: &str, object: &Value, managed: Option<&[u8]>) -> Bytes {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        append_stored(scratch, head, object, managed);
        // As large as what the cache makes of it: when this is freed, the next of its size takes its place, and the
        // objects that stay lie side by side.
        let mut out = Vec::with_capacity(scratch.len() + LINE_BYTES);
        out.extend_from_slice(scratch);
        if scratch.capacity() > SCRATCH_BYTES_MAX {
            *scratch = Vec::new();
        }
        Bytes::from(out)
    })
}

/// What the cache adds to a stored object, about.
const LINE_BYTES: usize = 80;
/// A thread keeps a buffer up to this.
const SCRATCH_BYTES_MAX: usize = 32 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn append_stored(out: &mut Vec<u8>, head: &str, object: &Value, mut managed: Option<&[u8]>) {
    const MANAGED_FIELDS: &str = "managedFields";
    out.extend_from_slice(head.as_bytes());
    let mut first = true;
    if let Some(metadata) = object.get("metadata").and_then(Value::as_object) {
        for (key, value) in metadata {
            if matches!(key.as_str(), "resourceVersion" | "selfLink") {
                continue;
            }
            if let Some(managed) = managed.take_if(|_| key.as_str() > MANAGED_FIELDS) {
                name(out, &mut first, MANAGED_FIELDS);
                out.extend_from_slice(managed);
            }
            member(out, &mut first, key, value);
        }
    }
    if let Some(managed) = managed {
        name(out, &mut first, MANAGED_FIELDS);
        out.extend_from_slice(managed);
    }
    out.push(b'}');
    first = false;
    if let Some(object) = object.as_object() {
        for (key, value) in object {
            if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
                member(out, &mut first, key, value);
            }
        }
    }
    out.push(b'}');
}

fn member(out: &mut Vec<u8>, first: &mut bool, key: &str, value: &Value) {
    name(out, first, key);
    append(out, value);
}

fn name(out: &mut Vec<u8>, first: &mut bool, key: &str) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    append(out, key);
    out.push(b':');
}

/// An answer's object: `kind` and `apiVersion` first, the rest in order.
pub fn object(object: &Value) -> Vec<u8> {
    let Some(map) = object.as_object() else {
        return json(object);
    };
    let mut out = Vec::with_capacity(512);
    out.push(b'{');
    let mut first = true;
    let order = ["kind", "apiVersion", "metadata"];
    for key in order {
        if let Some(value) = map.get(key) {
            member(&mut out, &mut first, key, value);
        }
    }
    for (key, value) in map.iter().filter(|(k, _)| !order.contains(&k.as_str())) {
        member(&mut out, &mut first, key, value);
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn strings_are_escaped_as_go_does() {
        let text = String::from_utf8(json(
            &json!({"a": "<b>&\u{2028}\n\u{8}\"é", "<x>": "’\u{2029}€>"}),
        ))
        .unwrap();
        assert_eq!(
            text,
            r#"{"\u003cx\u003e":"’\u2029€\u003e","a":"\u003cb\u003e\u0026\u2028\n\b\"é"}"#
        );
    }

    #[test]
    fn stored_bytes_begin_with_the_head_and_leave_the_version_out() {
        let resource = crate::resources::find("", "v1", "configmaps").unwrap();
        let object = json!({"apiVersion":"v1","kind":"ConfigMap","data":{"a":"b"},
            "metadata":{"name":"c","resourceVersion":"7","selfLink":"/c"}});
        assert_eq!(
            stored(resource, &object),
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c"},"data":{"a":"b"}}"#
        );
    }
}
