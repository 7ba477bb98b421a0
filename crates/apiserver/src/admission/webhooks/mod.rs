//! Webhooks: others who are asked over HTTPS (contract §17).
//!
//! | file | does |
//! |---|---|
//! | `call` | one question to one webhook |
//! | `mutating`, `validating` | which are asked, in which order, and what their answers bring about |
mod call;
pub mod mutating;
pub mod validating;

use super::attempt::Attempt;
use super::conditions::{self, Conditions};
use super::matching::Criteria;
use super::review::{self, Response, Version};
use crate::metrics::{Question, Verdict};
use crate::outbound::{Endpoint, Ways, WebhookClients};
use crate::resources::Resource;
use crate::status::ApiError;
use call::{CallError, ask};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How counts name the two kinds of webhooks.
const ADMIT: &str = "admit";
const VALIDATING: &str = "validating";

/// A webhook, as its configuration says.
#[derive(Debug)]
pub struct Webhook {
    /// Of the configuration and the webhook: what it is known by between rounds.
    key: String,
    /// Of its configuration.
    configuration: String,
    name: String,
    criteria: Criteria,
    conditions: Conditions,
    endpoint: Endpoint,
    version: Version,
    /// Whether a failure to ask refuses the request.
    required: bool,
    timeout: Duration,
    /// Whether it is asked again about what changed after it.
    again: bool,
    /// Whether asking it does something, so that it cannot be asked about dry runs.
    side_effects: bool,
}

/// The webhooks of configurations, by their names and then in their order. `clients`: as whom they are asked.
pub fn compile(configurations: &[Value], clients: &WebhookClients, ways: &Ways) -> Vec<Webhook> {
    let mut sorted: Vec<&Value> = configurations.iter().collect();
    sorted.sort_by_key(|configuration| configuration["metadata"]["name"].as_str().unwrap_or_default());
    let webhooks = |configuration: &&Value| {
        let of = configuration["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let webhooks = configuration["webhooks"].as_array().cloned().unwrap_or_default();
        webhooks
            .into_iter()
            .map(|webhook| Webhook::of(&of, &webhook, clients, ways))
            .collect::<Vec<_>>()
    };
    sorted.iter().flat_map(webhooks).collect()
}

/// What became of a question, for the counts.
fn verdict(answer: &Result<Response, CallError>, required: bool) -> Verdict {
    match answer {
        Ok(response) if response.allowed => Verdict::Allowed,
        Ok(response) => {
            let code = response.status["code"].as_u64();
            Verdict::Denied(code.and_then(|code| u16::try_from(code).ok()).unwrap_or(400))
        }
        Err(_) if required => Verdict::Failed,
        Err(_) => Verdict::FailedOpen,
    }
}

impl Webhook {
    /// What it is about.
    pub fn criteria(&self) -> &Criteria {
        &self.criteria
    }

    /// Asks, and counts it. `kind`: `admit` or `validating`.
    async fn ask(
        &self,
        attempt: &Attempt<'_>,
        kind: &'static str,
        request: &Value,
    ) -> Result<Response, CallError> {
        let began = Instant::now();
        let answer = ask(attempt.call, self, request, kind == ADMIT).await;
        let question = Question {
            webhook: &self.name,
            kind,
            operation: attempt.operation,
        };
        let verdict = verdict(&answer, self.required);
        let metrics = &attempt.server.metrics.admission;
        metrics.asked(question, verdict, began.elapsed());
        answer
    }

    fn of(configuration: &str, webhook: &Value, clients: &WebhookClients, ways: &Ways) -> Self {
        let name = webhook["name"].as_str().unwrap_or_default().to_owned();
        Self {
            key: format!("{configuration}/{name}"),
            configuration: configuration.to_owned(),
            name,
            criteria: Criteria::of(webhook),
            conditions: Conditions::of(&webhook["matchConditions"]),
            endpoint: Endpoint::of(&webhook["clientConfig"], Some(clients), ways),
            version: Version::of(&webhook["admissionReviewVersions"]),
            required: webhook["failurePolicy"] != "Ignore",
            timeout: Duration::from_secs(webhook["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30)),
            again: webhook["reinvocationPolicy"] == "IfNeeded",
            side_effects: !matches!(webhook["sideEffects"].as_str(), Some("None" | "NoneOnDryRun")),
        }
    }

    /// Passes on what an answer says beside yes or no.
    fn pass_on(&self, attempt: &Attempt<'_>, response: &Response) {
        for warning in &response.warnings {
            attempt.call.warn(warning);
        }
        for (key, value) in &response.annotations {
            attempt
                .call
                .annotate(format!("{}/{key}", self.name), value.clone());
        }
    }

    /// The request to ask, and in which form of the resource; `None` if the webhook is not about the attempt.
    ///
    /// # Errors
    /// It cannot be told whether it is, or it may not be asked now.
    async fn question(&self, attempt: &Attempt<'_>) -> Result<Option<(&'static Resource, Value)>, ApiError> {
        let Some(form) = self.criteria.matches(attempt) else {
            return Ok(None);
        };
        let request = review::request(attempt, form, &uuid::Uuid::new_v4().to_string()).await?;
        match self.conditions.verdict(attempt, &request, self.required) {
            conditions::Verdict::Applies => {}
            conditions::Verdict::Not => return Ok(None),
            conditions::Verdict::Failed(why) => return Err(attempt.forbidden(&why)),
        }
        if attempt.dry_run && self.side_effects {
            let why = format!("admission webhook {:?} does not support dry run", self.name);
            return Err(ApiError::bad_request(why));
        }
        Ok(Some((form, request)))
    }
}
