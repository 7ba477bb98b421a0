//! The checksum that etcd makes of history: members of one cluster compare themselves by it, and a saved snapshot can
//! be compared with the store it is of.
use super::super::format::State;
use super::super::read::check_revision;
use super::super::{EmbeddedStore, fault::Fault};
use super::export::Tables;
use crate::snapshot::records::{self, RevisionKey};
use crate::{Revision, StoreError};
use bytes::Bytes;
use prost::Message;
use std::collections::{HashMap, HashSet};

/// A checksum, and of what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistorySum {
    pub sum: u32,
    /// The newest revision that is in it.
    pub revision: Revision,
    /// Up to where history had been forgotten, if ever.
    pub compacted: Option<Revision>,
    /// Where the store stood.
    pub current: Revision,
}

impl EmbeddedStore {
    /// The checksum of history up to a revision, or of all of it. What compaction takes away is not part of it, whether
    /// it has been taken away already or not.
    pub async fn history_sum(&self, up_to: Option<Revision>) -> Result<HistorySum, StoreError> {
        let shared = self.shared.clone();
        self.off_reactor(move || {
            let snapshot = shared.db.snapshot()?;
            let tables = Tables::open(&snapshot).map_err(|fault| shared.db.error(fault))?;
            let state = tables.state();
            let up_to = up_to.map_or(state.revision, |revision| revision.0);
            check_revision(Revision(up_to), state)?;
            let sum = sum(&tables, up_to).map_err(|fault| shared.db.error(fault))?;
            let was_compacted = state.compacted > State::empty().compacted;
            Ok(HistorySum {
                sum,
                revision: Revision(up_to),
                compacted: was_compacted.then_some(Revision(state.compacted)),
                current: Revision(state.revision),
            })
        })
        .await
    }
}

fn sum(tables: &Tables, up_to: u64) -> Result<u32, Fault> {
    let compacted = tables.state().compacted;
    let mut newest: HashMap<Bytes, RevisionKey> = HashMap::new();
    tables.versions::<Fault>(&mut |at, version| {
        if at.revision <= up_to {
            newest.insert(version.key, at);
        }
        Ok(())
    })?;
    let kept: HashSet<(u64, u64)> = newest
        .into_values()
        .filter(|at| !at.is_deletion)
        .map(|at| (at.revision, at.index))
        .collect();
    let mut sum = crc32c::crc32c(records::KEYS.as_bytes());
    tables.versions::<Fault>(&mut |at, version| {
        let is_forgotten =
            at.revision <= compacted && !kept.is_empty() && !kept.contains(&(at.revision, at.index));
        // A deletion that compaction stops at counts for none, whether it was kept or not.
        let is_last_deletion = at.revision == compacted && at.is_deletion;
        if at.revision <= up_to && !is_forgotten && !is_last_deletion {
            sum = crc32c::crc32c_append(sum, &at.encode());
            sum = crc32c::crc32c_append(sum, &version.encode_to_vec());
        }
        Ok(())
    })?;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Op, Store, Txn};

    async fn put(store: &EmbeddedStore, key: &str, value: &'static str) {
        let put = Op::put(key, Bytes::from_static(value.as_bytes()), None);
        store.txn(Txn::default().then(put)).await.unwrap();
    }

    /// The numbers are those of an etcd with the same history.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_sum_is_etcds() {
        let store = EmbeddedStore::in_memory().unwrap();
        put(&store, "a", "1").await;
        put(&store, "b", "2").await;
        put(&store, "a", "3").await;
        let all = store.history_sum(None).await.unwrap();
        assert_eq!((all.revision, all.compacted), (Revision(4), None));
        assert_eq!(all.sum, 2_069_675_932);
        let before = store.history_sum(Some(Revision(3))).await.unwrap();
        assert_ne!(before.sum, all.sum);
        put(&store, "a", "3").await;
        store.compact(Revision(3)).await.unwrap();
        assert_eq!(store.history_sum(None).await.unwrap().sum, 2_761_503_243);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_compacted_leaves_the_sum_before_it_is_taken_away() {
        let store = EmbeddedStore::in_memory().unwrap();
        put(&store, "a", "1").await;
        put(&store, "a", "2").await;
        store.compact(Revision(3)).await.unwrap();
        let compacted = store.history_sum(None).await.unwrap();
        assert_eq!(compacted.compacted, Some(Revision(3)));
        store.defragment().await.unwrap();
        assert_eq!(store.history_sum(None).await.unwrap().sum, compacted.sum);
        assert!(matches!(
            store.history_sum(Some(Revision(2))).await,
            Err(StoreError::Compacted { .. })
        ));
        assert!(matches!(
            store.history_sum(Some(Revision(9))).await,
            Err(StoreError::FutureRevision { .. })
        ));
    }
}
