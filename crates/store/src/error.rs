//! What can go wrong in a store.
use crate::key::Key;
use crate::model::Revision;
use std::path::PathBuf;

/// Why a store call failed. Nothing was written, except that after [`StoreError::Io`],
/// [`StoreError::Unreachable`] and [`StoreError::Closed`] the outcome of a write is unknown: read before you try again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("revision {requested} has been compacted; the oldest readable one is {oldest}")]
    Compacted { requested: Revision, oldest: Revision },
    #[error("revision {requested} lies in the future; the store is at {current}")]
    FutureRevision { requested: Revision, current: Revision },
    #[error("no lease {0:x}")]
    LeaseNotFound(i64),
    #[error("lease {0:x} exists already")]
    LeaseExists(i64),
    #[error("{0} does not exist, so there is nothing of it to keep")]
    KeyNotFound(Key),
    #[error("one transaction changes {0} twice")]
    DuplicateKey(Key),
    #[error("the store at {path} is in use by another process ({holder}); stop it or use another --root")]
    Locked { path: PathBuf, holder: String },
    #[error("there is no store in {path}")]
    NoStore { path: PathBuf },
    #[error("the disk under {path} is full: nothing was written; reads go on. Free some space, then retry")]
    DiskFull { path: PathBuf },
    #[error("the store at {path} failed: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error(
        "the store at {path} cannot be used: {reason}. Mount it read-write, or give it to the user of orlop"
    )]
    NotWritable { path: PathBuf, reason: String },
    #[error("the store at {path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "the store at {path} is damaged and takes no writes; {reason}. Go back to a backup with `orlop store restore`, \
         or go on without what is lost with `orlop store repair`"
    )]
    ReadOnly { path: PathBuf, reason: String },
    #[error(
        "the store at {path} is damaged and has lost {keys}. Go back to a backup with `orlop store restore`, or go on \
         without them with `orlop store repair --drop-damaged`"
    )]
    Lost { path: PathBuf, keys: String },
    #[error("the store at {path} has format {found}; this orlop reads up to {supported}. Use a newer orlop")]
    NewerFormat {
        path: PathBuf,
        found: u32,
        supported: u32,
    },
    #[error("the value of {key} has {size} bytes; the limit is {limit}")]
    TooLarge { key: Key, size: usize, limit: usize },
    #[error("the value of {key} cannot be opened: {reason}")]
    Sealed { key: Key, reason: String },
    #[error("the request is not valid: {0}")]
    Invalid(String),
    #[error("etcd at {endpoints}: {reason}")]
    Remote { endpoints: String, reason: String },
    /// The outcome of a write is unknown.
    #[error("etcd at {endpoints} does not answer: {reason}")]
    Unreachable { endpoints: String, reason: String },
    #[error("the store is closed")]
    Closed,
}
