//! Validating policies.
use super::params::{self, Params};
use super::{Binding, Policy, Validation};
use crate::admission::Attempt;
use crate::admission::conditions::Verdict;
use crate::admission::matching::GROUP;
use crate::admission::review;
use crate::admission::scene::Scene;
use crate::status::{ApiError, Cause};
use orlop_api::cel::{Activation, Context, Value};
use serde_json::Value as Json;

/// Kinds that are only asked are answered whatever policies say.
const EXEMPT: &[&str] = &["authentication.k8s.io", "authorization.k8s.io"];

/// Something that doesn't hold.
struct Violation {
    message: String,
    /// Empty: `Invalid`.
    reason: String,
}

pub fn validate(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    let hooks = attempt.server.hooks.current();
    let exempt = attempt.resource.group == GROUP || EXEMPT.contains(&attempt.resource.group);
    if exempt || hooks.policies.is_empty() {
        return Ok(());
    }
    let mut denied = None;
    for policy in &hooks.policies {
        let Some(form) = policy.criteria.matches(attempt) else {
            continue;
        };
        let bindings = policy
            .bindings
            .iter()
            .filter(|binding| binding.criteria.narrows_to(attempt));
        let request = review::request(attempt, form, "");
        for binding in bindings {
            for violation in violations(attempt, policy, binding, &request) {
                if binding.warns {
                    attempt.call.warn(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                        policy.name, binding.name, violation.message
                    ));
                }
                if binding.audits {
                    tracing::info!(
                        policy = policy.name,
                        binding = binding.name,
                        violation.message,
                        "audit: validation_failure"
                    );
                }
                if binding.denies && denied.is_none() {
                    denied = Some(refusal(attempt, policy, binding, &violation));
                }
            }
        }
    }
    denied.map_or(Ok(()), Err)
}

fn violations(attempt: &Attempt<'_>, policy: &Policy, binding: &Binding, request: &Json) -> Vec<Violation> {
    let each = match params::find(attempt, policy.params.as_ref(), binding.params.as_ref()) {
        Ok(Params::None) => vec![None],
        Ok(Params::Each(found)) => found.into_iter().map(Some).collect(),
        Ok(Params::Skip) => return Vec::new(),
        Err(why) => return failure(policy, format!("failed to configure binding: {why}")),
    };
    let scene = Scene::of(attempt, request);
    each.iter()
        .flat_map(|params| evaluate(policy, &scene, params.as_ref()))
        .collect()
}

/// Without an answer the request is refused, unless the policy says otherwise.
fn failure(policy: &Policy, message: String) -> Vec<Violation> {
    let violation = Violation {
        message,
        reason: String::new(),
    };
    policy.required.then_some(violation).into_iter().collect()
}

fn evaluate(policy: &Policy, scene: &Scene<'_>, params: Option<&Json>) -> Vec<Violation> {
    let null = Json::Null;
    let params = params.or(policy.params.is_some().then_some(&null));
    let (mut names, mut context) = (scene.names(params), scene.context());
    for (name, expression) in &policy.variables {
        match expression {
            Ok(program) => names.define(name, program),
            Err(error) => return failure(policy, format!("variable {name:?}: {error}")),
        }
    }
    match policy.conditions.decide(&names, &mut context, policy.required) {
        Verdict::Applies => {}
        Verdict::Not => return Vec::new(),
        Verdict::Failed(why) => return failure(policy, why),
    }
    let mut found = Vec::new();
    for validation in &policy.validations {
        let result = match &validation.program {
            Ok(program) => program
                .eval(&names, &mut context)
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        match result {
            Ok(Value::Bool(true)) => {}
            Ok(_) => found.push(Violation {
                message: message(validation, &names, &mut context),
                reason: validation.reason.clone(),
            }),
            Err(error) => {
                found.extend(failure(
                    policy,
                    format!("expression '{}' resulted in error: {error}", validation.text),
                ));
            }
        }
    }
    for (key, expression) in &policy.annotations {
        let value = expression
            .as_ref()
            .map(|program| program.eval(&names, &mut context));
        if let Ok(Ok(Value::String(value))) = value {
            tracing::info!(policy = policy.name, key, %value, "audit annotation");
        }
    }
    found
}

fn message<'a>(validation: &'a Validation, names: &Activation<'a>, context: &mut Context<'a>) -> String {
    let own = match &validation.message_expression {
        Some(Ok(program)) => program.eval(names, context).ok(),
        _ => None,
    };
    match own {
        Some(Value::String(text)) if !text.trim().is_empty() && !text.contains('\n') => {
            text.trim().to_owned()
        }
        _ => validation.own_message(),
    }
}

fn refusal(attempt: &Attempt<'_>, policy: &Policy, binding: &Binding, violation: &Violation) -> ApiError {
    let message = format!(
        "ValidatingAdmissionPolicy '{}' with binding '{}' denied request: {}",
        policy.name, binding.name, violation.message
    );
    let (code, reason) = match violation.reason.as_str() {
        "Forbidden" => (403, "Forbidden"),
        "Unauthorized" => (401, "Unauthorized"),
        "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
        _ => (422, "Invalid"),
    };
    let mut error = attempt
        .forbidden(&message)
        .with_causes(vec![Cause::new("", "", message)]);
    error.code = code;
    error.reason = reason.into();
    error
}
