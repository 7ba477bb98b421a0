//! The fields that a value holds, and what a configuration may not hold.
use super::compare::by_element;
use super::form::{Child, Form, Type};
use super::set::{FieldSet, readable};
use serde_json::Value;
use std::collections::BTreeSet;

/// Every field of a value: scalars and what is owned as a whole, items of lists and maps, empty objects.
pub(super) fn members(value: &Value, ty: Type<'_>) -> FieldSet {
    let mut set = FieldSet::default();
    match ty.form(value) {
        // A list that could be divided but isn't there has no fields.
        Form::Leaf => set.member = true,
        Form::Object(object) => {
            for (name, value) in object {
                let child = ty.child(name);
                let mut below = members(value, child.ty());
                let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                below.member |= empty || !matches!(child, Child::Declared { .. });
                set.put(|| child.element(name), below);
            }
        }
        Form::List(_, items) => {
            for (element, found) in by_element(Some(value), items) {
                let mut below = match found.as_slice() {
                    [only] => members(only, ty.item()),
                    // Items that cannot be told apart are one.
                    _ => FieldSet::default(),
                };
                below.member = true;
                set.put(|| element.into(), below);
            }
        }
    }
    set
}

/// The set with every declared field on the way to its members. Items and entries stand only for themselves.
pub(super) fn with_parents(set: &FieldSet, ty: Type<'_>) -> FieldSet {
    let below = set.below.iter().map(|(element, node)| {
        let (inner, declared) = match element.strip_prefix("f:") {
            Some(name) => {
                let child = ty.child(name);
                (child.ty(), matches!(child, Child::Declared { .. }))
            }
            None => (ty.item(), false),
        };
        let mut node = with_parents(node, inner);
        node.member |= declared;
        (element.clone(), node)
    });
    FieldSet {
        member: set.member,
        below: below.collect(),
    }
}

/// What is wrong with a configuration, all of it: fields its type doesn't have, items without any key, items with the same.
pub(super) fn check(config: &Value, ty: Type<'_>) -> Result<(), String> {
    let mut faults = Vec::new();
    check_at(config, ty, &mut String::new(), &mut faults);
    match faults.as_slice() {
        [] => Ok(()),
        [only] => Err(only.clone()),
        several => Err(format!("errors:\n  {}", several.join("\n  "))),
    }
}

fn check_at(value: &Value, ty: Type<'_>, path: &mut String, faults: &mut Vec<String>) {
    let length = path.len();
    match ty.form(value) {
        Form::Leaf => {}
        Form::Object(object) => {
            for (name, value) in object {
                let child = ty.child(name);
                path.push('.');
                path.push_str(name);
                if matches!(child, Child::Undeclared) {
                    faults.push(format!("{path}: field not declared in schema"));
                } else {
                    check_at(value, child.ty(), path, faults);
                }
                path.truncate(length);
            }
        }
        Form::List(list, items) => {
            let mut seen = BTreeSet::new();
            for (at, item) in list.iter().enumerate() {
                if let Some(keys) = items.missing(item) {
                    let keys: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
                    faults.push(format!(
                        "{path}: element {at}: associative list with keys has an element that omits all key fields [{}] (and \
                         doesn't have default values for any key fields)",
                        keys.join(" ")
                    ));
                    continue;
                }
                let element = items.element(item);
                let shown = readable(&element);
                if !seen.insert(element) {
                    faults.push(format!("{path}: duplicate entries for key {shown}"));
                }
                path.push_str(&shown);
                check_at(item, ty.item(), path, faults);
                path.truncate(length);
            }
        }
    }
}
