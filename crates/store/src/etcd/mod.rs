//! The store on a real etcd: the same guarantees, kept by etcd.
//!
//! The only task is one per watch: it reads etcd's stream into the watch's bounded channel and ends
//! with the stream or when the receiver is dropped.
mod convert;
mod snapshot;
mod watch;

use crate::{
    LeaseId, RangeRequest, RangeResponse, Revision, Store, StoreError, StoreStatus, Txn, TxnResponse,
    WatchRequest, WatchStream, validate,
};
use async_trait::async_trait;
use etcd_client::{
    Certificate, Client, CompactionOptions, ConnectOptions, Identity, KvClient, LeaseClient,
    LeaseGrantOptions, TlsOptions,
};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A call that etcd hasn't answered for so long has failed: longer than an election takes.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two attempts to call an etcd that isn't there.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Notices a dead connection while nothing else is said on it, as a watch on a quiet store.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Bytes of a value: etcd's own limit for a whole request, so that both stores take the same.
const VALUE_BYTES_MAX: usize = 3 << 19;

/// A key that nobody writes.
const NO_KEY: &str = "\0";

/// Client certificates for etcd, all PEM.
#[derive(Clone, Default)]
pub struct EtcdTls {
    pub authority: Option<Vec<u8>>,
    /// Certificate and key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// A store on etcd. Cheap to clone; all clones share one connection.
#[derive(Clone)]
pub struct EtcdStore {
    client: Arc<RwLock<Client>>,
    endpoints: Arc<[String]>,
    names: String,
}

impl EtcdStore {
    /// Connects to the members at `endpoints` (`https://host:port`).
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] if no member answers.
    pub async fn connect(endpoints: &[String], tls: EtcdTls) -> Result<Self, StoreError> {
        let store = Self {
            client: Arc::new(RwLock::new(open(endpoints, tls).await?)),
            endpoints: endpoints.into(),
            names: endpoints.join(","),
        };
        // The client connects when it is first used: find out now whether anybody is there.
        store.revision().await?;
        Ok(store)
    }

    /// From now on calls go over a connection of their own with other certificates; those begun before, watches too, are
    /// left to end.
    ///
    /// # Errors
    /// The certificates can't be used: everything stays as it was.
    pub async fn present(&self, tls: EtcdTls) -> Result<(), StoreError> {
        let client = open(&self.endpoints, tls).await?;
        *self.client.write() = client;
        Ok(())
    }

    fn leases(&self) -> LeaseClient {
        self.client.read().lease_client()
    }

    /// Creates a lease with a name of the caller's choice.
    pub async fn lease_grant_as(&self, lease: LeaseId, ttl_seconds: u64) -> Result<(), StoreError> {
        let ttl = i64::try_from(ttl_seconds).unwrap_or(i64::MAX);
        let options = LeaseGrantOptions::new().with_id(lease.0);
        let granted = self.leases().grant(ttl, Some(options)).await;
        granted.map(|_| ()).map_err(|error| self.fail(error))
    }

    /// As large an answer as etcd gives: a cluster's objects are more than the 4 MB that a client takes unasked.
    fn keys(&self) -> KvClient {
        self.client
            .read()
            .kv_client()
            .max_decoding_message_size(usize::MAX)
    }

