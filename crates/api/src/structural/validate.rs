//! What is wrong with a value, in the words upstream's users know.
use super::{Additional, Kind, ListType, Node, formats, rules};
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
    // Lists are looked at as a whole: a list with more than one item of a key cannot be told from its predecessor item
    // by item.
    let repeats = |violation: &Violation| violation.reason == DUPLICATE;
    if check.found.iter().any(repeats) && old.is_some_and(|old| has_repetitions(old, schema)) {
        check.found.retain(|violation| !repeats(violation));
    }
    check.found.truncate(VIOLATIONS_MAX);
    check.found
}

const DUPLICATE: &str = "FieldValueDuplicate";

/// What keeps rules from being looked at: they may rely on types and sizes.
const BLOCKING: &[&str] = &[
    "FieldValueNotSupported",
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
        found.push(of_whole(NOT_CHECKED.to_owned()));
    }
    found
}

/// Of the object as a whole; where it is wrong is in the text, if anywhere.
fn of_whole(message: String) -> Violation {
    Violation {
        field: String::new(),
        reason: "FieldValueInvalid",
        message,
    }
}

/// What no two items of a list may have in common.
fn item_key(item: &Value, list: &Node) -> Option<String> {
    match &list.list_type {
        ListType::Atomic => None,
        ListType::Set => Some(item.to_string()),
        ListType::Map(keys) => Some(key_of(item, keys)),
    }
}

/// Whether some list in a value has two items that are the same to it.
fn has_repetitions(value: &Value, node: &Node) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(name, value)| {
            let place = match (node.properties.get(name), &node.additional) {
                (Some(node), _) => node,
                (None, Additional::Each(node)) => node,
                _ => return false,
            };
            has_repetitions(value, place)
        }),
        Value::Array(items) => {
            let mut seen = HashSet::new();
            let mut keys = items.iter().filter_map(|item| item_key(item, node));
            keys.any(|key| !seen.insert(key))
                || node
                    .items
                    .as_ref()
                    .is_some_and(|place| items.iter().any(|item| has_repetitions(item, place)))
        }
        _ => false,
    }
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
        self.allowed(value, node);
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
            let key = item_key(item, node);
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
                    check.report(DUPLICATE, format!("Duplicate value: {key}"));
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

    /// Numbers that their format has no room for.
    fn range(&mut self, number: f64, node: &Node) {
        let (kind, format) = (node.kind.name(), node.limits.format.as_str());
        let has_room = match (node.kind, format) {
            (Kind::Integer, "int32") => (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number),
            (Kind::Number, "float") => number.abs() <= f64::from(f32::MAX),
            _ => true,
        };
        if !has_room {
            let path = &self.path;
            let message = format!(
                "Invalid value: \"\": Checked value must be of type {kind} with format {format} in {path}"
            );
            self.found.push(of_whole(message));
        }
    }

    /// Null has to be among the allowed values like any other.
    fn allowed(&mut self, value: &Value, node: &Node) {
        let allowed = &node.limits.allowed;
        if allowed.is_empty() || allowed.contains(value) {
            return;
        }
        let shown = allowed.iter().map(|allowed| match allowed {
            Value::String(_) => allowed.to_string(),
            other => Value::from(other.to_string()).to_string(),
        });
        let message = format!(
            "Unsupported value: {value}: supported values: {}",
            shown.collect::<Vec<_>>().join(", ")
        );
        self.report("FieldValueNotSupported", message);
    }

    fn scalar(&mut self, value: &Value, node: &Node) {
        let limits = &node.limits;
        if let Some(number) = value.as_f64() {
            self.range(number, node);
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
            // The first that is wrong is told.
            if let Some(max) = limits.max_length.filter(|max| length > *max) {
                let message = format!("Too long: may not be more than {max} bytes");
                self.report("FieldValueTooLong", message);
            } else if let Some(min) = limits.min_length.filter(|min| length < *min) {
                self.invalid(value, &format!("should be at least {min} chars long"));
            } else if let Some(pattern) = limits.pattern.as_ref().filter(|p| !p.is_match(text)) {
                self.invalid(value, &format!("should match '{pattern}'"));
            }
            if node.kind == Kind::String && !formats::fits(&limits.format, text) {
                let path = &self.path;
                let message = format!(
                    "Invalid value: {value}: {path} in body must be of type {}: {value}",
                    limits.format
                );
                self.report("FieldValueTypeInvalid", message);
            }
        }
    }

    /// `allOf` and its like are told of the place as a whole, whose path is in the text.
    fn combinations(&mut self, value: &Value, node: &Node) {
        let told = |check: &mut Self, what: &str| {
            let message = format!("Invalid value: \"\": \"{}\" {what}", check.path);
            check.found.push(of_whole(message));
        };
        let wrong = |check: &Self, part: &Node| {
            let mut inner = Self {
                path: check.path.clone(),
                found: Vec::new(),
            };
            inner.at(value, None, part);
            inner.found
        };
        let of_all: Vec<_> = node.all_of.iter().map(|part| wrong(self, part)).collect();
        let failed = of_all.iter().filter(|found| !found.is_empty()).count();
        if failed > 0 {
            let none = if failed == of_all.len() {
                ". None validated"
            } else {
                ""
            };
            self.found.extend(of_all.into_iter().flatten());
            told(self, &format!("must validate all the schemas (allOf){none}"));
        }
        if let Some((first, others)) = node.any_of.split_first() {
            let found = wrong(self, first);
            if !found.is_empty() && others.iter().all(|part| !wrong(self, part).is_empty()) {
                told(self, "must validate at least one schema (anyOf)");
                self.found.extend(found);
            }
        }
        let of_one: Vec<_> = node.one_of.iter().map(|part| wrong(self, part)).collect();
        match of_one.iter().filter(|found| found.is_empty()).count() {
            _ if of_one.is_empty() => {}
            0 => {
                told(
                    self,
                    "must validate one and only one schema (oneOf). Found none valid",
                );
                self.found.extend(of_one.into_iter().next().unwrap_or_default());
            }
            1 => {}
            several => told(
                self,
                &format!("must validate one and only one schema (oneOf). Found {several} valid alternatives"),
            ),
        }
        if node.not.as_ref().is_some_and(|part| wrong(self, part).is_empty()) {
            told(self, "must not validate the schema (not)");
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
