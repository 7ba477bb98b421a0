//! The causes of an `Invalid` answer: one per field, in upstream's words.
use orlop_api::validation::FieldError;
use serde_json::{Value, json};

/// One reason why an object was refused, with the field it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

impl Cause {
    /// A cause of any kind.
    pub fn new(reason: &str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.into(),
            field: field.into(),
        }
    }

    pub(super) fn to_value(&self) -> Value {
        let mut value = json!({});
        for (key, text) in [
            ("reason", &self.reason),
            ("message", &self.message),
            ("field", &self.field),
        ] {
            if !text.is_empty() {
                value[key] = Value::String(text.clone());
            }
        }
        value
    }
}

impl From<FieldError> for Cause {
    fn from(error: FieldError) -> Self {
        Self::new(error.kind.reason(), error.field, error.detail)
    }
}

/// Constructors for the causes the server itself finds.
pub mod cause {
    use super::{Cause, FieldError, Value};
    use serde::Serialize;

    /// As tests name them: field and message.
    #[cfg(test)]
    pub fn shown(causes: &[Cause]) -> Vec<String> {
        causes
            .iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect()
    }

    /// `Required value[: hint]`.
    pub fn required(field: &str, hint: &str) -> Cause {
        let message = if hint.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {hint}")
        };
        Cause::new("FieldValueRequired", field, message)
    }

    /// `Invalid value: {json}: {hint}`.
    pub fn invalid(field: &str, value: &Value, hint: &str) -> Cause {
        Cause::new(
            "FieldValueInvalid",
            field,
            format!("Invalid value: {value}: {hint}"),
        )
    }

    /// `Forbidden: {hint}`.
    pub fn forbidden(field: &str, hint: &str) -> Cause {
        Cause::new("FieldValueForbidden", field, format!("Forbidden: {hint}"))
    }

    /// `Unsupported value: "x": supported values: "A", "B"`.
    pub fn unsupported(field: &str, value: &str, supported: &[&str]) -> Cause {
        let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        Cause::new(
            "FieldValueNotSupported",
            field,
            format!(
                "Unsupported value: {value:?}: supported values: {}",
                list.join(", ")
            ),
        )
    }

    /// `Duplicate value: {json}`.
    pub fn duplicate(field: &str, value: impl Serialize) -> Cause {
        FieldError::duplicate(field, value).into()
    }

    /// `Not found: {json}`.
    pub fn not_found(field: &str, value: impl Serialize) -> Cause {
        FieldError::not_found(field, value).into()
    }

    /// `Too many: N: must have at most M items`, where there are more.
    pub fn too_many(field: &str, count: usize, max: usize) -> Option<Cause> {
        (count > max).then(|| FieldError::too_many(field, count, max).into())
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(field: &str, limit: usize) -> Cause {
        Cause::new(
            "FieldValueTooLong",
            field,
            format!("Too long: may not be more than {limit} bytes"),
        )
    }
}
