//! A server that a kubeconfig file names: where webhooks of authentication and authorization are.
use super::{Outbound, Trust};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::Full;
use orlop_api::wire;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A question is asked this often before it counts as unanswered (upstream's rule).
const ATTEMPTS_MAX: u32 = 5;
/// Pause before the second attempt; each further one is half as long again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one attempt may take.
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
    server: String,
    authorization: Option<HeaderValue>,
}

impl Remote {
    /// What a kubeconfig file's current context names. Paths in it are relative to its directory.
    ///
    /// # Errors
    /// The file, or one that it names, cannot be used.
    pub fn from_kubeconfig(path: &Path) -> Result<Self, RemoteError> {
        let unusable = |reason: String| RemoteError::Unusable {
            path: path.to_owned(),
            reason,
        };
        let config = wire::from_yaml(&file(path)?).map_err(|e| unusable(e.to_string()))?;
        let named = |list: &str, name: &str, member: &str| -> Value {
            let entries = config[list].as_array().into_iter().flatten();
            let own = entries.filter(|entry| entry["name"] == name);
            own.map(|entry| entry[member].clone()).next().unwrap_or_default()
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let context = named("contexts", &text(&config["current-context"]), "context");
        let cluster = named("clusters", &text(&context["cluster"]), "cluster");
        let user = named("users", &text(&context["user"]), "user");
        let server = text(&cluster["server"]);
        if !server.starts_with("https://") {
            return Err(unusable(format!(
                "the server of the current context's cluster is {server:?}, which is no https URL"
            )));
        }
        let directory = path.parent().unwrap_or(Path::new("."));
        let pem = |entry: &Value, key: &str| -> Result<Option<String>, RemoteError> {
            let bytes = match entry[format!("{key}-data")].as_str() {
                Some(data) => STANDARD
                    .decode(data)
                    .map_err(|e| unusable(format!("{key}-data: {e}")))?,
                None => match entry[key].as_str() {
                    Some(named) => file(&directory.join(named))?,
                    None => return Ok(None),
                },
            };
            String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| unusable(format!("{key} is no PEM")))
        };
        let authority = pem(&cluster, "certificate-authority")?;
        let identity = pem(&user, "client-certificate")?.zip(pem(&user, "client-key")?);
        let trust = match (&authority, cluster["insecure-skip-tls-verify"] == true) {
            (_, true) => Trust::Anyone,
            (Some(authority), false) => Trust::Authorities(authority),
            (None, false) => Trust::Machine,
        };
        let presented = identity.as_ref().map(|(cert, key)| (cert.as_str(), key.as_str()));
        let outbound = Outbound::new(trust, presented).map_err(|e| unusable(e.to_string()))?;
        let token = match user["tokenFile"].as_str() {
            Some(named) => String::from_utf8_lossy(&file(&directory.join(named))?)
                .trim()
                .to_owned(),
            None => text(&user["token"]),
        };
        let authorization = (!token.is_empty())
            .then(|| HeaderValue::from_str(&format!("Bearer {token}")))
            .transpose()
            .map_err(|_| unusable("its token is none".to_owned()))?;
        Ok(Self {
            outbound,
            server,
            authorization,
        })
    }

    /// Posts an object; answers the one that comes back. Failures that may pass are waited for.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, object: &Value) -> Result<Value, String> {
        let body = Bytes::from(object.to_string());
        let (mut attempt, mut pause) = (1, PAUSE);
        loop {
            match self.ask_once(body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Passing(_)) if attempt < ATTEMPTS_MAX => {
                    tokio::time::sleep(pause).await;
                    (attempt, pause) = (attempt + 1, pause + pause / 2);
                }
                Err(Failure::Passing(why) | Failure::Lasting(why)) => return Err(why),
            }
        }
    }

    async fn ask_once(&self, body: Bytes) -> Result<Value, Failure> {
        let mut request = Request::post(&self.server)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .body(Full::new(body))
            .map_err(|e| Failure::Lasting(e.to_string()))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let answer = self.outbound.send(request, TIMEOUT).await;
        let answer = answer.map_err(|e| Failure::Passing(format!("Post {:?}: {e}", self.server)))?;
        match answer.status() {
            StatusCode::OK | StatusCode::CREATED => {}
            status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                return Err(Failure::Passing(format!("Post {:?}: {status}", self.server)));
            }
            status => return Err(Failure::Lasting(format!("Post {:?}: {status}", self.server))),
        }
        serde_json::from_slice(answer.body()).map_err(|e| Failure::Lasting(e.to_string()))
    }
}

enum Failure {
    /// Worth another attempt.
    Passing(String),
    Lasting(String),
}

fn file(path: &Path) -> Result<Vec<u8>, RemoteError> {
    std::fs::read(path).map_err(|error| RemoteError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
