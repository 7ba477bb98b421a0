//! One question to one webhook.
use super::Webhook;
use super::endpoint::{Connection, Failure};
use crate::ApiServer;
use crate::admission::review::{self, Response};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;

/// Longest answer.
const ANSWER_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Characters of an error's text that are passed on.
const ERROR_CHARACTERS_MAX: usize = 2048;

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
    let unanswered = |reason: String| CallError::Unanswered {
        webhook: webhook.name.clone(),
        reason,
    };
    let body = Bytes::from(review::review(request).to_string());
    let answer = match tokio::time::timeout(webhook.timeout, exchange(server, webhook, body)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(Unanswered::Refused(reason))) => return Err(unanswered(reason)),
        Ok(Err(Unanswered::Failed(error))) => return Err(unanswered(posting(webhook, &error.to_string()))),
        Err(_) => return Err(unanswered(posting(webhook, "context deadline exceeded"))),
    };
    let uid = request["uid"].as_str().unwrap_or_default();
    review::read(&answer, uid, may_patch).map_err(|reason| CallError::Unusable {
        webhook: webhook.name.clone(),
        reason,
    })
}

fn posting(webhook: &Webhook, why: &str) -> String {
    format!(
        "Post {:?}: {why}",
        webhook.endpoint.url(webhook.timeout.as_secs())
    )
}

enum Unanswered {
    /// The connection, or what came over it.
    Failed(Failure),
    /// An answer that is none of admission.
    Refused(String),
}

impl<E: Into<Failure>> From<E> for Unanswered {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

async fn exchange(server: &ApiServer, webhook: &Webhook, body: Bytes) -> Result<Value, Unanswered> {
    // A kept connection may have ended meanwhile; then a new one is worth another try.
    if let Some(connection) = webhook.endpoint.take()
        && let Ok(answer) = post(webhook, connection, body.clone()).await
    {
        return Ok(answer);
    }
    let connection = webhook.endpoint.connect(server).await?;
    post(webhook, connection, body).await
}

async fn post(webhook: &Webhook, mut connection: Connection, body: Bytes) -> Result<Value, Unanswered> {
    let endpoint = &webhook.endpoint;
    let request = Request::post(endpoint.path_with(webhook.timeout.as_secs()))
        .header(HOST, endpoint.authority())
        .header(USER_AGENT, "kube-apiserver-admission")
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, */*")
        .body(Full::new(body))?;
    let answer = connection.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await?
        .to_bytes();
    endpoint.keep(connection);
    if status != StatusCode::OK {
        let text: String = String::from_utf8_lossy(&body)
            .trim()
            .chars()
            .take(ERROR_CHARACTERS_MAX)
            .collect();
        return Err(Unanswered::Refused(match status.as_u16() {
            404 => "the server could not find the requested resource".to_owned(),
            500.. => format!("an error on the server ({text:?}) has prevented the request from succeeding"),
            _ => "the server rejected our request for an unknown reason".to_owned(),
        }));
    }
    Ok(serde_json::from_slice(&body)?)
}
