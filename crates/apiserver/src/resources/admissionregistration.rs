//! `admissionregistration.k8s.io`: what the kinds of the group share, and the policies (contract §17).
use super::definition::{Resource, STATUS};
use super::meaning::fill;
use super::rules::{Rules, StatusMetadata};
use crate::status::{Cause, cause};
use orlop_api::cel::{self, Declarations, Program, Type};
use orlop_api::names;
use serde_json::{Value, json};

pub const GROUP: &str = "admissionregistration.k8s.io";

/// Conditions of one webhook or policy.
const CONDITIONS_MAX: usize = 64;
const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];

const RULES: Rules = Rules {
    unconditional_update: false,
    ..Rules::WITH_GENERATION
};

pub const VALIDATINGADMISSIONPOLICIES: Resource = Resource {
    categories: &["api-extensions"],
    ..Resource::new(
        GROUP,
        "validatingadmissionpolicies",
        "validatingadmissionpolicy",
        "ValidatingAdmissionPolicy",
    )
    .cluster_scoped()
    .with_subresources(&[STATUS])
    .with_rules(Rules {
        // Admission writes it, which knows the types of custom resources.
        keeps_status_on_create: true,
        status_metadata: StatusMetadata::Kept,
        default: default_policy,
        validate_create: validate_policy,
        validate_update: |new, _| validate_policy(new),
        ..RULES
    })
};

pub const VALIDATINGADMISSIONPOLICYBINDINGS: Resource = Resource {
    categories: &["api-extensions"],
    ..Resource::new(
        GROUP,
        "validatingadmissionpolicybindings",
        "validatingadmissionpolicybinding",
        "ValidatingAdmissionPolicyBinding",
    )
    .cluster_scoped()
    .with_rules(Rules {
        default: |binding| {
            if let Some(constraints) = binding.pointer_mut("/spec/matchResources") {
                default_match(constraints);
            }
        },
        validate_create: validate_binding,
        validate_update: |new, _| validate_binding(new),
        ..RULES
    })
};

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub fn fill_all(object: &mut Value, members: &[(&str, Value)]) {
    for (key, value) in members {
        fill(object, key, || value.clone());
    }
}

/// The items of a member that is a list.
pub fn each<'v>(object: &'v mut Value, key: &str) -> impl Iterator<Item = &'v mut Value> {
    object
        .get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

pub fn default_rules(object: &mut Value, key: &str) {
    for rule in each(object, key) {
        fill_all(rule, &[("scope", json!("*"))]);
    }
}

/// Selectors and rules of a policy or binding, if it has any.
pub fn default_match(constraints: &mut Value) {
    if !constraints.is_object() {
        return;
    }
    fill_all(
        constraints,
        &[
            ("matchPolicy", json!("Equivalent")),
            ("namespaceSelector", json!({})),
            ("objectSelector", json!({})),
        ],
    );
    for key in ["resourceRules", "excludeResourceRules"] {
        default_rules(constraints, key);
    }
}

pub fn default_policy(policy: &mut Value) {
    fill_all(&mut policy["spec"], &[("failurePolicy", json!("Fail"))]);
    if let Some(constraints) = policy.pointer_mut("/spec/matchConstraints") {
        default_match(constraints);
    }
}

/// A value that is none of the known ones.
pub fn unsupported(field: &str, value: &Value, known: &[&str]) -> Option<Cause> {
    let value = value.as_str()?;
    (!known.contains(&value)).then(|| cause::unsupported(field, value, known))
}

/// Rules that say what a request is about.
pub fn path_rules(at: &str, rules: &[Value]) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        for (key, what) in [
            ("operations", "operations"),
            ("apiGroups", "API groups"),
            ("apiVersions", "API versions"),
            ("resources", "resources"),
        ] {
            let field = format!("{at}[{number}].{key}");
            let values = list(&rule[key]);
            if values.is_empty() {
                causes.push(cause::required(&field, ""));
            }
            if values.len() > 1 && values.iter().any(|value| value == "*") && key != "resources" {
                let why = format!("if '*' is present, must not specify other {what}");
                causes.push(cause::invalid(&field, &rule[key], &why));
            }
            for (number, value) in values.iter().enumerate() {
                let field = format!("{field}[{number}]");
                if value == "" && key != "apiGroups" {
                    causes.push(cause::required(&field, ""));
                } else if key == "operations" {
                    causes.extend(unsupported(&field, value, OPERATIONS));
                }
            }
        }
        let field = format!("{at}[{number}].scope");
        causes.extend(unsupported(
            &field,
            &rule["scope"],
            &["*", "Cluster", "Namespaced"],
        ));
    }
    causes
}

