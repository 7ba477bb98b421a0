//! A question to a webhook, as JSON over HTTPS, and its answer.
use super::endpoint::Endpoint;
use crate::ApiServer;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use std::time::Duration;

/// Characters of an error's text that are passed on.
const ERROR_CHARACTERS_MAX: usize = 2048;

/// What is asked, and how long and how much the answer may be.
pub struct Question {
    pub body: Bytes,
    pub agent: &'static str,
    pub timeout: Duration,
    pub answer_bytes_max: usize,
}

impl Question {
    /// Asks.
    ///
    /// # Errors
    /// Why there is no answer, in the words of upstream's client.
    pub async fn ask(&self, server: &ApiServer, endpoint: &Endpoint) -> Result<Value, String> {
        let posting = |why: &str| format!("Post {:?}: {why}", endpoint.url(self.seconds()));
        match tokio::time::timeout(self.timeout, self.exchange(server, endpoint)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Unanswered::Refused(reason))) => Err(reason),
            Ok(Err(Unanswered::Failed(error))) => Err(posting(&error.to_string())),
            Err(_) => Err(posting("context deadline exceeded")),
        }
    }

    /// As the one who is asked is told.
    fn seconds(&self) -> u64 {
        self.timeout
            .as_millis()
            .div_ceil(1000)
            .try_into()
            .unwrap_or(u64::MAX)
    }

    async fn exchange(&self, server: &ApiServer, endpoint: &Endpoint) -> Result<Value, Unanswered> {
        let mut request = Request::post(endpoint.path_with(self.seconds()))
            .header(HOST, endpoint.authority())
            .header(USER_AGENT, self.agent)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .body(Full::new(self.body.clone()))?;
        if let Some(authorization) = endpoint.authorization() {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        let kept = &endpoint.way().kept;
        let answer = kept.exchange(request, self.answer_bytes_max, endpoint.connect(server));
        let (parts, body) = answer.await?.into_parts();
        if parts.status != StatusCode::OK {
            let text: String = String::from_utf8_lossy(&body)
                .trim()
                .chars()
                .take(ERROR_CHARACTERS_MAX)
                .collect();
            return Err(Unanswered::Refused(match parts.status.as_u16() {
                404 => "the server could not find the requested resource".to_owned(),
                500.. => {
                    format!("an error on the server ({text:?}) has prevented the request from succeeding")
                }
                _ => "the server rejected our request for an unknown reason".to_owned(),
            }));
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

enum Unanswered {
    /// The connection, or what came over it.
    Failed(Box<dyn std::error::Error + Send + Sync>),
    /// An answer that is none to the question.
    Refused(String),
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for Unanswered {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
