//! A CertificateSigningRequest. There are few, and they go soon.

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1 as certificates;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequestSpec, CertificateSigningRequestStatus};
use orlop_client::informer::Projection;

/// What is remembered of a CertificateSigningRequest.
#[derive(Debug, Clone)]
pub struct CertificateRequestView {
    /// The spec.
    pub spec: CertificateSigningRequestSpec,
    /// The status.
    pub status: CertificateSigningRequestStatus,
    /// metadata.creationTimestamp.
    pub created: Option<Timestamp>,
}

impl CertificateRequestView {
    /// Whether it has a condition of that type.
    pub fn has(&self, condition: &str) -> bool {
        let conditions = self.status.conditions.as_deref().unwrap_or_default();
        conditions.iter().any(|candidate| candidate.type_ == condition)
    }

    /// Whether the certificate was made.
    pub fn is_signed(&self) -> bool {
        self.status
            .certificate
            .as_ref()
            .is_some_and(|certificate| !certificate.0.is_empty())
    }
}

impl Projection for CertificateRequestView {
    type Object = certificates::CertificateSigningRequest;

    fn project(request: certificates::CertificateSigningRequest) -> Self {
        Self {
            spec: request.spec,
            status: request.status.unwrap_or_default(),
            created: request.metadata.creation_timestamp.map(|time| time.0),
        }
    }
}
