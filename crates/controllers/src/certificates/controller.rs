//! Takes requests one at a time: approves, signs, deletes.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use orlop_client::informer::{Cached, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use orlop_pki::CertificateRequest;
use tokio::task::JoinSet;

use super::signer::{Signer, lifetime};
use super::{approve, clean};
use crate::api_error;
use crate::cache::{Cache, CertificateRequestView};
use crate::run::CertificateSigning;
use crate::selection::Selection;
use crate::workers::Workers;

type Request = Arc<Cached<CertificateRequestView>>;

/// The controller.
pub struct Certificates {
    client: kube::Client,
    cache: Arc<Cache>,
    queue: Arc<WorkQueue<ObjectKey>>,
    duties: Duties,
}

/// What is done about requests; upstream has a controller for each.
pub struct Duties {
    /// Approve those of node agents.
    pub approve: bool,
    /// Sign what was approved.
    pub signing: Option<CertificateSigning>,
    /// Delete old ones.
    pub clean: bool,
}

impl Duties {
    /// What is selected.
    pub fn new(selection: &Selection, signing: Option<CertificateSigning>) -> Self {
        Self {
            approve: selection.runs("certificatesigningrequest-approving-controller"),
            signing: signing.filter(|_| selection.runs("certificatesigningrequest-signing-controller")),
            clean: selection.runs("certificatesigningrequest-cleaner-controller"),
        }
    }

    /// Whether anything is.
    pub fn any(&self) -> bool {
        self.approve || self.signing.is_some() || self.clean
    }
}

impl Certificates {
    /// Registers the handler at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>, duties: Duties) -> Arc<Self> {
        let queue = cache.queue("certificate");
        let on = queue.clone();
        cache
            .certificate_requests
            .on_change(move |change| on.add(change.latest().key.clone()));
        Arc::new(Self {
            client,
            cache: cache.clone(),
            queue,
            duties,
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
        if let Some(due) = clean::due(&request).filter(|_| self.duties.clean) {
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
        match self.duties.approve {
            true => self.approve(&request).await,
            false => Ok(()),
        }
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
                return self
                    .write(request, "approval", Outcome::Condition(approved))
                    .await;
            }
        }
        Ok(())
    }

    async fn sign(&self, request: &Request) -> Result<(), kube::Error> {
        let (Some(signing), Some(signer)) = (&self.duties.signing, Signer::parse(&request.spec.signer_name))
        else {
            return Ok(());
        };
        let usages = request.spec.usages.as_deref().unwrap_or_default();
        let signed = read(request)
            .ok_or_else(|| "the request cannot be read".to_owned())
            .and_then(|asked| {
                let usage = signer.accepts(&asked.asked, usages).map_err(str::to_owned)?;
                signing
                    .authority
                    .current()
                    .sign_request(&asked, usage, lifetime(request, signing.lifetime_max))
                    .map_err(|error| error.to_string())
            });
        let outcome = match signed {
            Ok(certificate) => {
                tracing::info!(request = %request.key, "signed a certificate");
                Outcome::Certificate(certificate.into_bytes())
            }
            Err(why) => {
                tracing::warn!(request = %request.key, why, "an approved certificate was not signed");
                Outcome::Condition(condition("Failed", "SignerValidationFailure", &why))
            }
        };
        self.write(request, "status", outcome).await
    }

    /// Replaces a part of that version of the request: upstream's role for whoever approves and signs lets it patch
    /// nothing.
    async fn write(&self, request: &Request, part: &str, outcome: Outcome) -> Result<(), kube::Error> {
        let (api, name) = (self.api(), &request.key.name);
        let Some(mut live) = api.get_opt(name).await? else {
            return Ok(());
        };
        let version = live.metadata.resource_version.as_deref();
        if version != Some(request.resource_version.to_string().as_str()) {
            // The cache will tell of it.
            return Ok(());
        }
        let status = live.status.get_or_insert_default();
        match outcome {
            Outcome::Condition(condition) => status.conditions.get_or_insert_default().push(condition),
            Outcome::Certificate(pem) => status.certificate = Some(k8s_openapi::ByteString(pem)),
        }
        match api
            .replace_subresource(part, name, &PostParams::default(), &live)
            .await
        {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            result => result.map(drop),
        }
    }
}

/// What became of a request.
enum Outcome {
    Condition(CertificateSigningRequestCondition),
    Certificate(Vec<u8>),
}

fn read(request: &Request) -> Option<CertificateRequest> {
    let pem = std::str::from_utf8(&request.spec.request.0).ok()?;
    CertificateRequest::parse(pem)
}

fn condition(type_: &str, reason: &str, message: &str) -> CertificateSigningRequestCondition {
    let now = Some(Time(Timestamp::now()));
    CertificateSigningRequestCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: now.clone(),
        last_transition_time: now,
    }
}
