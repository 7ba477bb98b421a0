//! The etcd v3 face of an embedded store: what etcd's clients and tools speak, served by one member.
//!
//! Served whole: KV, Watch, Lease, the reading side of Cluster and Maintenance, and "disabled" for
//! Auth. Errors have etcd's codes and texts, since its clients look at them. Messages and service
//! definitions come from the `etcd-client` crate, which the store's other side uses anyway.
//!
//! Tasks: one a connection, which runs its calls as well ([`streams`]); one a watch stream, which reads its requests
//! ([`watch`]), and one a watch, which turns the store's batches into responses.
//!
//! What this crate deliberately does not do: clusters (peers, elections, learners), users and roles.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod auth;
mod authority;
mod cluster;
mod convert;
mod encoded;
mod errors;
mod http;
mod kv;
mod lease;
mod listen;
mod maintenance;
mod range;
mod streams;
mod unary;
mod watch;

pub use listen::{Endpoint, EndpointError, Listener, Tls, TlsError};

use etcd_client::proto::PbResponseHeader;
use orlop_store::Revision;
use orlop_store::embedded::EmbeddedStore;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The release of etcd whose protocol is spoken; clients decide by it what they may ask for.
pub const ETCD_VERSION: &str = "3.5.16";
/// A single member has elected itself once, as etcd counts.
const RAFT_TERM: u64 = 2;
/// etcd's usual limit for a request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 3 << 19;

/// Who answers.
#[derive(Clone, Debug)]
pub struct Member {
    pub name: String,
    /// URLs that clients are told.
    pub client_urls: Vec<String>,
    /// URLs that are shown for peers; nobody listens there.
    pub peer_urls: Vec<String>,
}

/// The face of one store. Cheap to clone.
#[derive(Clone)]
pub struct Face {
    store: Arc<EmbeddedStore>,
    member: Arc<Member>,
    member_id: u64,
    cluster_id: u64,
    request_bytes_max: usize,
}

impl Face {
    pub fn new(store: Arc<EmbeddedStore>, member: Member) -> Self {
        let member_id = fnv(&[member.name.as_bytes(), b"member"]);
        let cluster_id = fnv(&[member.name.as_bytes(), b"cluster"]);
        Self {
            store,
            member: Arc::new(member),
            member_id,
            cluster_id,
            request_bytes_max: REQUEST_BYTES_MAX,
        }
    }

    /// Refuses requests above this many bytes instead of [`REQUEST_BYTES_MAX`]. The store's own limit
    /// for a value holds besides.
    pub fn with_request_limit(mut self, bytes: usize) -> Self {
        self.request_bytes_max = bytes;
        self
    }

    /// Answers on all listeners until `shutdown`.
    pub async fn serve(&self, listeners: Vec<Listener>, shutdown: CancellationToken) {
        let serving = listeners
            .into_iter()
            .map(|listener| http::serve(self.clone(), listener, shutdown.clone()));
        futures::future::join_all(serving).await;
    }

    fn header_at(&self, revision: Revision) -> PbResponseHeader {
        PbResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision: convert::number(revision.0),
            raft_term: RAFT_TERM,
        }
    }

    fn header(&self) -> PbResponseHeader {
        self.header_at(self.store.durable_revision())
    }
}

/// FNV-1a: ids that stay the same over restarts and releases.
fn fnv(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().copied().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}
