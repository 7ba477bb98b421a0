//! From etcd's buckets to a new store.
use super::super::database::Db;
use super::super::directory;
use super::super::disk::FileDisk;
use super::super::fault::Fault;
use super::super::format::{self, Record, STATE_ROW, State};
use super::super::tree::Tree;
use super::super::versions::{self, Replacing};
use super::super::{DATABASE_FILE, Options, SystemClock};
use crate::snapshot::records::{self, RevisionKey, StoredKeyValue, StoredLease};
use crate::snapshot::{SnapshotError, check};
use crate::{EventKind, Revision, StoreError};
use orlop_bolt::{BoltFile, ReadError};
use prost::Message;
use redb::WriteTransaction;
use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Of etcd's revisions, which are signed numbers, there is room for as many more.
const REVISION_MAX: u64 = i64::MAX as u64 / 2;

/// What a restored store holds.
#[derive(Clone, Copy, Debug)]
pub struct Restored {
    pub revision: Revision,
    pub keys: u64,
    pub leases: u64,
    /// False: the file was a bare database of etcd, without a checksum of its own.
    pub verified: bool,
}

pub(super) fn restore(from: &Path, directory: &Path, options: &Options) -> Result<Restored, SnapshotError> {
    let verified = check::checksum(from)?;
    if std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(SnapshotError::TargetExists {
            path: directory.to_owned(),
        });
    }
    let directory = std::path::absolute(directory).map_err(SnapshotError::io(directory))?;
    let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
        return Err(SnapshotError::TargetExists { path: directory });
    };
    directory::make_usual(parent).map_err(SnapshotError::io(parent))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".restoring-{}", std::process::id()));
    let unfinished = Unfinished(parent.join(hidden));
    directory::make_private(&unfinished.0).map_err(SnapshotError::io(&unfinished.0))?;
    let restored = fill(from, &unfinished.0, options, verified)?;
    sync(&unfinished.0)?;
    // An empty directory gives way.
    std::fs::rename(&unfinished.0, &directory).map_err(SnapshotError::io(&directory))?;
    sync(parent)?;
    Ok(restored)
}

/// Has the system keep what a directory has now.
pub(super) fn sync(directory: &Path) -> Result<(), SnapshotError> {
    directory::sync(directory).map_err(SnapshotError::io(directory))
}

/// A directory that goes away unless it has been given its name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn fill(from: &Path, directory: &Path, options: &Options, verified: bool) -> Result<Restored, SnapshotError> {
    let file = File::open(from).map_err(SnapshotError::io(from))?;
    let told = |error: ImportError| match error {
        ImportError::Store(error) => SnapshotError::Store(error),
        ImportError::Read(ReadError::Io(source)) => SnapshotError::io(from)(source),
        ImportError::Read(error) => SnapshotError::NotASnapshot {
            path: from.to_owned(),
            reason: error.to_string(),
        },
        ImportError::Content(reason) => SnapshotError::NotASnapshot {
            path: from.to_owned(),
            reason,
        },
    };
    let bolt = BoltFile::open(&file).map_err(|error| told(error.into()))?;
    let disk = Arc::new(FileDisk::new(directory.join(DATABASE_FILE)));
    let db = Db::open(disk, Arc::new(SystemClock::default()), options)?;
    let fault = |fault: Fault| ImportError::Store(db.error(fault));
    let txn = db.begin_durable_write().map_err(|error| told(fault(error)))?;
    let (state, leases) = Import::begin(&txn)
        .map_err(fault)
        .and_then(|import| import.run(&bolt, &fault))
        .map_err(told)?;
    txn.commit().map_err(|error| told(fault(error.into())))?;
    db.close()?;
    Ok(Restored {
        revision: Revision(state.revision),
        keys: state.keys,
        leases,
        verified,
    })
}

enum ImportError {
    Store(StoreError),
    Read(ReadError),
    /// What the file says makes no sense.
    Content(String),
}

impl From<ReadError> for ImportError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

struct Import<'t> {
    tree: Tree<'t>,
    known_leases: HashSet<i64>,
    state: State,
    /// The change that came last.
    before: Option<RevisionKey>,
}

