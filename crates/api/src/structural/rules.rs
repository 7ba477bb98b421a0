//! `x-kubernetes-validations`: rules in CEL about the value of a place and what it was before.
mod evaluate;

pub use evaluate::evaluate;

use super::definition::shown_rule;
use super::{Additional, Node};
use crate::cel::{CompileError, Declarations, Program, Type, estimate, many, parts_max, type_of};
use crate::validation::{FieldError, FieldErrorKind};
use serde_json::Value as Json;

/// What the violation of a rule may be called; the first if nothing is said.
pub(super) const REASONS: &[&str] = &[
    "FieldValueInvalid",
    "FieldValueForbidden",
    "FieldValueRequired",
    "FieldValueDuplicate",
];

/// What one rule may cost, for all values that it is evaluated for.
const RULE_COST_MAX: u64 = 10_000_000;
/// What all rules of a schema may cost.
const SCHEMA_COST_MAX: u64 = 100_000_000;
/// Rules that are told to cost the most of all.
const TOLD_MAX: usize = 4;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    text: String,
    program: Program,
    message: String,
    message_expression: Option<Program>,
    reason: &'static str,
    /// Where the violation is reported, below the rule's place.
    field_path: String,
    /// Whether it compares with what was there before.
    uses_old: bool,
    /// Whether `oldSelf` is an optional, so that the rule also holds for what is new.
    optional_old: bool,
}

/// Where a rule stands.
pub struct Place<'n> {
    pub node: &'n Node,
    pub path: &'n str,
    /// The whole object.
    pub root: bool,
    /// The list without keys around it, if there is one: what was there before cannot be told.
    pub uncorrelatable: Option<&'n str>,
}

/// Reads the rules of a place.
pub fn compile(schema: &Json, place: &Place<'_>, errors: &mut Vec<FieldError>) -> Vec<Rule> {
    let given = schema["x-kubernetes-validations"].as_array();
    let given = given.map_or(&[][..], Vec::as_slice);
    if given.is_empty() {
        return Vec::new();
    }
    let own = type_of(place.node, "self", place.root);
    let mut rules = Vec::new();
    for (number, rule) in given.iter().enumerate() {
        let path = format!("{}.x-kubernetes-validations[{number}]", place.path);
        let (rule, wrong) = read(rule, &path, place, &own);
        rules.extend(rule);
        errors.extend(wrong);
    }
    rules
}

/// The rule, if it can be evaluated, and what is wrong with it.
fn read(rule: &Json, path: &str, place: &Place<'_>, own: &Type) -> (Option<Rule>, Vec<FieldError>) {
    let text = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
    let mut wrong = Vec::new();
    let mut say = |key: &str, value: &str, hint: &str| {
        wrong.push(FieldError {
            field: format!("{path}.{key}"),
            kind: FieldErrorKind::Invalid,
            detail: format!("Invalid value: {value}: {hint}"),
        });
    };
    let (source, message, field_path) = (text("rule"), text("message"), text("fieldPath"));
    let given = text("reason");
    let reason = REASONS.iter().copied().find(|known| *known == given);
    let reason = reason.unwrap_or(REASONS[0]);
    let optional_old = rule["optionalOldSelf"] == true;
    let old = if optional_old {
        Type::optional(own.clone())
    } else {
        own.clone()
    };
    let types = Declarations::default()
        .with("self", own.clone())
        .with("oldSelf", old);
    let mut compiled =
        |key: &str, source: &str, wanted: &Type, otherwise: &str| match Program::compile(source, &types) {
            Ok(program) if program.can_be(wanted) => Some(program),
            Ok(_) => {
                say(key, &shown_rule(rule), otherwise);
                None
            }
            Err(error) => {
                let told = match (key, &error) {
                    ("rule", _) => error.told(),
                    (_, CompileError::Text(_)) => format!("messageExpression compilation failed: {error}"),
                    (_, CompileError::Fixed(_)) => format!("messageExpression instantiation failed: {error}"),
                };
                say(key, &shown_rule(rule), &told);
                None
            }
        };
    let program = match source.trim() {
        "" => None,
        _ => compiled(
            "rule",
            &source,
            &Type::Bool,
            "cel expression must evaluate to a bool",
        ),
    };
    let message_expression = match text("messageExpression") {
        given if given.trim().is_empty() => None,
        given => compiled(
            "messageExpression",
            &given,
            &Type::String,
            "messageExpression must evaluate to a string",
        ),
    };
    let uses_old = program
        .as_ref()
        .is_some_and(|program| program.mentions("oldSelf"));
    if let Some(list) = place.uncorrelatable.filter(|_| uses_old) {
        let hint =
            format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
        say("rule", &Json::from(source.as_str()).to_string(), &hint);
    }
    if !uses_old
        && program.is_some()
        && let Some(given) = rule["optionalOldSelf"].as_bool()
    {
        let hint = "may not be set if oldSelf is not used in rule";
        say("optionalOldSelf", &given.to_string(), hint);
    }
    // A rule that says nothing is refused elsewhere.
    let rule = program.map(|program| Rule {
        text: source,
        program,
        message: message.trim().to_owned(),
        message_expression,
        reason,
        field_path,
        uses_old,
        optional_old,
    });
    (rule, wrong)
}

