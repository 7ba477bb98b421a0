//! Validating webhooks: all at once; none sees what another says.
use super::{VALIDATING, Webhook};
use crate::admission::attempt::Attempt;
use crate::admission::matching::GROUP;
use crate::admission::review;
use crate::status::ApiError;
use futures::future::{BoxFuture, join_all};
use serde_json::Value;

pub fn validate<'b>(attempt: &'b Attempt<'_>) -> BoxFuture<'b, Result<(), ApiError>> {
    Box::pin(ask_all(attempt))
}

async fn ask_all(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    if attempt.resource.group == GROUP {
        return Ok(());
    }
    let hooks = attempt.server.hooks.current();
    let mut asked = Vec::new();
    for (number, webhook) in hooks.validating.iter().enumerate() {
        if let Some((_, request)) = webhook.question(attempt).await? {
            asked.push(ask_one(attempt, webhook, number, request));
        }
    }
    // The first refusal in order, so that the same request is refused by the same words.
    join_all(asked).await.into_iter().collect()
}

/// `number`: the webhook's among all.
async fn ask_one(
    attempt: &Attempt<'_>,
    webhook: &Webhook,
    number: usize,
    request: Value,
) -> Result<(), ApiError> {
    match webhook.ask(attempt, VALIDATING, &request).await {
        Ok(response) => {
            webhook.pass_on(attempt, &response);
            if response.allowed {
                return Ok(());
            }
            Err(review::refusal(&webhook.name, &response.status))
        }
        Err(error) if webhook.required => Err(ApiError::internal(error)),
        Err(error) => {
            tracing::warn!(%error, "the request goes on without this webhook");
            let key = format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{number}");
            attempt.call.annotate(key, webhook.name.clone());
            Ok(())
        }
    }
}