/// Named conditions.
pub fn conditions(at: &str, given: &Value, names: &Declarations) -> Vec<Cause> {
    let (given, mut causes) = (list(given), Vec::new());
    causes.extend(cause::too_many(at, given.len(), CONDITIONS_MAX));
    for (number, condition) in given.iter().enumerate() {
        let name = text(&condition["name"]);
        let field = format!("{at}[{number}].name");
        if name.is_empty() {
            causes.push(cause::required(&field, ""));
        } else {
            let wrong = names::check_qualified_name(name);
            causes.extend(wrong.iter().map(|why| cause::invalid(&field, &json!(name), why)));
            if given[..number].iter().any(|other| other["name"] == name) {
                causes.push(cause::duplicate(&field, name));
            }
        }
        let field = format!("{at}[{number}].expression");
        causes.extend(expression(&field, &condition["expression"], names, &[Type::Bool]));
    }
    causes
}

/// An expression that must have a value of one of these types; of any, if there are none.
pub fn expression(field: &str, given: &Value, names: &Declarations, wanted: &[Type]) -> Option<Cause> {
    let source = text(given);
    if source.trim().is_empty() {
        return Some(cause::required(field, ""));
    }
    match Program::compile(source, names) {
        Err(error) => Some(cause::invalid(field, given, &error.told())),
        Ok(program) if wanted.is_empty() || wanted.iter().any(|ty| program.can_be(ty)) => None,
        Ok(_) => {
            let wanted: Vec<String> = wanted.iter().map(Type::to_string).collect();
            Some(cause::invalid(
                field,
                given,
                &format!("must evaluate to {}", wanted.join(" or ")),
            ))
        }
    }
}

