//! What rules say about an object.
use super::Rule;
use crate::cel::{Activation, Budget, Context, Error, OUT_OF_BUDGET, REQUEST_MAX, Value};
use crate::structural::{Additional, Kind, ListType, Node, Violation};
use serde_json::Value as Json;

/// Longest message that an expression may give; a longer one is not used.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// What the rules of a schema say about an object. Places that did not change are not looked at.
pub fn evaluate(object: &Json, old: Option<&Json>, schema: &Node) -> Vec<Violation> {
    let mut walk = Walk {
        path: String::new(),
        found: Vec::new(),
        context: Context {
            budget: Budget::new(REQUEST_MAX),
            authorizer: None,
        },
    };
    walk.at(object, old, schema);
    walk.found
}

struct Walk<'a> {
    path: String,
    found: Vec<Violation>,
    context: Context<'a>,
}

impl<'a> Walk<'a> {
    fn below(&mut self, step: &str, then: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(if length == 0 {
            step.trim_start_matches('.')
        } else {
            step
        });
        then(self);
        self.path.truncate(length);
    }

    fn at(&mut self, value: &'a Json, old: Option<&'a Json>, node: &'a Node) {
        // Rules are about what is there.
        if value.is_null() || self.context.budget.is_spent() {
            return;
        }
        // What did not change may go on as it is, but for rules about changes.
        let is_same = old == Some(value);
        if is_same && !node.about_changes {
            return;
        }
        for rule in node.rules.iter().filter(|rule| rule.uses_old || !is_same) {
            self.rule(rule, value, old, node);
            if self.context.budget.is_spent() {
                return;
            }
        }
        match value {
            Json::Object(members) => {
                for (name, value) in members {
                    let (place, step) = match (node.properties.get(name), &node.additional) {
                        (Some(node), _) => (node, format!(".{name}")),
                        (None, Additional::Each(node)) => (node.as_ref(), format!("[{name}]")),
                        _ => continue,
                    };
                    let old = old.and_then(|old| old.get(name));
                    self.below(&step, |walk| walk.at(value, old, place));
                }
            }
            Json::Array(items) => {
                let Some(place) = node.items.as_deref() else {
                    return;
                };
                for (number, item) in items.iter().enumerate() {
                    let before = match &node.list_type {
                        ListType::Map(keys) => old.and_then(Json::as_array).and_then(|old| {
                            old.iter()
                                .find(|other| keys.iter().all(|key| other.get(key) == item.get(key)))
                        }),
                        _ => None,
                    };
                    self.below(&format!("[{number}]"), |walk| walk.at(item, before, place));
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, rule: &'a Rule, value: &'a Json, old: Option<&'a Json>, node: &'a Node) {
        let mut names = Activation::default().with("self", Value::of(value, Some(node)));
        if rule.uses_old {
            let old = old.map(|old| Value::of(old, Some(node)));
            names = match (rule.optional_old, old) {
                (true, old) => names.with("oldSelf", old.map_or(Value::none(), Value::some)),
                (false, Some(old)) => names.with("oldSelf", old),
                // A rule about a change says nothing about what is new.
                (false, None) => return,
            };
        }
        let found = match rule.program.eval(&names, &mut self.context) {
            Ok(Value::Bool(true)) => return,
            Ok(_) => {
                let message = self.message(rule, &names);
                return self.violated(rule, value, node, &message);
            }
            Err(Error::TooExpensive) if self.context.budget.is_spent() => OUT_OF_BUDGET.to_owned(),
            Err(error @ Error::TooExpensive) => format!(
                "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                named(rule)
            ),
            Err(error) if error.is_no_such_overload() => format!(
                "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                named(rule)
            ),
            Err(error) => format!("{error} evaluating rule: {}", named(rule)),
        };
        let kind = match node.kind {
            Kind::Any | Kind::IntOrString => "",
            kind => kind.name(),
        };
        self.report(
            "FieldValueInvalid",
            "",
            format!("Invalid value: \"{kind}\": {found}"),
        );
    }

    fn message(&mut self, rule: &'a Rule, names: &Activation<'a>) -> String {
        let own = rule.message_expression.as_ref().and_then(|expression| {
            match expression.eval(names, &mut self.context) {
                Ok(Value::String(text)) => Some(text.trim().to_owned()),
                _ => None,
            }
        });
        let usable =
            |text: &String| !text.is_empty() && !text.contains('\n') && text.len() <= MESSAGE_BYTES_MAX;
        own.filter(usable).unwrap_or_else(|| shown(rule))
    }

    /// A value that has parts is not shown.
    fn violated(&mut self, rule: &Rule, value: &Json, node: &Node, message: &str) {
        let has_parts = matches!(node.kind, Kind::Object | Kind::Array);
        let told = match (rule.reason, has_parts) {
            ("FieldValueForbidden", _) => format!("Forbidden: {message}"),
            ("FieldValueRequired", _) => format!("Required value: {message}"),
            ("FieldValueDuplicate", true) => "Duplicate value".to_owned(),
            ("FieldValueDuplicate", false) => format!("Duplicate value: {value}"),
            (_, true) => format!("Invalid value: {message}"),
            (_, false) => format!("Invalid value: {value}: {message}"),
        };
        self.report(rule.reason, &rule.field_path, told);
    }

    fn report(&mut self, reason: &'static str, below: &str, message: String) {
        let below = below.replace("['", "[").replace("']", "]");
        let mut field = format!("{}{below}", self.path);
        if self.path.is_empty() {
            field = field.trim_start_matches('.').to_owned();
        }
        self.found.push(Violation {
            field,
            reason,
            message,
        });
    }
}

/// A rule as errors name it.
fn named(rule: &Rule) -> &str {
    match rule.message.as_str() {
        "" => rule.text.trim(),
        message => message,
    }
}

/// What a rule says of itself.
fn shown(rule: &Rule) -> String {
    if rule.message.is_empty() {
        format!("failed rule: {}", rule.text.trim())
    } else {
        rule.message.clone()
    }
}
