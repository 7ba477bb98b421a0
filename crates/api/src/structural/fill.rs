//! Fills in what a schema says about absent fields.
use super::{Additional, Node};
use serde_json::Value;

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
