//! The etcd v3 face of an embedded store: what etcd's clients and tools speak, served by one member.
//!
//! Served whole: KV, Watch, Lease, Maintenance, Lock, Election ([`recipes`]), the reading side of Cluster, gRPC's own
//! health, and "disabled" for Auth; all of the API in JSON as well ([`gateway`]). Errors have etcd's codes and texts,
//! since its clients look at them. Messages and service definitions come from the `etcd-client` crate, which the store's
//! other side uses anyway.
//!
//! Tasks: one a connection, which runs its calls as well ([`streams`]); one a watch stream, which reads its requests
//! ([`watch`]), and one a watch, which turns the store's batches into responses.
//!
//! What this crate deliberately does not do: clusters (peers, elections, learners), users and roles.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod alarms;
mod auth;
mod authority;
mod buffers;
mod calls;
mod cluster;
mod compression;
mod convert;
mod downgrade;
mod encoded;
mod errors;
mod frames;
mod gateway;
mod gathering;
mod health;
mod http;
mod identity;
mod kv;
mod lease;
mod limits;
mod listen;
mod maintenance;
mod metrics;
mod pings;
mod plain;
mod range;
mod recipes;
mod streams;
mod tls;
mod traffic;
mod unary;
mod watch;

pub use limits::{KeepAlive, Limits, Progress, QUOTA_BYTES, REQUEST_BYTES_MAX, TXN_OPERATIONS_MAX};
pub use listen::{Endpoint, EndpointError, Listener};
pub use tls::{Tls, TlsFiles};

use alarms::{Alarms, Quota};
use buffers::Buffers;
use etcd_client::proto::PbResponseHeader;
use metrics::Counters;
use orlop_store::Revision;
use orlop_store::embedded::EmbeddedStore;
use prometheus_client::registry::Registry;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use tokio_util::sync::CancellationToken;

/// The release of etcd whose protocol is spoken; clients decide by it what they may ask for.
pub const ETCD_VERSION: &str = "3.5.30";
/// And the version that its cluster says it has.
const CLUSTER_VERSION: &str = "3.5";
/// A single member has elected itself once, as etcd counts.
const RAFT_TERM: u64 = 2;
/// What makes clusters of the same addresses distinct, unless somebody says otherwise.
pub const CLUSTER_TOKEN: &str = "etcd-cluster";

/// Who answers.
#[derive(Clone, Debug)]
pub struct Member {
    pub name: String,
    /// URLs that clients are told.
    pub client_urls: Vec<String>,
    /// URLs that are shown for peers; nobody listens there.
    pub peer_urls: Vec<String>,
}

impl Member {
    /// One that has a name and says nothing of where it is.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            client_urls: Vec::new(),
            peer_urls: Vec::new(),
        }
    }
}

/// The face of one store. Cheap to clone.
#[derive(Clone)]
pub struct Face {
    store: Arc<EmbeddedStore>,
    member: Arc<Member>,
    member_id: u64,
    cluster_id: u64,
    limits: Arc<Limits>,
    quota: Arc<Quota>,
    alarms: Arc<Alarms>,
    /// The furthest compaction that was answered, -1 before the first.
    compacted: Arc<AtomicI64>,
    counters: Arc<Counters>,
    buffers: Buffers,
    /// What the process costs.
    process: Arc<Registry>,
}

impl Face {
    pub fn new(store: Arc<EmbeddedStore>, member: Member) -> Self {
        let face = Self {
            store,
            member: Arc::new(member),
            member_id: 0,
            cluster_id: 0,
            quota: Arc::new(Quota::new(None)),
            limits: Arc::default(),
            alarms: Arc::default(),
            compacted: Arc::new(AtomicI64::new(-1)),
            counters: Arc::default(),
            buffers: Buffers::default(),
            process: Arc::new(metrics::process()),
        };
        face.in_cluster(CLUSTER_TOKEN)
    }

    /// In the cluster of this token, which is [`CLUSTER_TOKEN`] unless somebody says otherwise.
    pub fn in_cluster(mut self, token: &str) -> Self {
        self.member_id = identity::member(&self.member.peer_urls, token);
        self.cluster_id = identity::cluster(self.member_id);
        self
    }

    /// Keeps alarms in a file, so that a restart knows them.
    ///
    /// # Errors
    /// There is a file, and it cannot be read.
    pub fn keeping_alarms(mut self, file: PathBuf) -> std::io::Result<Self> {
        self.alarms = Arc::new(Alarms::kept_in(file)?);
        Ok(self)
    }

    /// Within other limits than etcd's usual ones.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.quota = Arc::new(Quota::new(limits.quota_bytes));
        self.limits = Arc::new(limits);
        self
    }

    /// Refuses requests above this many bytes instead of [`REQUEST_BYTES_MAX`].
    pub fn with_request_limit(self, bytes: usize) -> Self {
        let limits = Limits {
            request_bytes: bytes,
            ..Limits::clone(&self.limits)
        };
        self.with_limits(limits)
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
