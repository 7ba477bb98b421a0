//! Mutating webhooks: one after the other, each sees what those before it changed.
use super::{ADMIT, Webhook};
use crate::admission::attempt::{Attempt, Round};
use crate::admission::matching::GROUP;
use crate::admission::review;
use crate::status::ApiError;
use futures::future::BoxFuture;
use orlop_api::patch;
use serde_json::{Value, json};

pub fn admit<'b>(attempt: &'b mut Attempt<'_>) -> BoxFuture<'b, Result<(), ApiError>> {
    Box::pin(ask_all(attempt))
}

async fn ask_all(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    if attempt.resource.group == GROUP {
        return Ok(());
    }
    let hooks = attempt.server.hooks.current();
    for (number, webhook) in hooks.mutating.iter().enumerate() {
        if attempt.is_due(&webhook.key) {
            ask_one(webhook, number, attempt).await?;
        }
    }
    attempt.ask_for_another_round();
    Ok(())
}

/// Where the audit log has what came of a question.
struct Place<'w> {
    webhook: &'w Webhook,
    /// `round_0_index_3`.
    place: String,
}

impl Place<'_> {
    fn key(&self, what: &str) -> String {
        format!("{what}.webhook.admission.k8s.io/{}", self.place)
    }

    /// Members are in upstream's order: there are programs that compare the text.
    fn told(&self, rest: &str) -> String {
        let (configuration, webhook) = (json!(self.webhook.configuration), json!(self.webhook.name));
        format!(r#"{{"configuration":{configuration},"webhook":{webhook},{rest}}}"#)
    }

    fn mutated(&self, attempt: &Attempt<'_>, mutated: bool) {
        let told = self.told(&format!(r#""mutated":{mutated}"#));
        attempt.call.annotate(self.key("mutation"), told);
    }

    fn patched(&self, attempt: &Attempt<'_>, patch: &Value) {
        let told = self.told(&format!(r#""patch":{patch},"patchType":"JSONPatch""#));
        attempt.call.annotate_detail(self.key("patch"), told);
    }
}

/// `number`: the webhook's among all.
async fn ask_one(webhook: &Webhook, number: usize, attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    let Some((form, request)) = webhook.question(attempt).await? else {
        return Ok(());
    };
    let round = usize::from(attempt.round == Round::Again);
    let place = Place {
        webhook,
        place: format!("round_{round}_index_{number}"),
    };
    let response = match webhook.ask(attempt, ADMIT, &request).await {
        Ok(response) => response,
        Err(error) if webhook.required => {
            place.mutated(attempt, false);
            return Err(ApiError::internal(error));
        }
        Err(error) => {
            place.mutated(attempt, false);
            attempt
                .call
                .annotate(place.key("failed-open.mutating"), webhook.name.clone());
            tracing::warn!(%error, "the request goes on without this webhook");
            return Ok(());
        }
    };
    webhook.pass_on(attempt, &response);
    if !response.allowed {
        place.mutated(attempt, false);
        return Err(review::refusal(&webhook.name, &response.status));
    }
    let mut mutated = false;
    if let Some(operations) = response.patch.as_ref().filter(|patch| !is_empty(patch))
        && attempt.object.is_some()
    {
        let patched = patch::json(&request["object"], operations).map_err(ApiError::internal)?;
        mutated = patched != request["object"];
        attempt.take_over(form, patched).await?;
        place.patched(attempt, operations);
    }
    place.mutated(attempt, mutated);
    attempt.note(webhook.key.clone(), webhook.again);
    Ok(())
}

fn is_empty(patch: &Value) -> bool {
    patch.as_array().is_some_and(Vec::is_empty)
}
