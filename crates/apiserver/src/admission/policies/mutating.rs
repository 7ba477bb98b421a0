//! Mutating policies: configurations that are applied, or patches.
use super::params::{self, Params};
use super::{Binding, Mutation, Policy};
use crate::admission::Attempt;
use crate::admission::conditions::Verdict;
use crate::admission::matching::is_exempt;
use crate::admission::review;
use crate::admission::scene::Scene;
use crate::custom::Custom;
use crate::registry::now;
use crate::resources::{Resource, api_version};
use crate::status::ApiError;
use futures::future::BoxFuture;
use orlop_api::apply::{self, Managed, Present, Type, Writer};
use orlop_api::patch;
use serde_json::{Value, json};

/// Under this name what policies apply is merged; nothing is owned by it.
const MANAGER: &str = "admission";

pub fn admit<'b>(attempt: &'b mut Attempt<'_>) -> BoxFuture<'b, Result<(), ApiError>> {
    Box::pin(mutate_all(attempt))
}

async fn mutate_all(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    let hooks = attempt.server.hooks.current();
    if hooks.mutating_policies.is_empty() || is_exempt(attempt.resource.group) || attempt.object.is_none() {
        return Ok(());
    }
    for policy in &hooks.mutating_policies {
        for binding in &policy.bindings {
            let key = format!("policy {}/{}", policy.name, binding.name);
            if !attempt.is_due(&key) {
                continue;
            }
            let Some(form) = policy.criteria.matches(attempt) else {
                continue;
            };
            if !binding.criteria.narrows_to(attempt) {
                continue;
            }
            mutate(attempt, policy, binding, form).await?;
            attempt.note(key, policy.again);
        }
    }
    attempt.ask_for_another_round();
    Ok(())
}

async fn mutate(
    attempt: &mut Attempt<'_>,
    policy: &Policy,
    binding: &Binding,
    form: &'static Resource,
) -> Result<(), ApiError> {
    let each = match params::find(attempt, policy.params.as_ref(), binding.params.as_ref()).await {
        Ok(Params::None) => vec![None],
        Ok(Params::Each(found)) => found.into_iter().map(Some).collect(),
        Ok(Params::Skip) => return Ok(()),
        Err(why) => {
            return failed(
                attempt,
                policy,
                binding,
                &format!("failed to configure binding: {why}"),
            );
        }
    };
    for params in &each {
        for (number, mutation) in policy.mutations.iter().enumerate() {
            let request = review::request(attempt, form, "").await?;
            let changed = match evaluate(attempt, policy, mutation, &request, params.as_ref(), number == 0) {
                Ok(Some(change)) => changed(attempt, form, mutation, &request["object"], &change),
                Ok(None) => break,
                Err(why) => Err(why),
            };
            match changed {
                Ok(object) => attempt.take_over(form, object).await?,
                Err(why) => failed(attempt, policy, binding, &why)?,
            }
        }
    }
    Ok(())
}

/// Without an answer the request is refused, unless the policy says otherwise.
fn failed(attempt: &Attempt<'_>, policy: &Policy, binding: &Binding, why: &str) -> Result<(), ApiError> {
    if !policy.required {
        return Ok(());
    }
    let message = format!(
        "MutatingAdmissionPolicy '{}' with binding '{}' denied request: {why}",
        policy.name, binding.name
    );
    let mut error = attempt.forbidden(&message);
    error.code = 422;
    error.reason = "Invalid".into();
    Err(error)
}

/// What an expression asks to change; `None` if the policy's conditions don't hold, which `first` finds out.
fn evaluate(
    attempt: &Attempt<'_>,
    policy: &Policy,
    mutation: &Mutation,
    request: &Value,
    params: Option<&Value>,
    first: bool,
) -> Result<Option<Value>, String> {
    let null = Value::Null;
    let params = params.or(policy.params.is_some().then_some(&null));
    let scene = Scene::of(attempt, request);
    let (mut names, mut context) = (scene.names(params), scene.context());
    for (name, expression) in &policy.variables {
        names.define(name, expression.as_ref().map_err(Clone::clone)?);
    }
    if first {
        match policy.conditions.decide(&names, &mut context, policy.required) {
            Verdict::Applies => {}
            Verdict::Not => return Ok(None),
            Verdict::Failed(why) => return Err(why),
        }
    }
    let program = mutation.expression().as_ref().map_err(Clone::clone)?;
    let value = program
        .eval(&names, &mut context)
        .and_then(|value| value.to_json());
    value.map(Some).map_err(|error| error.to_string())
}

fn changed(
    attempt: &Attempt<'_>,
    form: &'static Resource,
    mutation: &Mutation,
    object: &Value,
    change: &Value,
) -> Result<Value, String> {
    match mutation {
        Mutation::Patch(_) => patch::json(object, change).map_err(|error| error.to_string()),
        Mutation::Apply(_) => {
            let (group, version, kind) = attempt.kind_as(form);
            let api_version = api_version(group, version);
            let mut configuration = change.clone();
            configuration["apiVersion"] = api_version.clone().into();
            configuration["kind"] = kind.into();
            let definition = form.custom.map(Custom::definition);
            let ty = match &definition {
                Some(definition) => Some(Type::Custom(&definition.schema)),
                None => Type::of_kind(&api_version, kind),
            };
            let ty = ty.ok_or_else(|| format!("nothing can be applied to a {kind}"))?;
            let writer = Writer {
                manager: MANAGER,
                api_version: &api_version,
                subresource: "",
                ignored: &[],
                now: &now(),
            };
            let nobody = json!({});
            let present = Present {
                object,
                blank: &nobody,
                managed: Managed::default(),
                exists: true,
            };
            let applied = apply::apply(present, &configuration, ty, &writer, true, Ok);
            applied
                .map(|applied| applied.object)
                .map_err(|refused| refused.to_string())
        }
    }
}
