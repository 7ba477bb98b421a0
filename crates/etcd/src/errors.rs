//! What went wrong, in etcd's codes and texts: its clients compare them.
use orlop_store::StoreError;
use tonic::{Code, Status};

pub fn empty_key() -> Status {
    Status::invalid_argument("etcdserver: key is not provided")
}

pub fn key_not_found() -> Status {
    Status::invalid_argument("etcdserver: key not found")
}

pub fn value_provided() -> Status {
    Status::invalid_argument("etcdserver: value is provided")
}

pub fn lease_provided() -> Status {
    Status::invalid_argument("etcdserver: lease is provided")
}

pub fn too_many_operations() -> Status {
    Status::invalid_argument("etcdserver: too many operations in txn request")
}

pub fn too_large() -> Status {
    Status::invalid_argument("etcdserver: request is too large")
}

/// What etcd's gRPC says of what it doesn't even read.
pub fn message_too_large(size: usize, limit: usize) -> Status {
    Status::resource_exhausted(format!(
        "grpc: received message larger than max ({size} vs. {limit})"
    ))
}

/// And of messages that are compressed, or said to be something else.
pub fn unknown_compression(name: &str) -> Status {
    Status::unimplemented(format!(
        "grpc: Decompressor is not installed for grpc-encoding {name:?}"
    ))
}

pub fn unknown_format(flag: u8) -> Status {
    Status::internal(format!("grpc: received unexpected payload format {flag}"))
}

pub fn compressed_by_nothing() -> Status {
    Status::internal("grpc: compressed flag set with identity or empty encoding")
}

pub fn not_decompressed(error: &std::io::Error) -> Status {
    Status::internal(format!(
        "grpc: failed to decompress the received message: {error}"
    ))
}

pub fn decompressed_too_large(limit: usize) -> Status {
    Status::resource_exhausted(format!(
        "grpc: received message after decompression larger than max {limit}"
    ))
}

pub fn too_many_requests() -> Status {
    Status::resource_exhausted("etcdserver: too many requests")
}

pub fn compacted() -> Status {
    Status::out_of_range("etcdserver: mvcc: required revision has been compacted")
}

pub fn no_space() -> Status {
    Status::resource_exhausted("etcdserver: mvcc: database space exceeded")
}

pub fn corrupt() -> Status {
    Status::data_loss("etcdserver: corrupt cluster")
}

pub fn lease_ttl_too_large() -> Status {
    Status::out_of_range("etcdserver: too large lease TTL")
}

/// What a single member cannot do.
pub fn single_member(what: &str) -> Status {
    Status::unimplemented(format!(
        "orlop serves a single member and cannot {what}; for a cluster use etcd (orlop store migrate)"
    ))
}

/// The status that etcd would answer with.
pub fn status(error: StoreError) -> Status {
    let (code, text) = match &error {
        StoreError::Compacted { .. } => return compacted(),
        StoreError::FutureRevision { .. } => (
            Code::OutOfRange,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        StoreError::LeaseNotFound(_) => (Code::NotFound, "etcdserver: requested lease not found"),
        StoreError::LeaseExists(_) => (Code::FailedPrecondition, "etcdserver: lease already exists"),
        StoreError::KeyNotFound(_) => return key_not_found(),
        StoreError::DuplicateKey(_) => (
            Code::InvalidArgument,
            "etcdserver: duplicate key given in txn request",
        ),
        StoreError::TooLarge { .. } => return too_large(),
        StoreError::DiskFull { .. } => return no_space(),
        StoreError::Closed => (Code::Unavailable, "etcdserver: server stopped"),
        StoreError::Invalid(reason) => return Status::invalid_argument(format!("etcdserver: {reason}")),
        // Not "unavailable": clients would ask a hundred times.
        StoreError::Damaged { .. } | StoreError::ReadOnly { .. } | StoreError::Lost { .. } => {
            return Status::data_loss(format!("etcdserver: {error}"));
        }
        _ => return Status::unavailable(format!("etcdserver: {error}")),
    };
    Status::new(code, text)
}
