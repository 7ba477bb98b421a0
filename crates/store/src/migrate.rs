//! From the embedded store to a running etcd.
//!
//! Over its API etcd counts revisions anew, so keys come in the order in which they were last changed,
//! and their own revisions and versions begin again. Snapshots keep them: see [`crate::snapshot`].
use crate::embedded::{EmbeddedStore, Image};
use crate::etcd::EtcdStore;
use crate::{KeyValue, LeaseId, Op, RangeRequest, Store, StoreError, Txn};

/// etcd takes 128 operations in one transaction, unless it is told otherwise,
const BATCH_OPS_MAX: usize = 100;
/// and a request of 1.5 MiB.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// What has been moved.
#[derive(Clone, Copy, Debug)]
pub struct Migrated {
    pub keys: usize,
    pub leases: usize,
}

/// Refuses an etcd that has something already.
pub async fn check_empty(target: &EtcdStore) -> Result<(), StoreError> {
    match count(target).await? {
        0 => Ok(()),
        there => Err(StoreError::Invalid(format!(
            "the etcd to migrate to has {there} keys already: give an empty one"
        ))),
    }
}

async fn count(target: &EtcdStore) -> Result<usize, StoreError> {
    let request = RangeRequest {
        count_only: true,
        ..RangeRequest::prefix("")
    };
    Ok(target.range(request).await?.count)
}

/// Writes everything that exists in the store now to an etcd that has nothing yet.
pub async fn to_etcd(source: &Image, target: &EtcdStore) -> Result<Migrated, StoreError> {
    let source = source.store()?;
    let mut kvs = source.range(RangeRequest::prefix("")).await?.kvs;
    let leases = leases(&source).await?;
    for (lease, ttl_seconds) in &leases {
        target.lease_grant_as(*lease, *ttl_seconds).await?;
    }
    let keys = kvs.len();
    kvs.sort_by_key(|kv| kv.mod_revision);
    for batch in batches(kvs) {
        let mut txn = Txn::default();
        for kv in batch {
            let lease = kv
                .lease
                .filter(|lease| leases.iter().any(|(there, _)| there == lease));
            txn = txn.then(Op::put(kv.key, kv.value, lease));
        }
        target.txn(txn).await?;
    }
    let arrived = count(target).await?;
    if arrived != keys {
        return Err(StoreError::Invalid(format!(
            "{keys} keys were written to etcd, but it has {arrived}: somebody else writes to it"
        )));
    }
    Ok(Migrated {
        keys,
        leases: leases.len(),
    })
}

async fn leases(source: &EmbeddedStore) -> Result<Vec<(LeaseId, u64)>, StoreError> {
    let mut leases = Vec::new();
    for lease in source.leases().await? {
        leases.push((lease, source.lease_info(lease).await?.ttl_seconds));
    }
    Ok(leases)
}

/// Cuts what is to be written into transactions that etcd takes.
fn batches(kvs: Vec<KeyValue>) -> Vec<Vec<KeyValue>> {
    let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for kv in kvs {
        let more = kv.key.len() + kv.value.len();
        if !batch.is_empty() && (batch.len() == BATCH_OPS_MAX || bytes + more > BATCH_BYTES_MAX) {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += more;
        batch.push(kv);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Revision;
    use bytes::Bytes;

    #[test]
    fn a_batch_is_bounded_in_number_and_size() {
        let cases: [(&[usize], &[usize]); 4] = [
            (&[], &[]),
            (&[10; 250], &[100, 100, 50]),
            (&[600_000, 600_000, 10], &[1, 2]),
            (&[1_500_000, 10, 1_500_000], &[1, 1, 1]),
        ];
        for (sizes, expected) in cases {
            let kvs = sizes.iter().map(|size| KeyValue {
                key: "k".into(),
                value: Bytes::from(vec![0; *size]),
                create_revision: Revision(1),
                mod_revision: Revision(1),
                version: 1,
                lease: None,
            });
            let lens: Vec<usize> = batches(kvs.collect()).iter().map(Vec::len).collect();
            assert_eq!(lens, expected);
        }
    }
}
