//! One problem with one field.

use std::borrow::Borrow;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// What kind of problem; becomes the cause's `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldErrorKind {
    Required,
    Invalid,
    NotSupported,
    Forbidden,
    NotFound,
    Duplicate,
    TooLong,
    TooMany,
    TypeInvalid,
}

impl FieldErrorKind {
    /// The `reason` of a Status cause.
    pub fn reason(self) -> &'static str {
        match self {
            FieldErrorKind::Required => "FieldValueRequired",
            FieldErrorKind::Invalid => "FieldValueInvalid",
            FieldErrorKind::NotSupported => "FieldValueNotSupported",
            FieldErrorKind::Forbidden => "FieldValueForbidden",
            FieldErrorKind::NotFound => "FieldValueNotFound",
            FieldErrorKind::Duplicate => "FieldValueDuplicate",
            FieldErrorKind::TooLong => "FieldValueTooLong",
            FieldErrorKind::TooMany => "FieldValueTooMany",
            FieldErrorKind::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    /// The kind that has this `reason`.
    pub fn named(reason: &str) -> Option<Self> {
        const ALL: &[FieldErrorKind] = &[
            FieldErrorKind::Required,
            FieldErrorKind::Invalid,
            FieldErrorKind::NotSupported,
            FieldErrorKind::Forbidden,
            FieldErrorKind::NotFound,
            FieldErrorKind::Duplicate,
            FieldErrorKind::TooLong,
            FieldErrorKind::TooMany,
            FieldErrorKind::TypeInvalid,
        ];
        ALL.iter().copied().find(|kind| kind.reason() == reason)
    }
}

/// A field path and what is wrong there.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// `spec.containers[0].image`
    pub field: String,
    /// The kind of problem.
    pub kind: FieldErrorKind,
    /// The whole text after the field path, e.g. `Invalid value: "x": must be …`.
    pub detail: String,
}

fn json(value: impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or(Value::Null);
    value.to_string()
}

impl FieldError {
    fn of(field: impl Into<String>, kind: FieldErrorKind, detail: String) -> Self {
        FieldError {
            field: field.into(),
            kind,
            detail,
        }
    }

    /// `Required value[: hint]`
    pub fn required(field: impl Into<String>, hint: &str) -> Self {
        let detail = if hint.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {hint}")
        };
        Self::of(field, FieldErrorKind::Required, detail)
    }

    /// `Invalid value: {json}: hint`
    pub fn invalid(field: impl Into<String>, value: impl Serialize, hint: &str) -> Self {
        let value = json(value);
        let detail = if hint.is_empty() {
            format!("Invalid value: {value}")
        } else {
            format!("Invalid value: {value}: {hint}")
        };
        Self::of(field, FieldErrorKind::Invalid, detail)
    }

    /// `Unsupported value: "x": supported values: "A", "B"`
    pub fn not_supported(field: impl Into<String>, value: impl Serialize, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let mut detail = format!("Unsupported value: {}", json(value));
        if !list.is_empty() {
            detail.push_str(&format!(": supported values: {}", list.join(", ")));
        }
        Self::of(field, FieldErrorKind::NotSupported, detail)
    }

    /// `Forbidden: hint`
    pub fn forbidden(field: impl Into<String>, hint: &str) -> Self {
        Self::of(field, FieldErrorKind::Forbidden, format!("Forbidden: {hint}"))
    }

    /// `Not found: "x"`
    pub fn not_found(field: impl Into<String>, value: impl Serialize) -> Self {
        Self::of(
            field,
            FieldErrorKind::NotFound,
            format!("Not found: {}", json(value)),
        )
    }

    /// `Duplicate value: "x"`
    pub fn duplicate(field: impl Into<String>, value: impl Serialize) -> Self {
        Self::of(
            field,
            FieldErrorKind::Duplicate,
            format!("Duplicate value: {}", json(value)),
        )
    }

    /// `Too long: may not be more than N bytes`
    pub fn too_long(field: impl Into<String>, bytes_max: usize) -> Self {
        Self::of(
            field,
            FieldErrorKind::TooLong,
            format!("Too long: may not be more than {bytes_max} bytes"),
        )
    }

    /// `Too many: N: must have at most M items`
    pub fn too_many(field: impl Into<String>, count: usize, max: usize) -> Self {
        Self::of(
            field,
            FieldErrorKind::TooMany,
            format!("Too many: {count}: must have at most {max} items"),
        )
    }

    /// The cause's `reason`.
    pub fn reason(&self) -> &'static str {
        self.kind.reason()
    }

    /// The cause's `message`.
    pub fn message(&self) -> &str {
        &self.detail
    }

    /// The same problem under a longer path.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        if !prefix.is_empty() {
            self.field = if self.field.is_empty() || self.field.starts_with('[') {
                format!("{prefix}{}", self.field)
            } else {
                format!("{prefix}.{}", self.field)
            };
        }
        self
    }

    /// One Status message for all: `f: d`, or `[f1: d1, f2: d2]`.
    pub fn summary(errors: &[FieldError]) -> String {
        summary(&errors.iter().map(ToString::to_string).collect::<Vec<_>>())
    }
}

