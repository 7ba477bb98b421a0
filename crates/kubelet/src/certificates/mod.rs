//! The agent's own certificates, as a client of the API server and as a server: asked for, kept and renewed (contract,
//! node agent §21).
//!
//! | file | job |
//! |---|---|
//! | [`plan`] | with what to begin, and when to renew |
//! | [`request`] | one CertificateSigningRequest, from its making to its certificate |
//! | [`client`] | the client certificate, its kubeconfig, and the client whose connections follow them |
//! | [`serving`] | the certificate of the agent's server |
mod client;
mod plan;
mod request;
mod serving;

pub use client::{CertificateError, ClientCertificate, ClientOptions};
pub use serving::ServingCertificate;

use orlop_pki::{Identity, LeafRequest, Usage};
use std::net::IpAddr;
use std::time::Duration;

/// A system's clock may be set, and files may be replaced in a way that is not told: both are looked at this often while
/// nothing else is due. A `stat` of two files a minute.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What a node's certificates are made out to.
fn leaf(node_name: &str, usage: Usage, dns_names: Vec<String>, addresses: Vec<IpAddr>) -> LeafRequest {
    LeafRequest {
        identity: Identity::new(format!("system:node:{node_name}"), &["system:nodes"]),
        usage,
        dns_names,
        addresses,
    }
}