    /// Calls again while that does no harm: an etcd that is being restarted is waited for.
    async fn patiently<T, F>(
        harmless: fn(&etcd_client::Error) -> bool,
        call: impl Fn() -> F,
    ) -> Result<T, etcd_client::Error>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let deadline = Instant::now() + CALL_TIMEOUT;
        loop {
            match call().await {
                Err(error) if harmless(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(CONNECT_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    fn fail(&self, error: etcd_client::Error) -> StoreError {
        convert::error(&self.names, error)
    }

    /// The oldest readable revision. etcd tells it only to a watch that asks for an older one.
    async fn oldest(&self, requested: Revision) -> Result<Revision, StoreError> {
        let from = Some(Revision(requested.0.max(1)));
        let refusal = match self
            .watch(WatchRequest::prefix("", from).without_previous())
            .await
        {
            Err(refusal) => Err(refusal),
            Ok(mut stream) => stream.recv().await.unwrap_or(Err(StoreError::Closed)),
        };
        match refusal {
            Err(StoreError::Compacted { oldest, .. }) => Ok(oldest),
            Err(error) => Err(error),
            // It was not compacted after all.
            Ok(_) => Ok(requested),
        }
    }

    /// Fills in what etcd leaves out of a refusal.
    async fn explain(&self, error: StoreError, requested: Revision) -> StoreError {
        let explained = match error {
            StoreError::Compacted { .. } => self
                .oldest(requested)
                .await
                .map(|oldest| StoreError::Compacted { requested, oldest }),
            StoreError::FutureRevision { .. } => self
                .revision()
                .await
                .map(|current| StoreError::FutureRevision { requested, current }),
            other => Ok(other),
        };
        explained.unwrap_or_else(|failure| failure)
    }
}

/// A client, which connects when it is first used.
async fn open(endpoints: &[String], tls: EtcdTls) -> Result<Client, StoreError> {
    let mut options = ConnectOptions::new()
        .with_timeout(CALL_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_keep_alive(KEEP_ALIVE, CALL_TIMEOUT)
        // A server sends clients away that ask again and again while nothing is at stake (`too_many_pings`).
        .with_keep_alive_while_idle(false);
    if tls.authority.is_some() || tls.identity.is_some() {
        let mut settings = TlsOptions::new();
        if let Some(authority) = tls.authority {
            settings = settings.ca_certificate(Certificate::from_pem(authority));
        }
        if let Some((certificate, key)) = tls.identity {
            settings = settings.identity(Identity::from_pem(certificate, key));
        }
        options = options.with_tls(settings);
    }
    Client::connect(endpoints, Some(options))
        .await
        .map_err(|error| convert::error(&endpoints.join(","), error))
}

#[async_trait]
impl Store for EtcdStore {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        let (key, options) = convert::get(&request);
        // What only reads can be asked again.
        let answer = Self::patiently(convert::is_silence, || {
            let (mut keys, key, options) = (self.keys(), key.clone(), options.clone());
            async move { keys.get(key, Some(options)).await }
        });
        match answer.await {
            Ok(answer) => convert::range_response(answer.0),
            Err(error) => Err(self
                .explain(self.fail(error), request.revision.unwrap_or_default())
                .await),
        }
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        // What etcd would refuse in other words, and what it would take but the embedded store not.
        validate::txn(&txn, VALUE_BYTES_MAX)?;
        let answer = Self::patiently(convert::is_unsent, || {
            // Here the values are shared; etcd's request has its own copy of them, which only an attempt needs.
            let (mut keys, txn) = (self.keys(), convert::txn(txn.clone()));
            async move { keys.txn(txn).await }
        });
        match answer.await {
            Ok(answer) => convert::txn_response(answer.0),
            Err(error) if convert::is_unknown_lease(&error) => {
                let lease = convert::first_lease(&txn);
                Err(StoreError::LeaseNotFound(lease.map_or(0, |lease| lease.0)))
            }
            Err(error) => match convert::first_kept(&txn) {
                Some(key) if convert::is_unknown_key(&error) => Err(StoreError::KeyNotFound(key)),
                _ => Err(self.fail(error)),
            },
        }
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError> {
        let client = self.client.read().watch_client();
        let client = client.max_decoding_message_size(usize::MAX);
        watch::start(client, request, self.names.clone()).await
    }

    async fn lease_grant(&self, ttl_seconds: u64) -> Result<LeaseId, StoreError> {
        let ttl = i64::try_from(ttl_seconds).unwrap_or(i64::MAX);
        let granted = self.leases().grant(ttl, None).await;
        let answer = granted.map_err(|e| self.fail(e))?;
        Ok(LeaseId(answer.id()))
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<u64, StoreError> {
        // Opening the stream renews once, and is refused for a lease that isn't there; only a later
        // answer tells the time to live.
        let (mut keeper, mut answers) = match self.leases().keep_alive(lease.0).await {
            Ok(stream) => stream,
            Err(error) if convert::is_unknown_lease(&error) => {
                return Err(StoreError::LeaseNotFound(lease.0));
            }
            Err(error) => return Err(self.fail(error)),
        };
        keeper.keep_alive().await.map_err(|e| self.fail(e))?;
        let answer = answers
            .message()
            .await
            .map_err(|e| self.fail(e))?
            .ok_or(StoreError::Closed)?;
        match u64::try_from(answer.ttl()) {
            Ok(ttl) if ttl > 0 => Ok(ttl),
            _ => Err(StoreError::LeaseNotFound(lease.0)),
        }
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        match self.leases().revoke(lease.0).await {
            Ok(_) => Ok(()),
            Err(error) if convert::is_unknown_lease(&error) => Err(StoreError::LeaseNotFound(lease.0)),
            Err(error) => Err(self.fail(error)),
        }
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let to = i64::try_from(revision.0).unwrap_or(i64::MAX);
        let options = CompactionOptions::new().with_physical();
        let Err(error) = self.keys().compact(to, Some(options)).await else {
            return Ok(());
        };
        match self.explain(self.fail(error), revision).await {
            // Done before: nothing is left to do.
            StoreError::Compacted { oldest, .. } if oldest == revision => Ok(()),
            error => Err(error),
        }
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        // A linearizable read of next to nothing: its answer carries the revision.
        let nothing = RangeRequest {
            count_only: true,
            ..RangeRequest::key(NO_KEY)
        };
        Ok(self.range(nothing).await?.revision)
    }

    async fn status(&self) -> Result<StoreStatus, StoreError> {
        let mut maintenance = self.client.read().maintenance_client();
        let status = maintenance.status().await.map_err(|e| self.fail(e))?;
        let everything = RangeRequest {
            count_only: true,
            ..RangeRequest::prefix("")
        };
        let counted = self.range(everything).await?;
        Ok(StoreStatus {
            revision: counted.revision,
            compacted: None,
            size: u64::try_from(status.db_size()).unwrap_or(0),
            in_use: u64::try_from(status.raft_used_db_size()).unwrap_or(0),
            keys: counted.count as u64,
        })
    }
}
