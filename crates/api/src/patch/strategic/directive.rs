//! The directives of a strategic merge patch: keys that begin with a dollar sign.

use serde_json::{Map, Value};

use super::super::PatchError;
use super::show::show_map;

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
        Some(other) => Err(PatchError::UnknownDirective {
            directive: other.as_str().map_or_else(|| other.to_string(), str::to_owned),
            element: show_map(map),
        }),
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

/// The directive about the list `key`, if the patch has it.
pub(super) fn parallel<'a>(
    patch: &'a Map<String, Value>,
    which: Parallel,
    key: &str,
) -> Result<Option<&'a [Value]>, PatchError> {
    let name = format!("{}{key}", which.prefix());
    patch.get(&name).map(|value| as_list(&name, value)).transpose()
}

pub(super) fn as_list<'a>(name: &str, value: &'a Value) -> Result<&'a [Value], PatchError> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| bad(name, "a list is expected"))
}

/// `$retainKeys`: the only keys that survive. What the patch sets must be among them.
pub(super) fn retained_keys(patch: &Map<String, Value>) -> Result<Option<Vec<&str>>, PatchError> {
    const NAME: &str = "$retainKeys";
    let Some(value) = patch.get(NAME) else {
        return Ok(None);
    };
    let mut keys = Vec::new();
    for key in as_list(NAME, value)? {
        keys.push(
            key.as_str()
                .ok_or_else(|| bad(NAME, "a list of strings is expected"))?,
        );
    }
    for (key, value) in patch {
        if !key.starts_with('$') && !value.is_null() && !keys.contains(&key.as_str()) {
            return Err(bad(
                NAME,
                &format!("the patch sets {key:?}, which is not retained"),
            ));
        }
    }
    Ok(Some(keys))
}

pub(super) fn bad(name: &str, cause: &str) -> PatchError {
    PatchError::BadDirective {
        directive: name.to_owned(),
        cause: cause.to_owned(),
    }
}
