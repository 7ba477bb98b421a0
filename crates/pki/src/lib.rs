//! Certificates, kubeconfigs and tokens: the node's own certificate authority and everything it signs,
//! and the key of service account tokens.
//!
//! Files follow kubeadm's layout under the PKI directory (`ca.crt`, `ca.key`, `apiserver.crt`, …),
//! so that other tools find them. Nothing here talks to the network; there are no tasks. Keys are
//! ECDSA P-256 and are written with mode 0600 before they are used.
mod any_certificate;
mod ask;
mod authority;
mod bundle;
mod client_auth;
mod detached;
mod error;
mod files;
mod followed_authority;
mod given_authorities;
mod jwk;
mod keyless;
mod kubeconfig;
mod leaf;
mod named;
mod presented;
mod private_key;
mod renewed;
mod request;
mod seen;
mod serving_files;
mod sign;
mod stored;
mod subject;
mod times;
mod tls;
mod tls_limits;
mod token;
mod validity;
mod version_one;

pub use any_certificate::any_certificate;
pub use ask::Asking;
pub use authority::{Authority, covers_request};
pub use bundle::merged_certificates;
pub use client_auth::{ClientAuthorities, roots};
pub use detached::detached_signature;
pub use error::PkiError;
pub use files::{half_written, write_private};
pub use followed_authority::FollowedAuthority;
pub use given_authorities::given_authorities;
pub use jwk::{JWT_ALGORITHMS, JsonWebKey, UnverifiedToken};
pub use keyless::{KeylessAuthority, Unfit};
pub use kubeconfig::Kubeconfig;
pub use leaf::{Identity, Leaf, LeafRequest, Usage};
pub use named::Named;
pub use presented::Presented;
pub use renewed::RenewedLeaf;
pub use request::{Asked, CertificateRequest};
pub use seen::FileVersion;
pub use serving_files::{Pair, ServingFiles};
pub use tls::{
    expires, identity_of, names_of, public_key_hash, seconds_left, server_config,
    server_config_for_any_client, server_config_presenting, server_config_verifying, subject_of,
};
pub use tls_limits::TlsLimits;
pub use token::{TokenPublicKey, TokenSigner, verified_claims};
pub use validity::Validity;

/// Serving certificates and client identities are signed for this many days, as kubeadm does.
pub const LEAF_VALIDITY_DAYS: i32 = 365;
/// The authority itself is valid for ten years.
pub const AUTHORITY_VALIDITY_YEARS: i16 = 10;
/// A leaf that ends within this many days is replaced at the next start.
pub const RENEW_BEFORE_DAYS: i64 = 90;
