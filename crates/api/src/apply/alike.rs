//! Whether two objects hold the same fields, whatever is in them: then what is owned of one is known from the other.
use super::form::{Form, Type};
use serde_json::Value;

/// Whether a creator of either object would own the same fields of it. Objects of which that cannot be told at a glance are
/// not alike.
pub fn alike(a: &Value, b: &Value, ty: Type<'_>) -> bool {
    match (ty.form(a), ty.form(b)) {
        (Form::Object(a), Form::Object(b)) => {
            let mut members = a.iter().zip(b);
            a.len() == b.len()
                && members.all(|((name, a), (other, b))| name == other && alike(a, b, ty.child(name).ty()))
        }
        (Form::List(a, items), Form::List(b, _)) => {
            let mut pairs = a.iter().zip(b);
            a == b
                || a.len() == b.len()
                    && pairs.all(|(a, b)| items.element(a) == items.element(b) && alike(a, b, ty.item()))
        }
        // What an empty object of the kind may hold, too, is not the same as something.
        (Form::Leaf, Form::Leaf) => a == b || is_filled(a) && is_filled(b),
        _ => false,
    }
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}
