//! Webhooks: others who are asked over HTTPS (contract §17).
//!
//! | file | does |
//! |---|---|
//! | `endpoint` | where a webhook is, and a connection to it |
//! | `call` | one question to one webhook |
//! | `mutating`, `validating` | which are asked, in which order, and what their answers bring about |
mod call;
mod endpoint;
pub mod mutating;
pub mod validating;

use super::attempt::Attempt;
use super::conditions::{Conditions, Verdict};
use super::matching::Criteria;
use super::review;
use crate::resources::Resource;
use crate::status::ApiError;
use endpoint::Endpoint;
use serde_json::Value;
use std::time::Duration;

/// A webhook, as its configuration says.
#[derive(Debug)]
pub struct Webhook {
    /// Of the configuration and the webhook: what it is known by between rounds.
    key: String,
    name: String,
    criteria: Criteria,
    conditions: Conditions,
    endpoint: Endpoint,
    /// Whether a failure to ask refuses the request.
    required: bool,
    timeout: Duration,
    /// Whether it is asked again about what changed after it.
    again: bool,
    /// Whether asking it does something, so that it cannot be asked about dry runs.
    side_effects: bool,
}

/// The webhooks of configurations, by their names and then in their order.
pub fn compile(configurations: &[Value]) -> Vec<Webhook> {
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
            .map(move |webhook| Webhook::of(&of, &webhook))
            .collect::<Vec<_>>()
    };
    sorted.iter().flat_map(webhooks).collect()
}

impl Webhook {
    fn of(configuration: &str, webhook: &Value) -> Self {
        let name = webhook["name"].as_str().unwrap_or_default().to_owned();
        Self {
            key: format!("{configuration}/{name}"),
            name,
            criteria: Criteria::of(webhook),
            conditions: Conditions::of(&webhook["matchConditions"]),
            endpoint: Endpoint::of(&webhook["clientConfig"]),
            required: webhook["failurePolicy"] != "Ignore",
            timeout: Duration::from_secs(webhook["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30)),
            again: webhook["reinvocationPolicy"] == "IfNeeded",
            side_effects: !matches!(webhook["sideEffects"].as_str(), Some("None" | "NoneOnDryRun")),
        }
    }

    /// The request to ask, and in which form of the resource; `None` if the webhook is not about the attempt.
    ///
    /// # Errors
    /// It cannot be told whether it is, or it may not be asked now.
    fn question(&self, attempt: &Attempt<'_>) -> Result<Option<(&'static Resource, Value)>, ApiError> {
        let Some(form) = self.criteria.matches(attempt) else {
            return Ok(None);
        };
        let request = review::request(attempt, form, &uuid::Uuid::new_v4().to_string());
        match self.conditions.verdict(attempt, &request, self.required) {
            Verdict::Applies => {}
            Verdict::Not => return Ok(None),
            Verdict::Failed(why) => return Err(attempt.forbidden(&why)),
        }
        if attempt.dry_run && self.side_effects {
            let why = format!("admission webhook {:?} does not support dry run", self.name);
            return Err(ApiError::bad_request(why));
        }
        Ok(Some((form, request)))
    }
}
