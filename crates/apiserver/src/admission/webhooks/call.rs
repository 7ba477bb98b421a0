//! One question to one webhook.
use super::Webhook;
use crate::admission::review::{self, Response};
use crate::http::Call;
use crate::outbound::Question;
use bytes::Bytes;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Longest answer.
const ANSWER_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Why there is no usable answer, in upstream's words.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("failed calling webhook {webhook:?}: failed to call webhook: {reason}")]
    Unanswered { webhook: String, reason: String },
    #[error("failed calling webhook {webhook:?}: received invalid webhook response: {reason}")]
    Unusable { webhook: String, reason: String },
}

/// Asks a webhook.
///
/// # Errors
/// It cannot be reached in time, or its answer is none.
pub async fn ask(
    call: &Call,
    webhook: &Webhook,
    request: &Value,
    may_patch: bool,
) -> Result<Response, CallError> {
    let question = Question {
        body: Bytes::from(review::review(request, webhook.version).to_string()),
        agent: "kube-apiserver-admission",
        timeout: left(webhook.timeout, call.until, Instant::now()),
        answer_bytes_max: ANSWER_BYTES_MAX,
    };
    let answer = question.ask(&call.server, &webhook.endpoint).await;
    let answer = answer.map_err(|reason| CallError::Unanswered {
        webhook: webhook.name.clone(),
        reason,
    })?;
    let uid = request["uid"].as_str().unwrap_or_default();
    review::read(&answer, uid, may_patch, webhook.version).map_err(|reason| CallError::Unusable {
        webhook: webhook.name.clone(),
        reason,
    })
}

/// How long a webhook may take: no longer than whoever made the request waits.
fn left(timeout: Duration, until: Option<Instant>, now: Instant) -> Duration {
    until.map_or(timeout, |until| timeout.min(until.saturating_duration_since(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_webhook_takes_longer_than_the_request() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(left(5 * second, None, now), 5 * second);
        assert_eq!(left(5 * second, Some(now + 8 * second), now), 5 * second);
        assert_eq!(left(20 * second, Some(now + 8 * second), now), 8 * second);
        assert_eq!(left(second, Some(now), now + second), Duration::ZERO);
    }
}
