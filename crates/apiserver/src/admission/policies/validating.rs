//! Validating policies.
use super::params::{self, Params};
use super::{Annotation, Binding, Policy, Validation};
use crate::admission::Attempt;
use crate::admission::conditions::Verdict;
use crate::admission::matching::is_exempt;
use crate::admission::review;
use crate::admission::scene::Scene;
use crate::encode;
use crate::status::{ApiError, Cause};
use futures::future::BoxFuture;
use orlop_api::cel::{Activation, Budget, Context, OUT_OF_BUDGET, REQUEST_MAX, Value};
use orlop_api::names::cut;
use serde::Serialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Under this name the audit log has what did not hold.
const VALIDATION_FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";

/// Bytes of a value for the audit log that are kept.
const ANNOTATION_MAX: usize = 10 * 1024;

/// What a policy tells the audit log: the values of each key, one for each set of parameters.
type Told = BTreeMap<String, Vec<String>>;

/// Something that doesn't hold.
struct Violation {
    message: String,
    /// Empty: `Invalid`.
    reason: String,
    /// Which of the policy's validations it is.
    number: usize,
    /// Whether it refuses the request whatever the binding does about violations.
    anyway: bool,
}

/// What the audit log is told of it. Members are in upstream's order: there are programs that compare the text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'f> {
    message: String,
    policy: &'f str,
    binding: &'f str,
    expression_index: usize,
    validation_actions: &'f Json,
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
        let mut told = Told::new();
        for binding in bindings {
            for violation in violations(attempt, policy, binding, &request, &mut told).await {
                if binding.warns && !violation.anyway {
                    attempt.call.warn(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                        policy.name, binding.name, violation.message
                    ));
                }
                if binding.audits && !violation.anyway {
                    failures.push(Failure {
                        message: violation.message.clone(),
                        policy: &policy.name,
                        binding: &binding.name,
                        expression_index: violation.number,
                        validation_actions: &binding.actions,
                    });
                }
                if (binding.denies || violation.anyway) && denied.is_none() {
                    denied = Some(refusal(attempt, policy, binding, &violation));
                }
            }
        }
        for (key, values) in told {
            let key = format!("{}/{key}", policy.name);
            attempt.call.annotate(key, values.join(", "));
        }
    }
    if !failures.is_empty() {
        let mut text = Vec::new();
        encode::append(&mut text, &failures);
        let text = String::from_utf8_lossy(&text).into_owned();
        attempt.call.annotate(VALIDATION_FAILURE.to_owned(), text);
    }
    denied.map_or(Ok(()), Err)
}

async fn violations(
    attempt: &Attempt<'_>,
    policy: &Policy,
    binding: &Binding,
    request: &Json,
    told: &mut Told,
) -> Vec<Violation> {
    let each = match params::find(attempt, policy.params.as_ref(), binding.params.as_ref()).await {
        Ok(Params::None) => vec![None],
        Ok(Params::Each(found)) => found.into_iter().map(Some).collect(),
        Ok(Params::Skip) => return Vec::new(),
        Err(why) => return failure_anyway(policy, format!("failed to configure binding: {why}")),
    };
    let scene = Scene::of(attempt, request);
    each.iter()
        .flat_map(|params| evaluate(policy, &scene, params.as_ref(), told))
        .collect()
}

/// Without an answer the request is refused, unless the policy says otherwise.
fn failure(policy: &Policy, message: String) -> Vec<Violation> {
    let violation = Violation {
        message,
        reason: String::new(),
        number: 0,
        anyway: false,
    };
    policy.required.then_some(violation).into_iter().collect()
}

/// The same even where the binding only warns.
fn failure_anyway(policy: &Policy, message: String) -> Vec<Violation> {
    let mut found = failure(policy, message);
    for violation in &mut found {
        violation.anyway = true;
    }
    found
}

fn evaluate(policy: &Policy, scene: &Scene<'_>, params: Option<&Json>, told: &mut Told) -> Vec<Violation> {
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
                anyway: false,
            }),
            Err(_) if context.budget.is_spent() => return failure(policy, OUT_OF_BUDGET.to_owned()),
            Err(error) => {
                let why = format!("expression '{}' resulted in error: {error}", validation.text);
                let failed = failure(policy, why).into_iter();
                found.extend(failed.map(|violation| Violation { number, ..violation }));
            }
        }
    }
    // What is told to the audit log has a budget of its own.
    context.budget = Budget::new(REQUEST_MAX);
    for annotation in &policy.annotations {
        match told_by(annotation, &names, &mut context) {
            Ok(Some(value)) => {
                let values = told.entry(annotation.key.clone()).or_default();
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            Ok(None) => {}
            Err(why) => found.extend(failure_anyway(policy, why)),
        }
    }
    found
}

/// `None`: nothing is to be told.
fn told_by<'a>(
    annotation: &'a Annotation,
    names: &Activation<'a>,
    context: &mut Context<'a>,
) -> Result<Option<String>, String> {
    let program = annotation.program.as_ref().map_err(Clone::clone)?;
    match program.eval(names, context) {
        Ok(Value::String(value)) => {
            let value = cut(value.trim(), ANNOTATION_MAX);
            Ok((!value.is_empty()).then(|| value.to_owned()))
        }
        Ok(Value::Null) => Ok(None),
        Ok(other) => Err(format!(
            "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
            annotation.text,
            other.type_name()
        )),
        Err(error) => Err(format!(
            "expression '{}' resulted in error: {error}",
            annotation.text
        )),
    }
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
