//! `certificates.k8s.io`: stored and shown; signing is a controller's work.
use super::definition::{Field, PART_VERBS, Read, Resource, STATUS, Subresource};

pub const CERTIFICATESIGNINGREQUESTS: Resource = Resource::new(
    "certificates.k8s.io",
    "certificatesigningrequests",
    "certificatesigningrequest",
    "CertificateSigningRequest",
)
.cluster_scoped()
.short(&["csr"])
.with_subresources(&[
    Subresource {
        name: "approval",
        verbs: PART_VERBS,
        kind: None,
    },
    STATUS,
])
.with_fields(&[Field {
    name: "spec.signerName",
    read: Read::Text("/spec/signerName"),
}]);
