//! The usual write of a manager who has written before: the fields are its own already, and nobody else's. Then only its
//! time moves, and the list needn't be taken apart for that: heartbeats and statuses are most of what is written.
use super::compare::Changes;
use super::managed::UPDATES_MAX;
use super::ownership::Writer;
use super::set::FieldSet;
use serde_json::{Value, json};

/// Brings a list up to date in its place, if no more than that is to be done; answers whether it was.
pub(super) fn renew(list: &mut Value, changes: &Changes, writer: &Writer<'_>) -> bool {
    let Some(entries) = list.as_array_mut() else {
        return false;
    };
    if !changes.removed.is_empty() || !entries.iter().all(is_usual) || entries.len() > UPDATES_MAX {
        return false;
    }
    if changes.written.is_empty() {
        return true;
    }
    let mut own = None;
    for (at, entry) in entries.iter().enumerate() {
        if is_of(entry, writer) {
            if own.replace(at).is_some() || !holds_all(&entry["fieldsV1"], &changes.written) {
                return false;
            }
        } else if holds_any(&entry["fieldsV1"], &changes.written) {
            return false;
        }
    }
    let Some(own) = own else {
        return false;
    };
    entries[own]["time"] = json!(writer.now);
    entries.sort_by(|a, b| rank(a).cmp(&rank(b)));
    true
}

fn text<'e>(entry: &'e Value, key: &str) -> &'e str {
    entry[key].as_str().unwrap_or_default()
}

fn is_usual(entry: &Value) -> bool {
    matches!(text(entry, "operation"), "Apply" | "Update")
        && text(entry, "fieldsType") == "FieldsV1"
        && entry["fieldsV1"]
            .as_object()
            .is_some_and(|fields| !fields.is_empty())
}

fn is_of(entry: &Value, writer: &Writer<'_>) -> bool {
    text(entry, "operation") == "Update"
        && text(entry, "manager") == writer.manager
        && text(entry, "subresource") == writer.subresource
        && text(entry, "apiVersion") == writer.api_version
}

/// The order of the list: appliers first, then by age.
fn rank(entry: &Value) -> (&str, Option<&str>, [&str; 3]) {
    let names = ["manager", "apiVersion", "subresource"].map(|key| text(entry, key));
    (text(entry, "operation"), entry["time"].as_str(), names)
}

/// Whether what stands at a node of `fieldsV1` is a member itself.
fn is_member(node: &Value) -> bool {
    node.as_object()
        .is_some_and(|below| below.is_empty() || below.contains_key("."))
}

/// Whether all members of the set are in what `fieldsV1` lists.
fn holds_all(node: &Value, set: &FieldSet) -> bool {
    set.below.iter().all(|(element, below)| {
        node.get(&**element)
            .is_some_and(|node| (!below.member || is_member(node)) && holds_all(node, below))
    })
}

/// Whether some member of the set is.
fn holds_any(node: &Value, set: &FieldSet) -> bool {
    set.below.iter().any(|(element, below)| {
        node.get(&**element)
            .is_some_and(|node| below.member && is_member(node) || holds_any(node, below))
    })
}