/// Rules that may take too long, by the sizes that the schema allows; `path` is where it stands.
pub fn too_expensive(schema: &Node, path: &str) -> Vec<FieldError> {
    let mut costs = Costs::default();
    costs.below(schema, path, Some(1), true);
    if costs.total > SCHEMA_COST_MAX {
        // Of the most expensive, those that count.
        costs.most.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        for (_, path) in costs.most.iter().take(TOLD_MAX) {
            let hint =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            costs.found.push(FieldError::forbidden(path, hint));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        costs.tell(path.to_owned(), what, costs.total, SCHEMA_COST_MAX);
    }
    costs.found
}

#[derive(Default)]
struct Costs {
    total: u64,
    /// Rules that take a part of the total worth speaking of.
    most: Vec<(u64, String)>,
    found: Vec<FieldError>,
}

impl Costs {
    /// `times`: how many values the place can have in one object, if the schema bounds that.
    fn below(&mut self, node: &Node, path: &str, times: Option<u64>, is_root: bool) {
        // Made once for all rules of the place, of which there may be many.
        let own = match node.rules.is_empty() {
            true => Type::Dyn,
            false => type_of(node, "self", is_root),
        };
        for (number, rule) in node.rules.iter().enumerate() {
            let parts = [
                ("rule", Some(&rule.program), times.unwrap_or_else(|| many(node))),
                // It is evaluated for what is told of, however many there are.
                ("messageExpression", rule.message_expression.as_ref(), 1),
            ];
            for (key, program, times) in parts {
                let Some(program) = program else { continue };
                let path = || format!("{path}.x-kubernetes-validations[{number}].{key}");
                let cost = estimate(program, node, &own).saturating_mul(times);
                if cost > RULE_COST_MAX {
                    self.tell(path(), &format!("estimated {key} cost"), cost, RULE_COST_MAX);
                }
                self.total = self.total.saturating_add(cost);
                if cost >= SCHEMA_COST_MAX / 100 {
                    self.most.push((cost, path()));
                }
            }
        }
        let times = times
            .zip(parts_max(node))
            .map(|(times, parts)| times.saturating_mul(parts));
        for (name, property) in &node.properties {
            self.below(property, &format!("{path}.properties[{name}]"), times, false);
        }
        if let Additional::Each(each) = &node.additional {
            self.below(each, &format!("{path}.additionalProperties"), times, false);
        }
        if let Some(items) = &node.items {
            self.below(items, &format!("{path}.items"), times, false);
        }
    }

    fn tell(&mut self, path: String, what: &str, cost: u64, max: u64) {
        let factor = cost as f64 / max as f64;
        let factor = if factor > 100.0 {
            "more than 100x".to_owned()
        } else if factor < 1.5 {
            format!("{factor:.6}x")
        } else {
            format!("{factor:.1}x")
        };
        let hint = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
        self.found.push(FieldError::forbidden(
            path,
            &format!("{what} exceeds budget by factor of {factor} {hint}"),
        ));
    }
}

/// Whether a schema has rules anywhere.
pub fn any(node: &Node) -> bool {
    let below = match &node.additional {
        Additional::Each(each) => any(each),
        _ => false,
    };
    !node.rules.is_empty()
        || below
        || node.items.as_deref().is_some_and(any)
        || node.properties.values().any(any)
}

/// Whether rules of a place or below it compare with what was there before; what is below it knows.
pub fn is_about_changes(node: &Node) -> bool {
    let below = match &node.additional {
        Additional::Each(each) => each.about_changes,
        _ => false,
    };
    below
        || node.rules.iter().any(|rule| rule.uses_old)
        || node.items.as_deref().is_some_and(|items| items.about_changes)
        || node.properties.values().any(|property| property.about_changes)
}
