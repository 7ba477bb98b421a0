//! One question to one webhook.
use super::Webhook;
use crate::ApiServer;
use crate::admission::review::{self, Response};
use crate::outbound::Question;
use bytes::Bytes;
use serde_json::Value;

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
    server: &ApiServer,
    webhook: &Webhook,
    request: &Value,
    may_patch: bool,
) -> Result<Response, CallError> {
    let question = Question {
        body: Bytes::from(review::review(request, webhook.version).to_string()),
        agent: "kube-apiserver-admission",
        timeout: webhook.timeout,
        answer_bytes_max: ANSWER_BYTES_MAX,
    };
    let answer = question.ask(server, &webhook.endpoint).await;
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
