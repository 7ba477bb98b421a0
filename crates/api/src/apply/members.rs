//! The fields that a value holds, and what a configuration may not hold.
use super::form::{Child, Form, Type, field_element};
use super::set::{FieldSet, readable};
use serde_json::Value;
use std::collections::BTreeSet;

/// Every field of a value: scalars and what is owned as a whole, items of lists and maps, empty objects.
pub(super) fn members(value: &Value, ty: Type<'_>) -> FieldSet {
    let mut set = FieldSet::default();
    walk(value, ty, &mut Vec::new(), &mut set);
    set
}

fn walk(value: &Value, ty: Type<'_>, path: &mut Vec<String>, set: &mut FieldSet) {
    match ty.form(value) {
        Form::Leaf => {
            // A list that could be divided but isn't there has no fields.
            set.insert(path);
        }
        Form::Object(object) => {
            for (name, value) in object {
                let child = ty.child(name);
                path.push(field_element(name));
                walk(value, child.ty(), path, set);
                let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                if empty || !matches!(child, Child::Declared { .. }) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        Form::List(list, items) => {
            for item in list {
                path.push(items.element(item));
                walk(item, ty.item(), path, set);
                set.insert(path);
                path.pop();
            }
        }
    }
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

/// What is wrong with a configuration, the first thing: a field its type doesn't have, an item without its key, two
/// items with the same.
pub(super) fn check(config: &Value, ty: Type<'_>) -> Result<(), String> {
    check_at(config, ty, &mut String::new())
}

fn check_at(value: &Value, ty: Type<'_>, path: &mut String) -> Result<(), String> {
    let length = path.len();
    match ty.form(value) {
        Form::Leaf => {}
        Form::Object(object) => {
            for (name, value) in object {
                let child = ty.child(name);
                path.push('.');
                path.push_str(name);
                if matches!(child, Child::Undeclared) {
                    return Err(format!("{path}: field not declared in schema"));
                }
                check_at(value, child.ty(), path)?;
                path.truncate(length);
            }
        }
        Form::List(list, items) => {
            let mut seen = BTreeSet::new();
            for item in list {
                if let Some(keys) = items.missing(item) {
                    let keys: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
                    return Err(format!(
                        "{path}: element {}: associative list with keys has an element that omits all key fields [{}] (and \
                         doesn't have default values for any key fields)",
                        seen.len(),
                        keys.join(" ")
                    ));
                }
                let element = items.element(item);
                let shown = readable(&element);
                if !seen.insert(element) {
                    return Err(format!("{path}: duplicate entries for key {shown}"));
                }
                path.push_str(&shown);
                check_at(item, ty.item(), path)?;
                path.truncate(length);
            }
        }
    }
    Ok(())
}