/// Several problems as one: `a`, or `[a, b]`.
pub fn summary(problems: &[impl Borrow<str>]) -> String {
    match problems {
        [one] => one.borrow().to_owned(),
        _ => format!("[{}]", problems.join(", ")),
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.detail)
    }
}

impl std::error::Error for FieldError {}

/// Collects errors under a path; keeps the checks readable.
#[derive(Debug, Default)]
pub struct Findings {
    pub errors: Vec<FieldError>,
}

impl Findings {
    pub fn add(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    pub fn all(&mut self, errors: impl IntoIterator<Item = FieldError>) {
        self.errors.extend(errors);
    }

    /// See [`FieldError::required`]; so the next two.
    pub fn required(&mut self, field: impl Into<String>, hint: &str) {
        self.add(FieldError::required(field, hint));
    }

    pub fn forbidden(&mut self, field: impl Into<String>, hint: &str) {
        self.add(FieldError::forbidden(field, hint));
    }

    pub fn invalid(&mut self, field: impl Into<String>, value: impl Serialize, hint: &str) {
        self.add(FieldError::invalid(field, value, hint));
    }

    /// Something has to be there, and another than what was given: required if that is nothing, else invalid.
    pub fn unmet(&mut self, field: impl Into<String>, given: &str, hint: &str) {
        if given.is_empty() {
            self.required(field, hint);
        } else {
            self.invalid(field, given, hint);
        }
    }

    /// Each text becomes an Invalid for `value`.
    pub(super) fn invalid_each(&mut self, field: &str, value: &str, problems: Vec<String>) {
        for problem in problems {
            self.add(FieldError::invalid(field, value, &problem));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_upstreams() {
        for (error, want) in [
            (FieldError::required("a.b", ""), "a.b: Required value"),
            (FieldError::required("a", "say it"), "a: Required value: say it"),
            (FieldError::invalid("a", "x", "no"), "a: Invalid value: \"x\": no"),
            (FieldError::invalid("a", 0, "no"), "a: Invalid value: 0: no"),
            (
                FieldError::invalid("a", serde_json::json!({"k": "v"}), "no"),
                "a: Invalid value: {\"k\":\"v\"}: no",
            ),
            (
                FieldError::not_supported("a", "x", &["A", "B"]),
                "a: Unsupported value: \"x\": supported values: \"A\", \"B\"",
            ),
            (FieldError::forbidden("a", "no"), "a: Forbidden: no"),
            (FieldError::not_found("a", "x"), "a: Not found: \"x\""),
            (FieldError::duplicate("a", "x"), "a: Duplicate value: \"x\""),
            (
                FieldError::too_long("a", 5),
                "a: Too long: may not be more than 5 bytes",
            ),
        ] {
            assert_eq!(error.to_string(), want);
        }
        let two = [FieldError::required("a", ""), FieldError::required("b", "")];
        assert_eq!(
            FieldError::summary(&two),
            "[a: Required value, b: Required value]"
        );
        assert_eq!(
            FieldError::required("[0].x", "").under("spec.y").field,
            "spec.y[0].x"
        );
    }
}
