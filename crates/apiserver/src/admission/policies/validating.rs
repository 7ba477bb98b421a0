//! Validating policies.
use super::params::{self, Params};
use super::{Binding, Policy, Validation};
use crate::admission::Attempt;
use crate::admission::conditions::Verdict;
use crate::admission::matching::is_exempt;
use crate::admission::review;
use crate::admission::scene::Scene;
use crate::status::{ApiError, Cause};
use futures::future::BoxFuture;
use orlop_api::cel::{Activation, Context, OUT_OF_BUDGET, Value};
use serde_json::{Value as Json, json};

/// Under this name the audit log has what did not hold.
const VALIDATION_FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";

/// Something that doesn't hold.
struct Violation {
    message: String,
    /// Empty: `Invalid`.
    reason: String,
    /// Which of the policy's validations it is.
    number: usize,
}

pub fn validate<'b>(attempt: &'b Attempt<'_>) -> BoxFuture<'b, Result<(), ApiError>> {
    Box::pin(validate_all(attempt))
}

async fn validate_all(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    let hooks = attempt.server.hooks.current();
    if hooks.policies.is_empty() || is_exempt(attempt.resource.group) {
        return Ok(());
    }
    let (mut denied, mut failures) = (None, Vec::new());
    for policy in &hooks.policies {
        let Some(form) = policy.criteria.matches(attempt) else {
            continue;
        };
        let bindings = policy
            .bindings
            .iter()
            .filter(|binding| binding.criteria.narrows_to(attempt));
        let request = review::request(attempt, form, "").await?;
        for binding in bindings {
            for violation in violations(attempt, policy, binding, &request).await {
                if binding.warns {
                    attempt.call.warn(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                        policy.name, binding.name, violation.message
                    ));
                }
                if binding.audits {
                    failures.push(json!({
                        "message": violation.message, "policy": policy.name, "binding": binding.name,
                        "expressionIndex": violation.number, "validationActions": binding.actions}));
                }
                if binding.denies && denied.is_none() {
                    denied = Some(refusal(attempt, policy, binding, &violation));
                }
            }
        }
    }
    if !failures.is_empty() {
        let failures = Json::Array(failures).to_string();
        attempt.call.annotate(VALIDATION_FAILURE.to_owned(), failures);
    }
    denied.map_or(Ok(()), Err)
}

async fn violations(
    attempt: &Attempt<'_>,
    policy: &Policy,
    binding: &Binding,
    request: &Json,
) -> Vec<Violation> {
    let each = match params::find(attempt, policy.params.as_ref(), binding.params.as_ref()).await {
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
        number: 0,
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
    for (number, validation) in policy.validations.iter().enumerate() {
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
                number,
            }),
            Err(_) if context.budget.is_spent() => return failure(policy, OUT_OF_BUDGET.to_owned()),
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
            scene.annotate(format!("{}/{key}", policy.name), value.into_owned());
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