impl<'t> Import<'t> {
    fn begin(txn: &'t WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            tree: Tree::open(txn)?,
            known_leases: HashSet::new(),
            state: State::empty(),
            before: None,
        })
    }

    fn run(
        mut self,
        bolt: &BoltFile<'_, File>,
        fault: &impl Fn(Fault) -> ImportError,
    ) -> Result<(State, u64), ImportError> {
        let message = |error: prost::DecodeError| ImportError::Content(error.to_string());
        bolt.for_each(records::LEASES, |_, value| {
            let lease = StoredLease::decode(value).map_err(message)?;
            self.lease(&lease).map_err(fault)
        })?;
        bolt.for_each(records::META, |key, value| {
            let compaction = [records::FINISHED_COMPACTION, records::SCHEDULED_COMPACTION];
            if compaction.iter().any(|name| name.as_bytes() == key)
                && let Some(at) = RevisionKey::decode(value).filter(|at| at.revision <= REVISION_MAX)
            {
                self.state.compacted = self.state.compacted.max(at.revision);
            }
            Ok::<_, ImportError>(())
        })?;
        let found = bolt.for_each(records::KEYS, |key, value| {
            let at = self.follows(key).map_err(ImportError::Content)?;
            let kv = StoredKeyValue::decode(value).map_err(message)?;
            if kv.key.is_empty() {
                // No change: `etcdutl snapshot restore --bump-revision` has the next one come behind this revision.
                self.state.revision = self.state.revision.max(at.revision);
                return Ok(());
            }
            self.version(at, &kv).map_err(fault)
        })?;
        if !found {
            return Err(ImportError::Content(format!(
                "it has no bucket called {:?}",
                records::KEYS
            )));
        }
        // What was compacted last may have been the end of history.
        self.state.revision = self.state.revision.max(self.state.compacted);
        self.tree
            .meta
            .insert(STATE_ROW, self.state.encode().as_slice())
            .map_err(|error| fault(error.into()))?;
        Ok((self.state, self.known_leases.len() as u64))
    }

    fn lease(&mut self, lease: &StoredLease) -> Result<(), Fault> {
        self.tree
            .leases
            .insert(lease.id, u64::try_from(lease.ttl_seconds).unwrap_or(1).max(1))?;
        self.state.count_on_from(lease.id);
        self.known_leases.insert(lease.id);
        Ok(())
    }

    /// Which change comes next: later than all before it.
    fn follows(&mut self, key: &[u8]) -> Result<RevisionKey, String> {
        let at =
            RevisionKey::decode(key).filter(|at| at.revision <= REVISION_MAX && at.index < u32::MAX.into());
        let at = at.ok_or_else(|| format!("{} is no revision", key.escape_ascii()))?;
        let place = |at: RevisionKey| (at.revision, at.index);
        if self.before.is_some_and(|before| place(before) >= place(at)) {
            return Err(format!("revision {} comes after a later one", at.revision));
        }
        self.before = Some(at);
        Ok(at)
    }

    /// The next change of history.
    fn version(&mut self, at: RevisionKey, kv: &StoredKeyValue) -> Result<(), Fault> {
        let kind = if at.is_deletion {
            EventKind::Delete
        } else {
            EventKind::Put
        };
        let replaced = versions::newest(&self.tree.keys, &kv.key)?;
        let previous = replaced.as_ref().filter(|version| version.kind == EventKind::Put);
        match (previous, kind) {
            (None, EventKind::Put) => self.state.keys += 1,
            (Some(_), EventKind::Delete) => self.state.keys -= 1,
            (Some(_), EventKind::Put) | (None, EventKind::Delete) => {}
        }
        if let Some(before) = previous.filter(|version| version.lease != 0) {
            self.tree
                .lease_keys
                .remove(format::lease_key(before.lease, &kv.key).as_slice())?;
        }
        if self.known_leases.contains(&kv.lease) {
            self.tree
                .lease_keys
                .insert(format::lease_key(kv.lease, &kv.key).as_slice(), ())?;
        }
        let record = Record {
            kind,
            create_revision: kv.create_revision as u64,
            version: kv.version as u64,
            lease: kv.lease,
            value: &kv.value,
        };
        let index = u32::try_from(at.index).unwrap_or(u32::MAX);
        let rows = Replacing::new(&kv.key, at.revision, index, &record, replaced.as_ref());
        if let Some(row) = &rows.replaced {
            let removed = self.tree.keys.remove(row.as_slice())?;
            let removed = removed.map_or(0, |record| row.len() + record.value().len());
            self.state.record_bytes -= removed as u64;
        }
        self.tree
            .keys
            .insert(rows.row.as_slice(), rows.record.as_slice())?;
        self.tree
            .log
            .insert(rows.position.as_slice(), rows.entry.as_slice())?;
        self.state.record_bytes += rows.bytes();
        self.state.revision = self.state.revision.max(at.revision);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::EmbeddedStore;
    use crate::{Op, RangeRequest, Store, Txn};
    use orlop_bolt::{BucketPlan, Plan};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_revision_that_etcds_tool_has_bumped_is_no_key() {
        let place = tempfile::tempdir().unwrap();
        let (file, directory) = (place.path().join("db"), place.path().join("store"));
        let at = |revision| {
            let key = RevisionKey {
                revision,
                index: 0,
                is_deletion: false,
            };
            key.encode()
        };
        let kv = StoredKeyValue {
            key: "a".into(),
            create_revision: 2,
            mod_revision: 2,
            version: 1,
            ..StoredKeyValue::default()
        };
        let keys = [(at(2), kv.encode_to_vec()), (at(1002), Vec::new())];
        let meta = [(records::SCHEDULED_COMPACTION.as_bytes().to_vec(), at(1002))];
        let (mut of_keys, mut of_meta) = (BucketPlan::new(records::KEYS), BucketPlan::new(records::META));
        for (key, value) in &keys {
            of_keys.add(key, value.len()).unwrap();
        }
        for (key, value) in &meta {
            of_meta.add(key, value.len()).unwrap();
        }
        let plan = Plan::new(vec![of_keys, of_meta]).unwrap();
        let mut writer = plan.write(Vec::new()).unwrap();
        for (key, value) in keys.iter().chain(&meta) {
            writer.put(key, value).unwrap();
        }
        std::fs::write(&file, writer.finish().unwrap()).unwrap();

        let restored = restore(&file, &directory, &Options::default()).unwrap();
        assert_eq!((restored.revision, restored.keys), (Revision(1002), 1));
        let store = EmbeddedStore::open(&directory, Options::default()).unwrap();
        let all = store.range(RangeRequest::prefix("")).await.unwrap();
        let names: Vec<String> = all.kvs.iter().map(|kv| kv.key.to_string()).collect();
        assert_eq!(names, ["a"]);
        let before = RangeRequest {
            revision: Some(Revision(1001)),
            ..RangeRequest::prefix("")
        };
        let refused = store.range(before).await.unwrap_err();
        assert!(matches!(refused, StoreError::Compacted { .. }), "{refused}");
        let put = Txn::default().then(Op::put("b", "1".into(), None));
        assert_eq!(store.txn(put).await.unwrap().revision, Revision(1003));
    }
}
