//! Admission policies: expressions that are evaluated here (contract §17).
//!
//! | file | does |
//! |---|---|
//! | `params` | the objects that a binding gives to its policy's expressions |
//! | `mutating` | which policies change a request's object |
//! | `validating` | which policies a request has to satisfy, and what becomes of it if it doesn't |
pub mod mutating;
mod params;
pub mod validating;

use super::conditions::Conditions;
use super::matching::Criteria;
use orlop_api::cel::{self, Declarations, Program};
pub use params::ParamKind;
use params::ParamRef;
use serde_json::Value;

/// A policy with what binds it.
#[derive(Debug)]
pub struct Policy {
    name: String,
    criteria: Criteria,
    conditions: Conditions,
    variables: Vec<(String, Expression)>,
    validations: Vec<Validation>,
    annotations: Vec<Annotation>,
    /// Whether an expression without a value refuses the request.
    required: bool,
    params: Option<ParamKind>,
    bindings: Vec<Binding>,
    mutations: Vec<Mutation>,
    /// Whether it is asked again about what changed after it.
    again: bool,
}

/// What cannot be compiled, which validation refuses, fails when it is evaluated.
type Expression = Result<Program, String>;

/// What is told to the audit log.
#[derive(Debug)]
struct Annotation {
    key: String,
    text: String,
    program: Expression,
}

/// An expression whose value changes the object.
#[derive(Debug)]
enum Mutation {
    /// An object that is applied.
    Apply(Expression),
    /// A JSON patch.
    Patch(Expression),
}

impl Mutation {
    fn of(value: &Value, names: &Declarations) -> Self {
        if value["patchType"] == "JSONPatch" {
            Self::Patch(compiled(&value["jsonPatch"]["expression"], names))
        } else {
            Self::Apply(compiled(&value["applyConfiguration"]["expression"], names))
        }
    }

    fn expression(&self) -> &Expression {
        match self {
            Self::Apply(expression) | Self::Patch(expression) => expression,
        }
    }
}

#[derive(Debug)]
struct Validation {
    text: String,
    program: Expression,
    message: String,
    message_expression: Option<Expression>,
    reason: String,
}

/// Where a policy holds, and what follows if it is violated.
#[derive(Debug)]
struct Binding {
    name: String,
    criteria: Criteria,
    params: Option<ParamRef>,
    denies: bool,
    warns: bool,
    audits: bool,
    /// All of that, as the audit log has it.
    actions: Value,
}

/// Policies that something binds, by name.
pub fn compile(policies: &[Value], bindings: &[Value]) -> Vec<Policy> {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut compiled: Vec<Policy> = policies
        .iter()
        .filter_map(|policy| {
            let own = name(policy);
            let mut bindings: Vec<Binding> = bindings
                .iter()
                .filter(|binding| binding["spec"]["policyName"] == own.as_str())
                .map(|binding| Binding::of(name(binding), &binding["spec"]))
                .collect();
            bindings.sort_by(|a, b| a.name.cmp(&b.name));
            (!bindings.is_empty()).then(|| Policy::of(own, &policy["spec"], bindings))
        })
        .collect();
    compiled.sort_by(|a, b| a.name.cmp(&b.name));
    compiled
}

impl Policy {
    /// What it is about.
    pub fn criteria(&self) -> &Criteria {
        &self.criteria
    }

    fn of(name: String, spec: &Value, bindings: Vec<Binding>) -> Self {
        let params = ParamKind::of(&spec["paramKind"]);
        let names = cel::policy(params.is_some());
        let making = names.clone().making_objects();
        let list = |key: &str| spec[key].as_array().map_or(&[][..], Vec::as_slice);
        Self {
            name,
            criteria: Criteria::of(&spec["matchConstraints"]),
            conditions: Conditions::compile(&spec["matchConditions"], &names),
            variables: list("variables")
                .iter()
                .map(|variable| (text(&variable["name"]), compiled(&variable["expression"], &names)))
                .collect(),
            validations: list("validations")
                .iter()
                .map(|v| Validation::of(v, &names))
                .collect(),
            annotations: list("auditAnnotations")
                .iter()
                .map(|annotation| Annotation::of(annotation, &names))
                .collect(),
            required: spec["failurePolicy"] != "Ignore",
            params,
            bindings,
            mutations: list("mutations")
                .iter()
                .map(|m| Mutation::of(m, &making))
                .collect(),
            again: spec["reinvocationPolicy"] == "IfNeeded",
        }
    }
}

impl Annotation {
    fn of(value: &Value, names: &Declarations) -> Self {
        Self {
            key: text(&value["key"]),
            text: text(&value["valueExpression"]).trim().to_owned(),
            program: compiled(&value["valueExpression"], names),
        }
    }
}

impl Validation {
    fn of(value: &Value, names: &Declarations) -> Self {
        let message_expression = &value["messageExpression"];
        Self {
            text: text(&value["expression"]).trim().to_owned(),
            program: compiled(&value["expression"], names),
            message: text(&value["message"]).trim().to_owned(),
            message_expression: (!text(message_expression).is_empty())
                .then(|| compiled(message_expression, names)),
            reason: text(&value["reason"]),
        }
    }

    /// What it says of itself when it doesn't hold.
    fn own_message(&self) -> String {
        if self.message.is_empty() {
            format!("failed expression: {}", self.text)
        } else {
            self.message.clone()
        }
    }
}

impl Binding {
    fn of(name: String, spec: &Value) -> Self {
        let actions = spec["validationActions"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let does = |action: &str| actions.iter().any(|a| a == action);
        Self {
            name,
            criteria: Criteria::of(&spec["matchResources"]),
            params: ParamRef::of(&spec["paramRef"]),
            denies: does("Deny"),
            warns: does("Warn"),
            audits: does("Audit"),
            actions: spec["validationActions"].clone(),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn compiled(expression: &Value, names: &Declarations) -> Expression {
    Program::compile(expression.as_str().unwrap_or_default(), names)
        .map_err(|error| format!("compilation error: {error}"))
}
