//! Takes requests one at a time: approves, signs, deletes.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use orlop_client::informer::{Cached, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use orlop_pki::CertificateRequest;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::signer::{Signer, lifetime};
use super::{approve, clean};
use crate::api_error;
use crate::cache::{Cache, CertificateRequestView};
use crate::owned::status::at_version;
use crate::run::CertificateSigning;
use crate::workers::Workers;

type Request = Arc<Cached<CertificateRequestView>>;

/// The controller.
pub struct Certificates {
    client: kube::Client,
    cache: Arc<Cache>,
    queue: Arc<WorkQueue<ObjectKey>>,
    signing: Option<CertificateSigning>,
}

impl Certificates {
    /// Registers the handler at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>, signing: Option<CertificateSigning>) -> Arc<Self> {
        let queue = cache.queue("certificate");
        let on = queue.clone();
        cache
            .certificate_requests
            .on_change(move |change| on.add(change.latest().key.clone()));
        Arc::new(Self {
            client,
            cache: cache.clone(),
            queue,
            signing,
        })
    }

    /// Starts the worker. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "certificates",
            count: 1,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.sync(&key).await },
            api_error::is_conflict,
        );
    }

    fn api(&self) -> Api<CertificateSigningRequest> {
        Api::all(self.client.clone())
    }

    async fn sync(&self, key: &ObjectKey) -> Result<(), kube::Error> {
        let Some(request) = self.cache.certificate_requests.store().get(key) else {
            return Ok(());
        };
        if let Some(due) = clean::due(&request) {
            let left = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
            if left.is_zero() {
                tracing::info!(request = %key, "deleting an old certificate request");
                return match self.api().delete(&key.name, &DeleteParams::default()).await {
                    Err(error) if api_error::is_not_found(&error) => Ok(()),
                    result => result.map(drop),
                };
            }
            self.queue.add_after(key.clone(), left);
        }
        if request.has("Denied") || request.has("Failed") || request.is_signed() {
            return Ok(());
        }
        if request.has("Approved") {
            return self.sign(&request).await;
        }
        self.approve(&request).await
    }

    async fn approve(&self, request: &Request) -> Result<(), kube::Error> {
        let Some(asked) = read(request) else { return Ok(()) };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        for recognized in approve::recognize(request, &asked.asked) {
            let review = approve::review(request, recognized.right);
            let answer = reviews.create(&PostParams::default(), &review).await?;
            if answer.status.is_some_and(|status| status.allowed) {
                tracing::info!(request = %request.key, user = request.spec.username, "approved a certificate");
                let approved = condition("Approved", "AutoApproved", recognized.message);
                let mut conditions = json!(request.status.conditions.clone().unwrap_or_default());
                if let Some(conditions) = conditions.as_array_mut() {
                    conditions.push(approved);
                }
                let patch = at_version(request, json!({"status": {"conditions": conditions}}));
                return self.patch(request, "approval", patch).await;
            }
        }
        Ok(())
    }

    async fn sign(&self, request: &Request) -> Result<(), kube::Error> {
        let (Some(signing), Some(signer)) = (&self.signing, Signer::parse(&request.spec.signer_name)) else {
            return Ok(());
        };
        let usages = request.spec.usages.as_deref().unwrap_or_default();
        let signed = read(request)
            .ok_or_else(|| "the request cannot be read".to_owned())
            .and_then(|asked| {
                let usage = signer.accepts(&asked.asked, usages).map_err(str::to_owned)?;
                signing
                    .authority
                    .sign_request(&asked, usage, lifetime(request, signing.lifetime_max))
                    .map_err(|error| error.to_string())
            });
        let status = match signed {
            Ok(certificate) => {
                tracing::info!(request = %request.key, "signed a certificate");
                json!({"certificate": k8s_openapi::ByteString(certificate.into_bytes())})
            }
            Err(why) => {
                tracing::warn!(request = %request.key, why, "an approved certificate was not signed");
                let mut conditions = json!(request.status.conditions.clone().unwrap_or_default());
                if let Some(conditions) = conditions.as_array_mut() {
                    conditions.push(condition("Failed", "SignerValidationFailure", &why));
                }
                json!({"conditions": conditions})
            }
        };
        self.patch(request, "status", at_version(request, json!({"status": status})))
            .await
    }

    async fn patch(&self, request: &Request, part: &str, patch: Value) -> Result<(), kube::Error> {
        let answer = self
            .api()
            .patch_subresource(
                part,
                &request.key.name,
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await;
        match answer {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            result => result.map(drop),
        }
    }
}

fn read(request: &Request) -> Option<CertificateRequest> {
    let pem = std::str::from_utf8(&request.spec.request.0).ok()?;
    CertificateRequest::parse(pem)
}

fn condition(type_: &str, reason: &str, message: &str) -> Value {
    let now = Time(Timestamp::now());
    json!({"type": type_, "status": "True", "reason": reason, "message": message,
        "lastUpdateTime": now, "lastTransitionTime": now})
}
