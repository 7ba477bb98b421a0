//! What is counted, and `/metrics`: the families of etcd's that dashboards and alerts look at.
use crate::{CLUSTER_VERSION, ETCD_VERSION, Face};
use orlop_metrics::text::{Kind, Sample, Text};
use orlop_store::{OpResponse, Store, StoreError};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tonic::Code;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many of something there are.
#[derive(Clone, Debug, Default)]
pub struct Population(Arc<AtomicU64>);

impl Population {
    /// One more, until it is dropped.
    pub fn one(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One of a population.
#[derive(Debug)]
pub struct Counted(Population);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What has happened since the member began.
#[derive(Debug, Default)]
pub struct Counters {
    pub ranges: Counter,
    pub puts: Counter,
    pub deletes: Counter,
    pub txns: Counter,
    pub leases_granted: Counter,
    pub leases_revoked: Counter,
    pub leases_renewed: Counter,
    pub healthy: Counter,
    pub unhealthy: Counter,
    pub watch_streams: Population,
    pub watchers: Population,
    /// Of [`METHODS`].
    calls: [Calls; METHODS.len()],
}

/// Codes of gRPC, OK included.
const CODES: usize = 17;

/// Calls of a method.
#[derive(Debug, Default)]
struct Calls {
    started: Counter,
    handled: [Counter; CODES],
}

/// Service, method and kind of all calls that are answered; those that come most often first.
const METHODS: [(&str, &str, &str); 32] = [
    ("etcdserverpb.KV", "Range", "unary"),
    ("etcdserverpb.KV", "Txn", "unary"),
    ("etcdserverpb.KV", "Put", "unary"),
    ("etcdserverpb.KV", "DeleteRange", "unary"),
    ("etcdserverpb.KV", "Compact", "unary"),
    ("etcdserverpb.Watch", "Watch", "bidi_stream"),
    ("etcdserverpb.Lease", "LeaseGrant", "unary"),
    ("etcdserverpb.Lease", "LeaseKeepAlive", "bidi_stream"),
    ("etcdserverpb.Lease", "LeaseRevoke", "unary"),
    ("etcdserverpb.Lease", "LeaseTimeToLive", "unary"),
    ("etcdserverpb.Lease", "LeaseLeases", "unary"),
    ("etcdserverpb.Cluster", "MemberList", "unary"),
    ("etcdserverpb.Cluster", "MemberAdd", "unary"),
    ("etcdserverpb.Cluster", "MemberRemove", "unary"),
    ("etcdserverpb.Cluster", "MemberUpdate", "unary"),
    ("etcdserverpb.Cluster", "MemberPromote", "unary"),
    ("etcdserverpb.Maintenance", "Status", "unary"),
    ("etcdserverpb.Maintenance", "Alarm", "unary"),
    ("etcdserverpb.Maintenance", "Defragment", "unary"),
    ("etcdserverpb.Maintenance", "Hash", "unary"),
    ("etcdserverpb.Maintenance", "HashKV", "unary"),
    ("etcdserverpb.Maintenance", "Snapshot", "server_stream"),
    ("etcdserverpb.Maintenance", "MoveLeader", "unary"),
    ("v3lockpb.Lock", "Lock", "unary"),
    ("v3lockpb.Lock", "Unlock", "unary"),
    ("v3electionpb.Election", "Campaign", "unary"),
    ("v3electionpb.Election", "Proclaim", "unary"),
    ("v3electionpb.Election", "Leader", "unary"),
    ("v3electionpb.Election", "Observe", "server_stream"),
    ("v3electionpb.Election", "Resign", "unary"),
    ("grpc.health.v1.Health", "Check", "unary"),
    ("grpc.health.v1.Health", "Watch", "server_stream"),
];

impl Counters {
    /// Notes what a transaction did; the operations in it count as well.
    pub fn transaction(&self, responses: &[OpResponse]) {
        self.txns.add(1);
        self.operations(responses);
    }

    pub fn operations(&self, responses: &[OpResponse]) {
        for response in responses {
            match response {
                OpResponse::Range(_) => self.ranges.add(1),
                OpResponse::Put { .. } => self.puts.add(1),
                OpResponse::Delete { .. } => self.deletes.add(1),
                OpResponse::Txn(nested) => self.operations(&nested.responses),
            }
        }
    }

    /// Notes that a call of `/package.Service/Method` has begun, if it is one of those that are counted.
    pub fn started(self: &Arc<Self>, path: &str) -> Option<Running> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let index = METHODS
            .iter()
            .position(|(of, name, _)| *of == service && *name == method)?;
        self.calls[index].started.add(1);
        Some(Running {
            counters: self.clone(),
            index,
            code: Code::Cancelled,
        })
    }
}

/// A call that is under way. It counts as cancelled, unless it is said how it ended.
#[derive(Debug)]
pub struct Running {
    counters: Arc<Counters>,
    /// In [`METHODS`].
    index: usize,
    code: Code,
}

impl Running {
    pub fn ended(&mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.counters.calls[self.index].handled[self.code as usize].add(1);
    }
}

/// Codes as Go's gRPC writes them.
fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// A family of one number.
fn single(text: &mut Text, name: &str, help: &str, kind: Kind, value: u64) {
    labelled(text, name, help, kind, &[], value);
}

fn labelled(text: &mut Text, name: &str, help: &str, kind: Kind, labels: &[(&str, &str)], value: u64) {
    let sample = Sample {
        labels: labels.to_vec(),
        value: value as f64,
        at: None,
    };
    text.family(name, help, kind, [sample]);
}

/// What the process costs, counted from now on.
pub fn process() -> Registry {
    let mut registry = Registry::default();
    orlop_metrics::process::register(&mut registry);
    registry
}

impl Face {
    /// The text that `/metrics` answers with.
    pub(crate) async fn metrics(&self) -> Result<String, StoreError> {
        use Kind::{Counter, Gauge};
        let status = self.store.status().await?;
        let mut text = Text::default();
        let id = format!("{:x}", self.member_id);
        let gauges: [(&str, &str, u64); 19] = [
            ("etcd_server_has_leader", "Whether there is a leader", 1),
            ("etcd_server_is_leader", "Whether it is this member", 1),
            ("etcd_server_is_learner", "Whether this member only learns", 0),
            (
                "etcd_server_proposals_committed_total",
                "Changes that are decided",
                status.revision.0,
            ),
            (
                "etcd_server_proposals_applied_total",
                "Changes that are applied",
                status.revision.0,
            ),
            ("etcd_server_proposals_pending", "Changes that wait", 0),
            (
                "etcd_server_quota_backend_bytes",
                "Bytes that records may take; 0: as many as the disk has",
                self.quota.bytes().unwrap_or(0),
            ),
            (
                "etcd_server_snapshot_apply_in_progress_total",
                "Whether a snapshot is taken over",
                0,
            ),
            (
                "etcd_mvcc_db_total_size_in_bytes",
                "Bytes on the disk",
                status.size,
            ),
            (
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "Bytes of these that are needed",
                status.in_use,
            ),
            (
                "etcd_mvcc_db_open_read_transactions",
                "Reads under way that the file has to wait for",
                0,
            ),
            ("etcd_debugging_mvcc_keys_total", "Keys", status.keys),
            (
                "etcd_debugging_mvcc_current_revision",
                "The newest revision",
                status.revision.0,
            ),
            (
                "etcd_debugging_mvcc_compact_revision",
                "The oldest readable revision",
                status.compacted.unwrap_or_default().0,
            ),
            (
                "etcd_debugging_mvcc_watch_stream_total",
                "Streams of watches",
                self.counters.watch_streams.get(),
            ),
            (
                "etcd_debugging_mvcc_watcher_total",
                "Watches",
                self.counters.watchers.get(),
            ),
            ("etcd_debugging_mvcc_slow_watcher_total", "Watches that lag", 0),
            ("etcd_debugging_auth_revision", "Revision of users and roles", 1),
            ("etcd_disk_defrag_inflight", "Whether the file is being cut", 0),
        ];
        for (name, help, value) in gauges {
            single(&mut text, name, help, Gauge, value);
        }
        let counted = &self.counters;
        let counters: [(&str, &str, u64); 16] = [
            ("etcd_server_leader_changes_seen_total", "Elections seen", 1),
            ("etcd_server_proposals_failed_total", "Changes that failed", 0),
            (
                "etcd_server_heartbeat_send_failures_total",
                "Signs of life that were not sent",
                0,
            ),
            ("etcd_server_slow_apply_total", "Changes that took long", 0),
            ("etcd_server_slow_read_indexes_total", "Reads that took long", 0),
            ("etcd_server_read_indexes_failed_total", "Reads that failed", 0),
            (
                "etcd_server_health_success",
                "Times that the member was found well",
                counted.healthy.get(),
            ),
            (
                "etcd_server_health_failures",
                "Times that it was not",
                counted.unhealthy.get(),
            ),
            ("etcd_mvcc_range_total", "Ranges", counted.ranges.get()),
            ("etcd_debugging_mvcc_range_total", "Ranges", counted.ranges.get()),
            ("etcd_mvcc_put_total", "Puts", counted.puts.get()),
            ("etcd_mvcc_delete_total", "Deletions", counted.deletes.get()),
            ("etcd_mvcc_txn_total", "Transactions", counted.txns.get()),
            (
                "etcd_debugging_lease_granted_total",
                "Leases granted",
                counted.leases_granted.get(),
            ),
            (
                "etcd_debugging_lease_revoked_total",
                "Leases revoked",
                counted.leases_revoked.get(),
            ),
            (
                "etcd_debugging_lease_renewed_total",
                "Renewals of leases",
                counted.leases_renewed.get(),
            ),
        ];
        for (name, help, value) in counters {
            single(&mut text, name, help, Counter, value);
        }
        let named = [
            (
                "etcd_server_version",
                "The release whose protocol is spoken",
                ("server_version", ETCD_VERSION),
            ),
            (
                "etcd_cluster_version",
                "The version of the cluster",
                ("cluster_version", CLUSTER_VERSION),
            ),
            (
                "etcd_server_id",
                "The id of this member",
                ("server_id", id.as_str()),
            ),
        ];
        for (name, help, label) in named {
            labelled(&mut text, name, help, Gauge, &[label], 1);
        }
        self.counters.write_calls(&mut text);
        // Writing to a String cannot fail.
        let process = orlop_metrics::exposition::render(&self.process).unwrap_or_default();
        Ok(text.finish() + &process)
    }
}

impl Counters {
    fn write_calls(&self, text: &mut Text) {
        let methods = || METHODS.iter().zip(&self.calls);
        let sample = |labels, count: &self::Counter| Sample {
            labels,
            value: count.get() as f64,
            at: None,
        };
        let started = methods().map(|((service, method, kind), calls)| {
            sample(of_call(service, method, kind).to_vec(), &calls.started)
        });
        text.family(
            "grpc_server_started_total",
            "Calls that have begun",
            Kind::Counter,
            started,
        );
        let handled = methods().flat_map(|((service, method, kind), calls)| {
            calls.handled.iter().enumerate().map(move |(code, count)| {
                let mut labels = vec![("grpc_code", name_of(Code::from_i32(code as i32)))];
                labels.extend(of_call(service, method, kind));
                sample(labels, count)
            })
        });
        text.family(
            "grpc_server_handled_total",
            "Calls that have ended",
            Kind::Counter,
            handled,
        );
    }
}

fn of_call<'m>(service: &'m str, method: &'m str, kind: &'m str) -> [(&'m str, &'m str); 3] {
    [
        ("grpc_method", method),
        ("grpc_service", service),
        ("grpc_type", kind),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_how_they_ended() {
        let counters = Arc::new(Counters::default());
        let mut put = counters.started("/etcdserverpb.KV/Put").unwrap();
        put.ended(Code::Ok);
        drop(put);
        let watch = counters.started("/etcdserverpb.Watch/Watch").unwrap();
        drop(watch);
        let _running = counters.started("/etcdserverpb.Watch/Watch").unwrap();
        let mut text = Text::default();
        counters.write_calls(&mut text);
        let text = text.finish();
        for line in [
            r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1"#,
            r#"grpc_server_handled_total{grpc_code="Canceled",grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 1"#,
            r#"grpc_server_started_total{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 2"#,
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing in\n{text}"
            );
        }
    }

    #[test]
    fn a_population_forgets_who_has_gone() {
        let watchers = Population::default();
        let (first, second) = (watchers.one(), watchers.one());
        assert_eq!(watchers.get(), 2);
        drop(first);
        assert_eq!(watchers.get(), 1);
        drop(second);
        assert_eq!(watchers.get(), 0);
    }
}
