//! Mutating webhooks: one after the other, each sees what those before it changed.
use super::Webhook;
use super::call::ask;
use crate::admission::attempt::{Attempt, Called, Round};
use crate::admission::matching::GROUP;
use crate::admission::review;
use crate::status::ApiError;
use futures::future::BoxFuture;
use orlop_api::patch;

pub fn admit<'b>(attempt: &'b mut Attempt<'_>) -> BoxFuture<'b, Result<(), ApiError>> {
    Box::pin(ask_all(attempt))
}

async fn ask_all(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    if attempt.resource.group == GROUP {
        return Ok(());
    }
    let hooks = attempt.server.hooks.current();
    for webhook in &hooks.mutating {
        if attempt.round == Round::Again && !wants_again(webhook, attempt) {
            continue;
        }
        ask_one(webhook, attempt).await?;
    }
    let changed_after = attempt
        .called
        .iter()
        .any(|called| called.again && attempt.object.as_deref() != Some(&called.left));
    attempt.again |= attempt.round == Round::First && changed_after;
    Ok(())
}

/// Whether a webhook that was asked wants to see what has changed since.
fn wants_again(webhook: &Webhook, attempt: &Attempt<'_>) -> bool {
    let called = attempt.called.iter().find(|called| called.key == webhook.key);
    called.is_some_and(|called| called.again && attempt.object.as_deref() != Some(&called.left))
}

async fn ask_one(webhook: &Webhook, attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    let Some((form, request)) = webhook.question(attempt)? else {
        return Ok(());
    };
    let response = match ask(attempt.server, webhook, &request, true).await {
        Ok(response) => response,
        Err(error) if webhook.required => return Err(ApiError::internal(error)),
        Err(error) => {
            tracing::warn!(%error, "the request goes on without this webhook");
            return Ok(());
        }
    };
    for warning in &response.warnings {
        attempt.call.warn(warning);
    }
    if !response.allowed {
        return Err(review::refusal(&webhook.name, &response.status));
    }
    if let Some(operations) = &response.patch
        && attempt.object.is_some()
    {
        let patched = patch::json(&request["object"], operations).map_err(ApiError::internal)?;
        attempt.take_over(form, patched)?;
    }
    if let Some(object) = attempt.object.as_deref() {
        let left = object.clone();
        attempt.called.retain(|called| called.key != webhook.key);
        attempt.called.push(Called {
            key: webhook.key.clone(),
            again: webhook.again,
            left,
        });
    }
    Ok(())
}
