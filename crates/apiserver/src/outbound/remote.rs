//! A server that a kubeconfig file names: where webhooks of authentication and authorization are.
use super::kept::Kept;
use super::kubeconfig::{Credentials, KubeconfigFile};
use super::{Outbound, OutboundError, Trust};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A question is asked this often before it counts as unanswered (upstream's rule).
const ATTEMPTS_MAX: u32 = 5;
/// Pause before the second attempt; each further one is half as long again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one attempt may take if nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A kubeconfig file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("cannot read {path}: {reason}", path = .path.display())]
    File { path: PathBuf, reason: String },
    #[error("{path} is no kubeconfig that can be used: {reason}", path = .path.display())]
    Unusable { path: PathBuf, reason: String },
}

/// See the module's documentation.
pub struct Remote {
    outbound: Outbound,
    kept: Arc<Kept>,
    server: String,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Unanswered {
    pub why: String,
    /// It took too long.
    pub late: bool,
}

impl Remote {
    /// What a kubeconfig file's current context names. Paths in it are relative to its directory.
    ///
    /// # Errors
    /// The file, or one that it names, cannot be used.
    pub fn from_kubeconfig(path: &Path) -> Result<Self, RemoteError> {
        let file = KubeconfigFile::read(path)?;
        let (cluster, user) = file.current();
        let server = cluster["server"].as_str().unwrap_or_default().to_owned();
        if !server.starts_with("https://") {
            return Err(file.unusable(format!(
                "the server of the current context's cluster is {server:?}, which is no https URL"
            )));
        }
        let authority = file.pem(&cluster, "certificate-authority")?;
        let Credentials {
            identity,
            authorization,
        } = file.credentials(&user)?;
        let trust = match (&authority, cluster["insecure-skip-tls-verify"] == true) {
            (_, true) => Trust::Anyone,
            (Some(authority), false) => Trust::Authorities(authority),
            (None, false) => Trust::Machine,
        };
        let presented = identity.as_ref().map(|(cert, key)| (cert.as_str(), key.as_str()));
        let outbound = Outbound::new(trust, presented).map_err(|e| file.unusable(e.to_string()))?;
        Ok(Self {
            outbound,
            kept: Arc::default(),
            server,
            authorization,
            timeout: TIMEOUT,
        })
    }

    /// Lets one attempt take so long.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Posts an object; answers the one that comes back. Failures that may pass are waited for.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, object: &Value) -> Result<Value, Unanswered> {
        let answer = self.post(Bytes::from(object.to_string()), PAUSE).await?;
        serde_json::from_slice(&answer).map_err(|error| Failure::Lasting(error.to_string()).into())
    }

    /// Posts an object that is not answered. `first_pause` is what is waited before the second attempt.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn tell(&self, object: Bytes, first_pause: Duration) -> Result<(), Unanswered> {
        self.post(object, first_pause).await.map(drop)
    }

    async fn post(&self, body: Bytes, first_pause: Duration) -> Result<Bytes, Unanswered> {
        let (mut attempt, mut pause) = (1, first_pause);
        loop {
            match self.post_once(body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Passing(_)) if attempt < ATTEMPTS_MAX => {
                    tokio::time::sleep(pause).await;
                    (attempt, pause) = (attempt + 1, pause + pause / 2);
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    async fn post_once(&self, body: Bytes) -> Result<Bytes, Failure> {
        let mut request = Request::post(&self.server)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .body(Full::new(body))
            .map_err(|e| Failure::Lasting(e.to_string()))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let posting = |why: &dyn std::fmt::Display| format!("Post {:?}: {why}", self.server);
        let answer = match self.outbound.send_again(&self.kept, request, self.timeout).await {
            Ok(answer) => answer,
            Err(error @ OutboundError::Late(_)) => return Err(Failure::Late(posting(&error))),
            Err(error) if is_refused(&error) => return Err(Failure::Lasting(posting(&error))),
            Err(error) => return Err(Failure::Passing(posting(&error))),
        };
        match answer.status() {
            StatusCode::OK | StatusCode::CREATED => {}
            status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                return Err(Failure::Passing(posting(&status)));
            }
            status => return Err(Failure::Lasting(posting(&status))),
        }
        Ok(answer.into_body())
    }
}

enum Failure {
    /// Worth another attempt.
    Passing(String),
    /// As long as may be waited for was waited for.
    Late(String),
    Lasting(String),
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        let late = matches!(failure, Failure::Late(_));
        let (Failure::Passing(why) | Failure::Late(why) | Failure::Lasting(why)) = failure;
        Self { why, late }
    }
}

/// Nobody listens there: whoever asks need not wait for somebody who does.
fn is_refused(error: &OutboundError) -> bool {
    let OutboundError::Failed(error) = error else {
        return false;
    };
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::ConnectionRefused)
}
