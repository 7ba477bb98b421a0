//! Defaults have to satisfy the schema of the place that they fill.
use super::super::{Node, Violation, check as violations, prune_inside};
use crate::validation::{FieldError, FieldErrorKind};

pub(super) fn check(node: &Node, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    place(node, path, false, true, &mut errors);
    errors
}

/// `meta`: inside of what every object has, whose defaults are its own.
fn place(node: &Node, path: &str, meta: bool, whole: bool, errors: &mut Vec<FieldError>) {
    let meta = meta && !node.embedded;
    if let Some(default) = &node.default {
        let field = format!("{path}.default");
        if !meta {
            let mut pruned = default.clone();
            prune_inside(&mut pruned, node);
            if pruned != *default {
                errors.push(FieldError::invalid(
                    &field,
                    default,
                    "must not have unknown fields",
                ));
            }
        }
        for violation in violations(default, None, node) {
            errors.push(of(violation).under(&field));
        }
    }
    if let Some(items) = &node.items {
        place(items, &format!("{path}.items"), meta, false, errors);
    }
    for (name, property) in &node.properties {
        let owned = matches!(name.as_str(), "metadata" | "apiVersion" | "kind");
        let meta = meta || (owned && (whole || node.embedded));
        place(
            property,
            &format!("{path}.properties[{name}]"),
            meta,
            false,
            errors,
        );
    }
}

fn of(violation: Violation) -> FieldError {
    FieldError {
        field: violation.field,
        kind: FieldErrorKind::named(violation.reason).unwrap_or(FieldErrorKind::Invalid),
        detail: violation.message,
    }
}
