//! A configuration laid over an object, and fields taken out of one.
use super::form::{Form, Items, Type, field_element};
use super::set::FieldSet;
use serde_json::{Map, Value};

/// `config` over `live`: what the configuration names wins, the rest stays.
pub(super) fn merge(live: &Value, config: &Value, ty: Type<'_>) -> Value {
    match (ty.form(live), ty.form(config)) {
        (Form::Object(live), Form::Object(config)) => {
            let mut merged = live.clone();
            for (name, value) in config {
                let value = match live.get(name) {
                    Some(old) => merge(old, value, ty.child(name).ty()),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Form::List(live, items), Form::List(config, _)) => merge_lists(live, config, items, ty),
        // Null lists nothing; what holds parts keeps those that others have given it.
        (Form::Object(parts), Form::Leaf) if config.is_null() && !parts.is_empty() => live.clone(),
        (Form::List(parts, _), Form::Leaf) if config.is_null() && !parts.is_empty() => live.clone(),
        _ => config.clone(),
    }
}

/// Both orders are kept as far as they agree: the configuration's among its items, the object's among those
/// that only it has. Items of both stand where the object has them, as long as the configuration's order allows it.
fn merge_lists(live: &[Value], config: &[Value], items: Items<'_>, ty: Type<'_>) -> Value {
    let wanted: Vec<String> = config.iter().map(|item| items.element(item)).collect();
    let present: Vec<String> = live.iter().map(|item| items.element(item)).collect();
    let mut shared = wanted.iter().filter(|element| present.contains(element));
    let mut next = shared.next();
    let mut merged = Vec::with_capacity(live.len() + config.len());
    let (mut from_live, mut from_config) = (0, 0);
    while from_live < live.len() || from_config < config.len() {
        let due = wanted.get(from_config);
        if let Some(element) = present.get(from_live) {
            if due == Some(element) {
                from_live += 1;
            } else if !wanted.contains(element) {
                merged.push(live[from_live].clone());
                from_live += 1;
                continue;
            } else if due.is_some() && next.is_some_and(|next| next != element) {
                // Of both, but its turn in the configuration's order is another.
                from_live += 1;
                continue;
            } else if wanted[..from_config].contains(element) {
                from_live += 1;
            }
        }
        if let Some(element) = due {
            merged.push(laid_over(&config[from_config], element, live, &present, ty));
            from_config += 1;
            if next == Some(element) {
                next = shared.next();
            }
        }
    }
    Value::Array(merged)
}

fn laid_over(item: &Value, element: &str, live: &[Value], present: &[String], ty: Type<'_>) -> Value {
    let mut same = live.iter().zip(present).filter(|(_, p)| *p == element);
    match (same.next(), same.next()) {
        (Some((old, _)), None) => merge(old, item, ty.item()),
        // Of those that cannot be told apart none is the one to merge with.
        _ => item.clone(),
    }
}

/// The value without these fields; what becomes empty by that goes as well. `None`: nothing is left.
pub(super) fn remove(value: &Value, doomed: &FieldSet, ty: Type<'_>) -> Option<Value> {
    if doomed.member {
        return None;
    }
    if doomed.below.is_empty() {
        return Some(value.clone());
    }
    match ty.form(value) {
        Form::Leaf => Some(value.clone()),
        Form::Object(object) => {
            let mut kept = Map::new();
            for (name, value) in object {
                let left = match doomed.below.get(field_element(name).as_str()) {
                    Some(doomed) => remove(value, doomed, ty.child(name).ty()),
                    None => Some(value.clone()),
                };
                if let Some(left) = left {
                    kept.insert(name.clone(), left);
                }
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Form::List(list, items) => {
            let kept: Vec<Value> = list
                .iter()
                .filter_map(|item| match doomed.below.get(items.element(item).as_str()) {
                    Some(doomed) => remove(item, doomed, ty.item()),
                    None => Some(item.clone()),
                })
                .collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
    }
}
