//! What is wrong with a value, in the words upstream's users know.
use super::{Additional, Kind, ListType, Node, rules};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashSet;

/// More say nothing new.
const VIOLATIONS_MAX: usize = 100;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub field: String,
    /// As `details.causes[].reason` names it.
    pub reason: &'static str,
    pub message: String,
}

/// Checks an object. Where there was one before, only what differs from it is checked: what was wrong already does
/// not keep anybody from changing something else.
pub fn validate(object: &Value, old: Option<&Value>, schema: &Node) -> Vec<Violation> {
    let mut check = Check {
        path: String::new(),
        found: Vec::new(),
    };
    check.at(object, old, schema);
    check.found.truncate(VIOLATIONS_MAX);
    check.found
}

/// What keeps rules from being looked at: they may rely on types and sizes.
const BLOCKING: &[&str] = &[
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
];
const NOT_CHECKED: &str = "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// Everything that is wrong with an object: by its schema, and by the rules in it.
pub fn check(object: &Value, old: Option<&Value>, schema: &Node) -> Vec<Violation> {
    let mut found = validate(object, old, schema);
    if !found.iter().any(|violation| BLOCKING.contains(&violation.reason)) {
        found.extend(rules::evaluate(object, old, schema));
    } else if rules::any(schema) {
        found.push(Violation {
            field: String::new(),
            reason: "FieldValueInvalid",
            message: NOT_CHECKED.to_owned(),
        });
    }
    found
}

struct Check {
    path: String,
    found: Vec<Violation>,
}

impl Check {
    fn report(&mut self, reason: &'static str, message: String) {
        self.found.push(Violation {
            field: self.path.clone(),
            reason,
            message,
        });
    }

    fn invalid(&mut self, value: &Value, what: &str) {
        let message = format!("Invalid value: {value}: {} in body {what}", self.path);
        self.report("FieldValueInvalid", message);
    }

    fn below(&mut self, step: &str, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        check(self);
        self.path.truncate(length);
    }

    fn at(&mut self, value: &Value, old: Option<&Value>, node: &Node) {
        if old == Some(value) || self.found.len() >= VIOLATIONS_MAX {
            return;
        }
        if !fits(value, node) {
            let found = name_of(value);
            let message = format!(
                "Invalid value: \"{found}\": {} in body must be of type {}: \"{found}\"",
                self.path,
                node.kind.name()
            );
            return self.report("FieldValueTypeInvalid", message);
        }
        if value.is_null() {
            return;
        }
        self.scalar(value, node);
        match value {
            Value::Object(members) => {
                for name in &node.limits.required {
                    if !members.contains_key(name) {
                        self.below(name, |check| {
                            check.report("FieldValueRequired", "Required value".to_owned());
                        });
                    }
                }
                self.count(
                    members.len(),
                    node.limits.min_properties,
                    node.limits.max_properties,
                    "properties",
                );
                for (name, value) in members {
                    let place = match (node.properties.get(name), &node.additional) {
                        (Some(node), _) => node,
                        (None, Additional::Each(node)) => node,
                        _ => continue,
                    };
                    let old = old.and_then(|old| old.get(name));
                    self.below(name, |check| check.at(value, old, place));
                }
            }
            Value::Array(items) => self.items(items, old, node),
            _ => {}
        }
        self.combinations(value, node);
    }

    fn items(&mut self, items: &[Value], old: Option<&Value>, node: &Node) {
        self.count(items.len(), node.limits.min_items, node.limits.max_items, "items");
        let mut seen = HashSet::new();
        for (number, item) in items.iter().enumerate() {
            let key = match &node.list_type {
                ListType::Atomic => None,
                ListType::Set => Some(item.to_string()),
                ListType::Map(keys) => Some(key_of(item, keys)),
            };
            let before = match (&key, &node.list_type) {
                (Some(key), ListType::Map(keys)) => old
                    .and_then(Value::as_array)
                    .and_then(|old| old.iter().find(|item| key_of(item, keys) == *key)),
                _ => None,
            };
            self.below(&format!("[{number}]"), |check| {
                if let Some(key) = key
                    && !seen.insert(key.clone())
                {
                    check.report("FieldValueDuplicate", format!("Duplicate value: {key}"));
                }
                if let Some(place) = &node.items {
                    check.at(item, before, place);
                }
            });
        }
    }

