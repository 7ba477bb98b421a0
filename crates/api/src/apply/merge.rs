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
        _ => config.clone(),
    }
}

/// Both orders are kept as far as they agree: the configuration's among its items, the object's among those
/// that only it has.
fn merge_lists(live: &[Value], config: &[Value], items: Items<'_>, ty: Type<'_>) -> Value {
    let wanted: Vec<String> = config.iter().map(|item| items.element(item)).collect();
    let present: Vec<String> = live.iter().map(|item| items.element(item)).collect();
    let mut merged = Vec::with_capacity(live.len() + config.len());
    let mut taken = 0;
    for (item, element) in live.iter().zip(&present) {
        if !wanted.contains(element) {
            merged.push(item.clone());
            continue;
        }
        // Up to and with this item, unless an earlier one of the object has brought it.
        let Some(until) = wanted.iter().skip(taken).position(|w| w == element) else {
            continue;
        };
        for at in taken..=taken + until {
            merged.push(laid_over(&config[at], &wanted[at], live, &present, ty));
        }
        taken += until + 1;
    }
    for at in taken..config.len() {
        merged.push(laid_over(&config[at], &wanted[at], live, &present, ty));
    }
    Value::Array(merged)
}

fn laid_over(item: &Value, element: &str, live: &[Value], present: &[String], ty: Type<'_>) -> Value {
    match present
        .iter()
        .position(|p| p == element)
        .and_then(|at| live.get(at))
    {
        Some(old) => merge(old, item, ty.item()),
        None => item.clone(),
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
