//! What is counted, and `/metrics`: the families of etcd's that dashboards and alerts look at. Calls: [`crate::calls`].
use crate::calls::Calls;
use crate::{CLUSTER_VERSION, ETCD_VERSION, Face};
use orlop_metrics::text::{Kind, Sample, Text};
use orlop_store::embedded::SyncTimes;
use orlop_store::{OpResponse, Store, StoreError};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
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
    /// Bytes that clients have sent, and that they were sent.
    pub received: Counter,
    pub sent: Counter,
    pub calls: Calls,
}

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
}

/// A family of one number.
fn single(text: &mut Text, name: &str, help: &str, kind: Kind, value: u64) {
    labelled(text, name, help, kind, &[], value);
}

fn labelled(text: &mut Text, name: &str, help: &str, kind: Kind, labels: &[(&str, &str)], value: u64) {
    text.family(name, help, kind, [Sample::now(labels.to_vec(), value as f64)]);
}

/// What the process costs, counted from now on.
pub fn process() -> Registry {
    let mut registry = Registry::default();
    orlop_metrics::process::register(&mut registry);
    registry
}

/// What is shown where there is no quota. Alerts compare sizes with it: 0 would be exceeded by any.
const NO_QUOTA: u64 = i64::MAX as u64;

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
                "Bytes that records may take",
                self.quota.bytes().unwrap_or(NO_QUOTA),
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
        let counters: [(&str, &str, u64); 18] = [
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
            (
                "etcd_network_client_grpc_received_bytes_total",
                "Bytes that clients have sent",
                counted.received.get(),
            ),
            (
                "etcd_network_client_grpc_sent_bytes_total",
                "Bytes that clients were sent",
                counted.sent.get(),
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
        let SyncTimes { journal, tree } = self.store.sync_times();
        for (name, help, times) in [
            (
                "etcd_disk_wal_fsync_duration_seconds",
                "Data syncs of the journal, one for each batch of writes",
                journal,
            ),
            (
                "etcd_disk_backend_commit_duration_seconds",
                "Durable commits of the tree",
                tree,
            ),
        ] {
            text.histogram(name, help, &times.buckets, times.count, times.sum);
        }
        self.counters.calls.write(&mut text);
        // Writing to a String cannot fail.
        let process = orlop_metrics::exposition::render(&self.process).unwrap_or_default();
        Ok(text.finish() + &process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Member;
    use etcd_client::proto::PbPutRequest;
    use orlop_store::embedded::EmbeddedStore;

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

    #[tokio::test(flavor = "multi_thread")]
    async fn what_alerts_look_at_is_there() {
        let store = EmbeddedStore::in_memory().unwrap();
        let face = Face::new(store, Member::named("m"));
        let put = PbPutRequest {
            key: b"a".to_vec(),
            ..PbPutRequest::default()
        };
        face.put_key(put).await.unwrap();
        let text = face.metrics().await.unwrap();
        let value = |series: &str| {
            let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
            let found = lines.find(|(name, _)| *name == series);
            found
                .unwrap_or_else(|| panic!("{series} is missing in\n{text}"))
                .1
        };
        for (series, expected) in [
            ("etcd_server_has_leader", "1"),
            ("etcd_server_leader_changes_seen_total", "1"),
            ("etcd_server_proposals_failed_total", "0"),
            ("etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"}", "1"),
            ("etcd_disk_wal_fsync_duration_seconds_count", "1"),
            ("etcd_disk_backend_commit_duration_seconds_count", "0"),
        ] {
            assert_eq!(value(series), expected, "{series}");
        }
        for series in [
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"}",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"8.192\"}",
            "etcd_disk_wal_fsync_duration_seconds_sum",
            "etcd_disk_backend_commit_duration_seconds_bucket{le=\"0.256\"}",
            "etcd_network_client_grpc_received_bytes_total",
            "etcd_network_client_grpc_sent_bytes_total",
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            "process_resident_memory_bytes",
        ] {
            value(series);
        }
        let number = |series: &str| value(series).parse::<f64>().unwrap();
        // Without a quota no size is near it.
        let share = number("etcd_mvcc_db_total_size_in_bytes") / number("etcd_server_quota_backend_bytes");
        assert!(share < 0.01, "{share}");
    }
}