    fn count(&mut self, count: usize, min: Option<u64>, max: Option<u64>, of: &str) {
        let count = count as u64;
        if let Some(max) = max.filter(|max| count > *max) {
            let message = format!("Too many: {count}: must have at most {max} items");
            self.report("FieldValueTooMany", message);
        }
        if let Some(min) = min.filter(|min| count < *min) {
            let message = format!(
                "Invalid value: {count}: {} in body should have at least {min} {of}",
                self.path
            );
            self.report("FieldValueInvalid", message);
        }
    }

    fn scalar(&mut self, value: &Value, node: &Node) {
        let limits = &node.limits;
        if !limits.allowed.is_empty() && !limits.allowed.contains(value) {
            let allowed: Vec<String> = limits.allowed.iter().map(Value::to_string).collect();
            let message = format!(
                "Unsupported value: {value}: supported values: {}",
                allowed.join(", ")
            );
            self.report("FieldValueNotSupported", message);
        }
        if let Some(number) = value.as_f64() {
            let (min, max) = (limits.minimum, limits.maximum);
            if let Some(min) = min.filter(|m| number < *m || (limits.exclusive_minimum && number == *m)) {
                let what = if limits.exclusive_minimum {
                    "greater than"
                } else {
                    "greater than or equal to"
                };
                self.invalid(value, &format!("should be {what} {min}"));
            }
            if let Some(max) = max.filter(|m| number > *m || (limits.exclusive_maximum && number == *m)) {
                let what = if limits.exclusive_maximum {
                    "less than"
                } else {
                    "less than or equal to"
                };
                self.invalid(value, &format!("should be {what} {max}"));
            }
            if let Some(of) = limits.multiple_of.filter(|of| *of > 0.0 && number % of != 0.0) {
                self.invalid(value, &format!("should be a multiple of {of}"));
            }
        }
        if let Some(text) = value.as_str() {
            let length = text.chars().count() as u64;
            if let Some(max) = limits.max_length.filter(|max| length > *max) {
                let message = format!("Too long: may not be more than {max} bytes");
                self.report("FieldValueTooLong", message);
            }
            if let Some(min) = limits.min_length.filter(|min| length < *min) {
                self.invalid(value, &format!("should be at least {min} chars long"));
            }
            if let Some(pattern) = limits.pattern.as_ref().filter(|p| !p.is_match(text)) {
                self.invalid(value, &format!("should match '{pattern}'"));
            }
            if limits.format == "date-time" && text.parse::<Timestamp>().is_err() {
                self.invalid(value, &format!("must be of type date-time: {value}"));
            }
        }
    }

    fn combinations(&mut self, value: &Value, node: &Node) {
        for part in &node.all_of {
            self.at(value, None, part);
        }
        let holds = |part: &Node| validate(value, None, part).is_empty();
        if !node.any_of.is_empty() && !node.any_of.iter().any(holds) {
            self.invalid(value, "must validate at least one schema (anyOf)");
        }
        if !node.one_of.is_empty() && node.one_of.iter().filter(|part| holds(part)).count() != 1 {
            self.invalid(value, "must validate one and only one schema (oneOf)");
        }
        if node.not.as_ref().is_some_and(|part| holds(part)) {
            self.invalid(value, "must not validate the schema (not)");
        }
    }
}

fn fits(value: &Value, node: &Node) -> bool {
    match (node.kind, value) {
        (Kind::Any, _) => true,
        (_, Value::Null) => node.nullable,
        (Kind::Object, Value::Object(_))
        | (Kind::Array, Value::Array(_))
        | (Kind::String | Kind::IntOrString, Value::String(_))
        | (Kind::Boolean, Value::Bool(_))
        | (Kind::Number, Value::Number(_)) => true,
        (Kind::Integer | Kind::IntOrString, Value::Number(number)) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        _ => false,
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn key_of(item: &Value, keys: &[String]) -> String {
    let key: serde_json::Map<String, Value> = keys
        .iter()
        .map(|key| (key.clone(), item.get(key).cloned().unwrap_or_default()))
        .collect();
    Value::Object(key).to_string()
}