/// What policies of both kinds have.
pub fn validate_policy_spec(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let constraints = &spec["matchConstraints"];
    if !constraints.is_object() {
        causes.push(cause::required("spec.matchConstraints", ""));
    } else {
        if list(&constraints["resourceRules"]).is_empty() {
            causes.push(cause::required("spec.matchConstraints.resourceRules", ""));
        }
        causes.extend(validate_match("spec.matchConstraints", constraints));
    }
    let params = &spec["paramKind"];
    if params.is_object() {
        for key in ["apiVersion", "kind"] {
            if text(&params[key]).is_empty() {
                causes.push(cause::required(&format!("spec.paramKind.{key}"), ""));
            }
        }
    }
    causes.extend(unsupported(
        "spec.failurePolicy",
        &spec["failurePolicy"],
        &["Fail", "Ignore"],
    ));
    let names = cel::policy(params.is_object());
    causes.extend(conditions(
        "spec.matchConditions",
        &spec["matchConditions"],
        &names,
    ));
    for (number, variable) in list(&spec["variables"]).iter().enumerate() {
        let (at, name) = (format!("spec.variables[{number}]"), text(&variable["name"]));
        let identifier = |name: &str| {
            !name.starts_with(|c: char| c.is_ascii_digit())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if name.is_empty() {
            causes.push(cause::required(&format!("{at}.name"), "name is required"));
        } else if !identifier(name) {
            causes.push(cause::invalid(
                &format!("{at}.name"),
                &json!(name),
                "name is not a valid CEL identifier",
            ));
        }
        causes.extend(expression(
            &format!("{at}.expression"),
            &variable["expression"],
            &names,
            &[],
        ));
    }
    causes
}

fn validate_policy(policy: &Value) -> Vec<Cause> {
    let spec = &policy["spec"];
    let mut causes = validate_policy_spec(spec);
    let names = cel::policy(spec["paramKind"].is_object());
    let (validations, annotations) = (list(&spec["validations"]), list(&spec["auditAnnotations"]));
    if validations.is_empty() && annotations.is_empty() {
        let hint = "validations or auditAnnotations must contain at least one item";
        causes.push(cause::required("spec.validations", hint));
    }
    for (number, validation) in validations.iter().enumerate() {
        let at = format!("spec.validations[{number}]");
        causes.extend(expression(
            &format!("{at}.expression"),
            &validation["expression"],
            &names,
            &[Type::Bool],
        ));
        if text(&validation["message"]).contains('\n') {
            let why = "message must not contain line breaks";
            causes.push(cause::invalid(
                &format!("{at}.message"),
                &validation["message"],
                why,
            ));
        }
        if !text(&validation["messageExpression"]).is_empty() {
            let field = format!("{at}.messageExpression");
            causes.extend(expression(
                &field,
                &validation["messageExpression"],
                &names,
                &[Type::String],
            ));
        }
        causes.extend(unsupported(
            &format!("{at}.reason"),
            &validation["reason"],
            REASONS,
        ));
    }
    for (number, annotation) in annotations.iter().enumerate() {
        let at = format!("spec.auditAnnotations[{number}]");
        if text(&annotation["key"]).is_empty() {
            causes.push(cause::required(&format!("{at}.key"), ""));
        }
        let field = format!("{at}.valueExpression");
        causes.extend(expression(
            &field,
            &annotation["valueExpression"],
            &names,
            &[Type::String, Type::Null],
        ));
    }
    causes
}

fn validate_match(at: &str, constraints: &Value) -> Vec<Cause> {
    let mut causes: Vec<Cause> = ["resourceRules", "excludeResourceRules"]
        .iter()
        .flat_map(|key| path_rules(&format!("{at}.{key}"), list(&constraints[*key])))
        .collect();
    let field = format!("{at}.matchPolicy");
    causes.extend(unsupported(
        &field,
        &constraints["matchPolicy"],
        &["Equivalent", "Exact"],
    ));
    causes
}

/// What bindings of both kinds have.
pub fn validate_binding_spec(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if text(&spec["policyName"]).is_empty() {
        causes.push(cause::required("spec.policyName", ""));
    }
    let params = &spec["paramRef"];
    if params.is_object() {
        let by_name = !text(&params["name"]).is_empty();
        if by_name == params["selector"].is_object() {
            let why = "name and selector are mutually exclusive";
            causes.push(if by_name {
                cause::forbidden("spec.paramRef.name", why)
            } else {
                cause::required("spec.paramRef", "one of name or selector must be specified")
            });
        }
        let field = "spec.paramRef.parameterNotFoundAction";
        if text(&params["parameterNotFoundAction"]).is_empty() {
            causes.push(cause::required(field, ""));
        }
        causes.extend(unsupported(
            field,
            &params["parameterNotFoundAction"],
            &["Allow", "Deny"],
        ));
    }
    if spec["matchResources"].is_object() {
        causes.extend(validate_match("spec.matchResources", &spec["matchResources"]));
    }
    causes
}

fn validate_binding(binding: &Value) -> Vec<Cause> {
    let spec = &binding["spec"];
    let mut causes = validate_binding_spec(spec);
    let actions = list(&spec["validationActions"]);
    if actions.is_empty() {
        causes.push(cause::required("spec.validationActions", ""));
    }
    for (number, action) in actions.iter().enumerate() {
        let field = format!("spec.validationActions[{number}]");
        causes.extend(unsupported(&field, action, &["Audit", "Deny", "Warn"]));
        if actions[..number].contains(action) {
            causes.push(cause::duplicate(&field, action));
        }
    }
    if ["Deny", "Warn"]
        .iter()
        .all(|wanted| actions.iter().any(|action| action == wanted))
    {
        causes.push(cause::invalid(
            "spec.validationActions",
            &spec["validationActions"],
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
        ));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut made = json!({"spec": {
            "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": ["apps"],
                "apiVersions": ["v1"], "resources": ["deployments"]}]},
            "variables": [{"name": "replicas", "expression": "object.spec.replicas"}],
            "validations": [{"expression": "variables.replicas <= 5"}]}});
        change(&mut made["spec"]);
        default_policy(&mut made);
        validate_policy(&made)
            .into_iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect()
    }

    #[test]
    fn policies_that_cannot_be_evaluated_are_refused() {
        assert_eq!(policy(|_| {}), Vec::<String>::new());
        type Change = fn(&mut Value);
        let cases: &[(Change, &str)] = &[
            (
                |s| s["matchConstraints"] = Value::Null,
                "spec.matchConstraints: Required value",
            ),
            (
                |s| s["validations"] = json!([]),
                "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
            ),
            (
                |s| s["validations"][0]["expression"] = json!("params.x"),
                "spec.validations[0].expression: Invalid value: \"params.x\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n | params.x\n | ^",
            ),
            (
                |s| s["validations"][0]["expression"] = json!("request.nope == 1"),
                "spec.validations[0].expression: Invalid value: \"request.nope == 1\": compilation failed: ERROR: <input>:1:8: undefined field 'nope'\n | request.nope == 1\n | .......^",
            ),
            (
                |s| s["validations"][0]["expression"] = json!("'text'"),
                "spec.validations[0].expression: Invalid value: \"'text'\": must evaluate to bool",
            ),
            (
                |s| s["validations"][0]["reason"] = json!("Odd"),
                "spec.validations[0].reason: Unsupported value: \"Odd\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\", \"Unauthorized\"",
            ),
            (
                |s| s["variables"][0]["name"] = json!("a-b"),
                "spec.variables[0].name: Invalid value: \"a-b\": name is not a valid CEL identifier",
            ),
            (
                |s| s["auditAnnotations"] = json!([{"key": "k", "valueExpression": "1"}]),
                "spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to string or null",
            ),
            (
                |s| s["failurePolicy"] = json!("Odd"),
                "spec.failurePolicy: Unsupported value: \"Odd\": supported values: \"Fail\", \"Ignore\"",
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(policy(change), [*expected]);
        }
    }

    #[test]
    fn bindings_say_what_follows() {
        let told = |spec: Value| -> Vec<String> {
            let causes = validate_binding(&json!({"spec": spec}));
            causes
                .into_iter()
                .map(|c| format!("{}: {}", c.field, c.message))
                .collect()
        };
        assert_eq!(
            told(json!({"policyName": "p", "validationActions": ["Deny", "Audit"]})),
            Vec::<String>::new()
        );
        assert_eq!(
            told(json!({"policyName": "p"})),
            ["spec.validationActions: Required value"]
        );
        let both = told(json!({"policyName": "p", "validationActions": ["Deny", "Warn"]}));
        assert!(
            both[0].contains("must not contain both Deny and Warn"),
            "{both:?}"
        );
        let params =
            told(json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "x"}}));
        assert_eq!(params, ["spec.paramRef.parameterNotFoundAction: Required value"]);
    }
}
