//! The directives of a strategic merge patch: keys that begin with a dollar sign.

use serde_json::{Map, Value};

use super::super::PatchError;
use super::show::{show, show_map};

/// The value of `$patch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Directive {
    Delete,
    Replace,
    Merge,
}

/// `$patch` of this map.
pub(super) fn of(map: &Map<String, Value>) -> Result<Option<Directive>, PatchError> {
    match map.get("$patch") {
        None => Ok(None),
        Some(Value::String(s)) if s == "delete" => Ok(Some(Directive::Delete)),
        Some(Value::String(s)) if s == "replace" => Ok(Some(Directive::Replace)),
        Some(Value::String(s)) if s == "merge" => Ok(Some(Directive::Merge)),
        Some(other) => Err(unknown(&show(other), map)),
    }
}

pub(super) fn unknown(directive: &str, map: &Map<String, Value>) -> PatchError {
    PatchError::UnknownDirective {
        directive: directive.to_owned(),
        element: show_map(map),
    }
}

/// An element that stands in a list only to say what to do with another, or with the list.
pub(super) fn is_directive_element(item: &Value) -> bool {
    matches!(
        item.get("$patch").and_then(Value::as_str),
        Some("delete" | "replace")
    )
}

/// Directives that stand beside the list they are about.
#[derive(Clone, Copy)]
pub(super) enum Parallel {
    Delete,
    Order,
}

impl Parallel {
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Parallel::Delete => "$deleteFromPrimitiveList/",
            Parallel::Order => "$setElementOrder/",
        }
    }
}

/// `$setElementOrder/key`, if the patch has it.
pub(super) fn order<'a>(patch: &'a Map<String, Value>, key: &str) -> Result<Option<&'a [Value]>, PatchError> {
    let value = patch.get(&format!("{}{key}", Parallel::Order.prefix()));
    value.map(as_order).transpose()
}

pub(super) fn as_order(value: &Value) -> Result<&[Value], PatchError> {
    let list = value.as_array().map(Vec::as_slice);
    list.ok_or(PatchError::BadDirective("setElementOrder list"))
}

/// `$retainKeys`: the only keys that survive. What the patch sets must be among them.
pub(super) fn retained_keys(patch: &Map<String, Value>) -> Result<Option<Vec<&str>>, PatchError> {
    const BAD: PatchError = PatchError::BadDirective("retainKeys");
    let Some(value) = patch.get("$retainKeys") else {
        return Ok(None);
    };
    let keys: Vec<&str> = value
        .as_array()
        .ok_or(BAD)?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let set = patch
        .iter()
        .filter(|(key, value)| !key.starts_with('$') && !value.is_null());
    if set.map(|(key, _)| key).any(|key| !keys.contains(&key.as_str())) {
        return Err(BAD);
    }
    Ok(Some(keys))
}
