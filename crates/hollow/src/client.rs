//! What the fleet asks of the API server: raw bytes, so that thousands of nodes cost little, and only so many at a time.

use http::{Method, Request};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

/// Requests at the same time. Each needs a connection; more would only wait in the server.
const REQUESTS_MAX: usize = 48;

/// How a body changes what is there.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// No body.
    None,
    /// The whole object.
    Object(&'a [u8]),
    /// A JSON merge patch.
    Merge(&'a [u8]),
}

/// The one client of all nodes.
pub struct Client {
    client: kube::Client,
    permits: Semaphore,
}

impl Client {
    pub fn new(client: kube::Client) -> Self {
        Self {
            client,
            permits: Semaphore::new(REQUESTS_MAX),
        }
    }

    fn request(method: Method, path: &str, body: Body<'_>) -> Result<Request<Vec<u8>>, kube::Error> {
        let (content_type, body) = match body {
            Body::None => (None, &[][..]),
            Body::Object(body) => (Some("application/json"), body),
            Body::Merge(body) => (Some("application/merge-patch+json"), body),
        };
        let mut request = Request::builder().method(method).uri(path);
        if let Some(content_type) = content_type {
            request = request.header("Content-Type", content_type);
        }
        request.body(body.to_vec()).map_err(kube::Error::HttpError)
    }

    /// Asks; the answer's text is read and dropped.
    pub async fn send(&self, method: Method, path: &str, body: Body<'_>) -> Result<(), kube::Error> {
        // A closed semaphore can't happen; then asking without a permit is still right.
        let _permit = self.permits.acquire().await.ok();
        self.client
            .request_text(Self::request(method, path, body)?)
            .await
            .map(drop)
    }

    /// Asks and reads as much of the answer as `T` holds.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body<'_>,
    ) -> Result<T, kube::Error> {
        let _permit = self.permits.acquire().await.ok();
        self.client.request(Self::request(method, path, body)?).await
    }
}

/// Whether the object isn't there.
pub fn is_not_found(error: &kube::Error) -> bool {
    has_code(error, 404)
}

/// Whether it is there already, or is another one by now.
pub fn is_conflict(error: &kube::Error) -> bool {
    has_code(error, 409)
}

fn has_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}
