//! Lists: replaced, merged by key, or merged as sets, and the order of the result.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::super::PatchError;
use super::directive::{self, Directive};
use super::show::{show_list, show_map};
use super::{Place, merge_map, plain, plain_map};
use crate::wire::schema::{Field, Merge};

/// Merges the list of the patch into the current one, as the field's strategy says.
pub(super) fn merge(
    current: Vec<Value>,
    patch: &[Value],
    order: Option<&[Value]>,
    field: Option<&Field>,
) -> Result<Vec<Value>, PatchError> {
    match field.map(|f| f.merge) {
        Some(Merge::Key(key)) => merge_keyed(current, patch, order, key, Place::inside(field)),
        Some(Merge::Set) => Ok(merge_set(current, patch, order)),
        _ => Ok(patch
            .iter()
            .map(|item| plain(item, Place::inside(field), None))
            .collect()),
    }
}

/// Reorders a list the patch doesn't touch otherwise.
pub(super) fn reorder(
    current: Vec<Value>,
    order: &[Value],
    field: Option<&Field>,
) -> Result<Vec<Value>, PatchError> {
    let key = match field.map(|f| f.merge) {
        Some(Merge::Key(key)) => {
            check_order(&[], order, key)?;
            Some(key)
        }
        Some(Merge::Set) => None,
        _ => return Ok(current),
    };
    let before = current.clone();
    Ok(arrange(current, &before, order, key))
}

/// An order names items by their key, and those of the patch in the order that they have there.
fn check_order(patch: &[Value], order: &[Value], key: &'static str) -> Result<(), PatchError> {
    let mut named = Vec::with_capacity(order.len());
    for (at, item) in order.iter().enumerate() {
        let Value::Object(element) = item else {
            return Err(PatchError::Contradiction(format!(
                "value for key {at} is not a map"
            )));
        };
        named.push(key_of(element, key)?);
    }
    let mut named = named.into_iter();
    let plain = patch.iter().filter(|item| item.get("$patch").is_none());
    for wanted in plain.filter_map(|item| item.get(key)) {
        if !named.any(|name| name == wanted) {
            return Err(PatchError::Contradiction(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                show_list(patch),
                show_list(order)
            )));
        }
    }
    Ok(())
}

fn merge_keyed(
    mut current: Vec<Value>,
    patch: &[Value],
    order: Option<&[Value]>,
    key: &'static str,
    place: Place,
) -> Result<Vec<Value>, PatchError> {
    if let Some(order) = order {
        check_order(patch, order, key)?;
    }
    let before = current.clone();
    let mut replace = false;
    let mut elements: Vec<&Map<String, Value>> = Vec::new();
    for item in patch {
        let Value::Object(element) = item else {
            return Err(PatchError::Contradiction(format!(
                "an element of a list keyed by {key} must be an object"
            )));
        };
        match directive::of(element)? {
            Some(Directive::Delete) => {
                let unwanted = key_of(element, key)?;
                current.retain(|c| c.get(key) != Some(unwanted));
            }
            Some(Directive::Replace) => {
                replace = true;
            }
            Some(Directive::Merge) => {
                let text = "merging lists cannot yet be specified in the patch";
                return Err(PatchError::Contradiction(text.to_owned()));
            }
            None => elements.push(element),
        }
    }
    if replace {
        return Ok(elements
            .into_iter()
            .map(|e| Value::Object(plain_map(e, place)))
            .collect());
    }
    for element in &elements {
        let wanted = key_of(element, key)?;
        let found = current.iter().position(|c| c.get(key) == Some(wanted));
        match found.and_then(|at| current.get_mut(at)) {
            Some(slot) => {
                let old = match std::mem::take(slot) {
                    Value::Object(old) => old,
                    _ => Map::new(),
                };
                *slot = Value::Object(merge_map(old, element, place)?);
            }
            None => current.push(Value::Object(plain_map(element, place))),
        }
    }
    let stated: Vec<Value> = elements.iter().map(|e| Value::Object((*e).clone())).collect();
    Ok(arrange(current, &before, order.unwrap_or(&stated), Some(key)))
}

fn key_of<'a>(element: &'a Map<String, Value>, key: &'static str) -> Result<&'a Value, PatchError> {
    element.get(key).ok_or_else(|| PatchError::MissingMergeKey {
        element: show_map(element),
        key,
    })
}

fn merge_set(current: Vec<Value>, patch: &[Value], order: Option<&[Value]>) -> Vec<Value> {
    let before = current.clone();
    let mut merged: Vec<Value> = Vec::with_capacity(current.len() + patch.len());
    let mut seen = std::collections::HashSet::new();
    for item in current.into_iter().chain(patch.iter().cloned()) {
        if seen.insert(item.to_string()) {
            merged.push(item);
        }
    }
    arrange(merged, &before, order.unwrap_or(patch), None)
}

/// The order of a merged list. Items the patch names follow the patch's order, the rest keep theirs, and the two
/// are woven so that a kept item precedes a named one only if it already did; what is new therefore comes first.
fn arrange(merged: Vec<Value>, before: &[Value], order: &[Value], key: Option<&str>) -> Vec<Value> {
    let name = |v: &Value| {
        key.map_or(Some(v), |key| v.get(key))
            .map(Value::to_string)
            .unwrap_or_default()
    };
    let positions = |list: &[Value]| {
        let mut map: HashMap<String, usize> = HashMap::with_capacity(list.len());
        for (i, item) in list.iter().enumerate() {
            map.entry(name(item)).or_insert(i);
        }
        map
    };
    let (rank, old) = (positions(order), positions(before));
    let (mut named, mut kept): (Vec<_>, Vec<_>) = merged
        .into_iter()
        .map(|item| (name(&item), item))
        .partition(|(n, _)| rank.contains_key(n));
    named.sort_by_key(|(n, _)| rank.get(n).copied());
    kept.sort_by_key(|(n, _)| old.get(n).copied());

    let mut woven = Vec::with_capacity(named.len() + kept.len());
    let mut kept = kept.into_iter().peekable();
    for (n, item) in named {
        if let Some(place) = old.get(&n) {
            while let Some((_, earlier)) = kept.next_if(|(k, _)| old.get(k).is_some_and(|p| p < place)) {
                woven.push(earlier);
            }
        }
        woven.push(item);
    }
    woven.extend(kept.map(|(_, item)| item));
    woven
}
