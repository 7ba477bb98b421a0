//! Fills in what a schema says about absent fields.
use super::{Additional, Node};
use serde_json::Value;

/// Whether a schema has any default.
pub fn fills(schema: &Node) -> bool {
    let each = match &schema.additional {
        Additional::Each(node) => Some(node),
        Additional::Unspecified | Additional::Anything => None,
    };
    let below = each.into_iter().chain(&schema.items).map(|node| &**node);
    schema.default.is_some() || schema.properties.values().chain(below).any(fills)
}

/// Fills defaults into a value, and into what they bring.
pub fn fill(value: &mut Value, schema: &Node) {
    match value {
        Value::Object(members) => {
            for (name, node) in &schema.properties {
                if let Some(default) = &node.default
                    && members.get(name).is_none_or(|v| v.is_null() && !node.nullable)
                {
                    members.insert(name.clone(), default.clone());
                }
                if let Some(value) = members.get_mut(name) {
                    fill(value, node);
                }
            }
            if let Additional::Each(node) = &schema.additional {
                members.values_mut().for_each(|value| fill(value, node));
            }
        }
        Value::Array(items) => {
            if let Some(node) = &schema.items {
                items.iter_mut().for_each(|item| fill(item, node));
            }
        }
        _ => {}
    }
}
