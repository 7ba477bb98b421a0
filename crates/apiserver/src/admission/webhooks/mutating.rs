//! Mutating webhooks: one after the other, each sees what those before it changed.
use super::{ADMIT, Webhook};
use crate::admission::attempt::Attempt;
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
        if attempt.is_due(&webhook.key) {
            ask_one(webhook, attempt).await?;
        }
    }
    attempt.ask_for_another_round();
    Ok(())
}

async fn ask_one(webhook: &Webhook, attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    let Some((form, request)) = webhook.question(attempt).await? else {
        return Ok(());
    };
    let response = match webhook.ask(attempt, ADMIT, &request).await {
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
        attempt.take_over(form, patched).await?;
    }
    attempt.note(webhook.key.clone(), webhook.again);
    Ok(())
}
