//! What can go wrong below the store, and what its callers are told.
use crate::StoreError;
use std::io;
use std::path::Path;

/// A failure inside the store, before it has the words of a [`StoreError`].
#[derive(Debug)]
pub(super) enum Fault {
    Engine(Box<redb::Error>),
    /// A record that cannot be what was written.
    Rotten(String),
    /// The request itself cannot be served; the store is well.
    Refused(StoreError),
}

impl Fault {
    /// Whether opening the database again may help: its engine refuses all work after an I/O error.
    pub(super) fn is_io(&self) -> bool {
        match self {
            Self::Engine(error) => matches!(
                **error,
                redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::Backend(_)
            ),
            Self::Rotten(_) | Self::Refused(_) => false,
        }
    }

    /// Whether this is the echo of an earlier I/O error, not one of this call's own.
    pub(super) fn is_echo(&self) -> bool {
        matches!(self, Self::Engine(error) if matches!(**error, redb::Error::PreviousIo))
    }

    /// What cannot be what was written.
    pub(super) fn rot(&self) -> Option<&str> {
        match self {
            Self::Rotten(reason) => Some(reason),
            Self::Engine(error) => match &**error {
                redb::Error::Corrupted(reason) => Some(reason),
                _ => None,
            },
            Self::Refused(_) => None,
        }
    }

    pub(super) fn into_store_error(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Refused(error) => error,
            Self::Rotten(reason) => StoreError::Damaged { path, reason },
            Self::Engine(error) => match *error {
                redb::Error::Io(source) => from_io(source, &path),
                redb::Error::DatabaseClosed => StoreError::Closed,
                redb::Error::Corrupted(reason) => StoreError::Damaged { path, reason },
                other => StoreError::Io {
                    path,
                    source: io::Error::other(other),
                },
            },
        }
    }
}

/// Tells a full disk from a failing one.
pub(super) fn from_io(source: io::Error, path: &Path) -> StoreError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull { path },
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => StoreError::NotWritable {
            path,
            reason: source.to_string(),
        },
        io::ErrorKind::InvalidData => StoreError::Damaged {
            path,
            reason: source.to_string(),
        },
        _ => StoreError::Io { path, source },
    }
}

impl StoreError {
    /// The same error for another caller of the same failed batch.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Compacted { requested, oldest } => Self::Compacted {
                requested: *requested,
                oldest: *oldest,
            },
            Self::FutureRevision { requested, current } => Self::FutureRevision {
                requested: *requested,
                current: *current,
            },
            Self::Remote { endpoints, reason } => Self::Remote {
                endpoints: endpoints.clone(),
                reason: reason.clone(),
            },
            Self::Unreachable { endpoints, reason } => Self::Unreachable {
                endpoints: endpoints.clone(),
                reason: reason.clone(),
            },
            Self::Sealed { key, reason } => Self::Sealed {
                key: key.clone(),
                reason: reason.clone(),
            },
            Self::LeaseNotFound(lease) => Self::LeaseNotFound(*lease),
            Self::LeaseExists(lease) => Self::LeaseExists(*lease),
            Self::KeyNotFound(key) => Self::KeyNotFound(key.clone()),
            Self::DuplicateKey(key) => Self::DuplicateKey(key.clone()),
            Self::Locked { path, holder } => Self::Locked {
                path: path.clone(),
                holder: holder.clone(),
            },
            Self::NoStore { path } => Self::NoStore { path: path.clone() },
            Self::DiskFull { path } => Self::DiskFull { path: path.clone() },
            Self::Io { path, source } => Self::Io {
                path: path.clone(),
                source: io::Error::new(source.kind(), source.to_string()),
            },
            Self::NotWritable { path, reason } => Self::NotWritable {
                path: path.clone(),
                reason: reason.clone(),
            },
            Self::Damaged { path, reason } => Self::Damaged {
                path: path.clone(),
                reason: reason.clone(),
            },
            Self::ReadOnly { path, reason } => Self::ReadOnly {
                path: path.clone(),
                reason: reason.clone(),
            },
            Self::Lost { path, keys } => Self::Lost {
                path: path.clone(),
                keys: keys.clone(),
            },
            Self::NewerFormat {
                path,
                found,
                supported,
            } => Self::NewerFormat {
                path: path.clone(),
                found: *found,
                supported: *supported,
            },
            Self::TooLarge { key, size, limit } => Self::TooLarge {
                key: key.clone(),
                size: *size,
                limit: *limit,
            },
            Self::Invalid(reason) => Self::Invalid(reason.clone()),
            Self::Closed => Self::Closed,
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

macro_rules! from_engine {
    ($($error:ty),*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self::Engine(Box::new(error.into()))
            }
        }
    )*};
}
from_engine!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::CompactionError,
    redb::SetDurabilityError,
    redb::DatabaseError
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_the_system_says_what_to_do() {
        let cases = [
            (io::ErrorKind::ReadOnlyFilesystem, "Mount it read-write"),
            (io::ErrorKind::PermissionDenied, "give it to the user of orlop"),
            (io::ErrorKind::StorageFull, "Free some space"),
            (io::ErrorKind::TimedOut, "/store failed"),
        ];
        for (kind, advice) in cases {
            let error = from_io(kind.into(), Path::new("/store"));
            assert!(error.to_string().contains(advice), "{error}");
            assert_eq!(error.again().to_string(), error.to_string());
        }
    }
}
