//! One CertificateSigningRequest, from its making to its certificate.
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use orlop_pki::{Asking, Leaf, PkiError};
use std::time::Duration;

/// How long somebody may take to approve.
const APPROVAL_MAX: Duration = Duration::from_secs(15 * 60);

/// Who signs, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    NodeClient,
    NodeServing,
}

impl Signer {
    fn name(self) -> &'static str {
        match self {
            Self::NodeClient => "kubernetes.io/kube-apiserver-client-kubelet",
            Self::NodeServing => "kubernetes.io/kubelet-serving",
        }
    }

    /// "key encipherment" is for RSA keys, which the agent has none of.
    fn usages(self) -> Vec<String> {
        let auth = match self {
            Self::NodeClient => "client auth",
            Self::NodeServing => "server auth",
        };
        vec!["digital signature".into(), auth.into()]
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum ObtainError {
    #[error("the API server does not take the certificate request: {0}")]
    Create(#[source] Box<kube::Error>),
    #[error("certificate request {name} was denied: {reason}; see `kubectl describe csr {name}`")]
    Denied { name: String, reason: String },
    #[error("the signer does not sign certificate request {name}: {reason}")]
    Failed { name: String, reason: String },
    #[error("certificate request {name} was deleted before it was signed")]
    Gone { name: String },
    #[error("certificate request {name} was not signed within {}s: approve it with `kubectl certificate approve {name}`", APPROVAL_MAX.as_secs())]
    Unanswered { name: String },
    #[error(transparent)]
    Certificate(#[from] PkiError),
}

impl ObtainError {
    /// Whether somebody has said no, so that this request has no future.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Denied { .. } | Self::Failed { .. } | Self::Certificate(_)
        )
    }
}

/// What has become of a request.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Waiting,
    Denied(String),
    Failed(String),
    Issued(String),
}

fn verdict(request: &CertificateSigningRequest) -> Verdict {
    let Some(status) = &request.status else {
        return Verdict::Waiting;
    };
    let said = |kind: &str| {
        let condition = status.conditions.iter().flatten().find(|c| c.type_ == kind)?;
        let words = [condition.reason.as_deref(), condition.message.as_deref()];
        Some(words.into_iter().flatten().collect::<Vec<_>>().join(": "))
    };
    if let Some(reason) = said("Denied") {
        return Verdict::Denied(reason);
    }
    if let Some(reason) = said("Failed") {
        return Verdict::Failed(reason);
    }
    match &status.certificate {
        Some(certificate) if !certificate.0.is_empty() => {
            Verdict::Issued(String::from_utf8_lossy(&certificate.0).into_owned())
        }
        _ => Verdict::Waiting,
    }
}

/// Asks, and waits for the certificate. A request with a `name` that is there already, from before a restart, goes on.
pub async fn obtain(
    client: &Client,
    asking: Asking,
    signer: Signer,
    name: Option<String>,
) -> Result<Leaf, ObtainError> {
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    let object = CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: name.is_none().then(|| "csr-".to_owned()),
            name: name.clone(),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(asking.request().as_bytes().to_vec()),
            signer_name: signer.name().to_owned(),
            usages: Some(signer.usages()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let name = match (requests.create(&PostParams::default(), &object).await, name) {
        (Ok(made), _) => made.metadata.name.unwrap_or_default(),
        (Err(kube::Error::Api(status)), Some(name)) if status.code == 409 => name,
        (Err(error), _) => return Err(ObtainError::Create(Box::new(error))),
    };
    tracing::info!(
        request = name,
        signer = signer.name(),
        "waits for its certificate to be signed"
    );
    match tokio::time::timeout(APPROVAL_MAX, follow(requests, &name)).await {
        Ok(certificate) => Ok(asking.complete(certificate?)?),
        Err(_) => Err(ObtainError::Unanswered { name }),
    }
}

async fn follow(requests: Api<CertificateSigningRequest>, name: &str) -> Result<String, ObtainError> {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = watcher(requests, only).default_backoff().boxed();
    let (mut listed, name) = (false, name.to_owned());
    loop {
        let request = match events.try_next().await {
            Ok(Some(watcher::Event::Apply(request) | watcher::Event::InitApply(request))) => request,
            Ok(Some(watcher::Event::Init)) => {
                listed = false;
                continue;
            }
            Ok(Some(watcher::Event::InitDone)) if listed => continue,
            Ok(Some(watcher::Event::InitDone | watcher::Event::Delete(_)) | None) => {
                return Err(ObtainError::Gone { name });
            }
            Err(error) => {
                // The watcher waits and tries again by itself.
                tracing::debug!(request = name, %error, "watch interrupted");
                continue;
            }
        };
        listed = true;
        match verdict(&request) {
            Verdict::Waiting => {}
            Verdict::Denied(reason) => return Err(ObtainError::Denied { name, reason }),
            Verdict::Failed(reason) => return Err(ObtainError::Failed { name, reason }),
            Verdict::Issued(certificate) => return Ok(certificate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_waits_until_somebody_decides() {
        let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "R", "message": "m"});
        for (status, want) in [
            (json!({}), Verdict::Waiting),
            (json!({"conditions": [condition("Approved")]}), Verdict::Waiting),
            (
                json!({"conditions": [condition("Approved")], "certificate": "cGVt"}),
                Verdict::Issued("pem".into()),
            ),
            (
                json!({"conditions": [condition("Denied")]}),
                Verdict::Denied("R: m".into()),
            ),
            (
                json!({"conditions": [condition("Approved"), condition("Failed")]}),
                Verdict::Failed("R: m".into()),
            ),
        ] {
            let object = json!({"metadata": {"name": "csr-1"}, "status": status,
                "spec": {"request": "", "signerName": "kubernetes.io/kubelet-serving"}});
            let request = serde_json::from_value(object).unwrap();
            assert_eq!(verdict(&request), want, "{status}");
        }
    }
}
