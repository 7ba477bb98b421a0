//! Between the store's words and etcd's.
use crate::{
    Compare, CompareResult, CompareTarget, Keep, Key, KeyValue, LeaseId, Op, OpResponse, RangeRequest,
    RangeResponse, Revision, StoreError, Txn, TxnResponse,
};
use etcd_client::proto::{PbKeyValue, PbRangeResponse, PbTxnOpResponse, PbTxnResponse};
use etcd_client::{
    Compare as EtcdCompare, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn as EtcdTxn, TxnOp,
};
use std::error::Error;
use tonic::Code;

fn number(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

pub fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

/// Of a message, whose bytes it takes over.
pub fn key_value(kv: PbKeyValue) -> KeyValue {
    KeyValue {
        key: kv.key.into(),
        value: kv.value.into(),
        create_revision: revision(kv.create_revision),
        mod_revision: revision(kv.mod_revision),
        version: u64::try_from(kv.version).unwrap_or(0),
        lease: (kv.lease != 0).then_some(LeaseId(kv.lease)),
    }
}

/// etcd wants a key where the store takes an empty beginning of a range.
pub fn beginning(start: &Key) -> Vec<u8> {
    if start.is_empty() { vec![0] } else { start.to_vec() }
}

/// The lease that a transaction attaches keys to.
pub fn first_lease(txn: &Txn) -> Option<LeaseId> {
    txn.operations().find_map(|op| match op {
        Op::Put { lease, .. } => *lease,
        _ => None,
    })
}

/// The key of which a transaction keeps something.
pub fn first_kept(txn: &Txn) -> Option<Key> {
    txn.operations().find_map(|op| match op {
        Op::Put { key, keep, .. } if *keep != Keep::default() => Some(key.clone()),
        _ => None,
    })
}

pub fn is_unknown_key(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if status.message().contains("key not found"))
}

pub fn is_unknown_lease(error: &etcd_client::Error) -> bool {
    match error {
        etcd_client::Error::GRpcStatus(status) => status.message().contains("requested lease not found"),
        etcd_client::Error::LeaseKeepAliveError(message) => message.contains("lease not found"),
        _ => false,
    }
}

pub fn get(request: &RangeRequest) -> (Vec<u8>, GetOptions) {
    let mut options = GetOptions::new().with_limit(number(request.limit as u64));
    if let Some(end) = &request.end {
        options = options.with_range(&**end);
    }
    if let Some(Revision(at)) = request.revision {
        options = options.with_revision(number(at));
    }
    if request.count_only {
        options = options.with_count_only();
    }
    (beginning(&request.start), options)
}

pub fn range_response(answer: PbRangeResponse) -> Result<RangeResponse, StoreError> {
    Ok(RangeResponse {
        kvs: answer.kvs.into_iter().map(key_value).collect(),
        more: answer.more,
        count: usize::try_from(answer.count).unwrap_or(0),
        revision: revision(answer.header.ok_or(StoreError::Closed)?.revision),
    })
}

fn compare(compare: Compare) -> EtcdCompare {
    let result = match compare.result {
        CompareResult::Equal => CompareOp::Equal,
        CompareResult::NotEqual => CompareOp::NotEqual,
        CompareResult::Greater => CompareOp::Greater,
        CompareResult::Less => CompareOp::Less,
    };
    let made = match compare.target {
        CompareTarget::ModRevision(at) => EtcdCompare::mod_revision(compare.key, result, number(at.0)),
        CompareTarget::CreateRevision(at) => EtcdCompare::create_revision(compare.key, result, number(at.0)),
        CompareTarget::Version(version) => EtcdCompare::version(compare.key, result, number(version)),
        CompareTarget::Value(value) => EtcdCompare::value(compare.key, result, value.to_vec()),
        CompareTarget::Lease(LeaseId(lease)) => EtcdCompare::lease(compare.key, result, lease),
    };
    match compare.end {
        Some(end) => made.with_range(end),
        None => made,
    }
}

fn operation(op: Op, without_previous: bool) -> TxnOp {
    match op {
        Op::Put {
            key,
            value,
            lease,
            keep,
        } => {
            let mut options = PutOptions::new();
            if !without_previous {
                options = options.with_prev_key();
            }
            if keep.value {
                options = options.with_ignore_value();
            }
            if keep.lease {
                options = options.with_ignore_lease();
            }
            if let Some(LeaseId(lease)) = lease {
                options = options.with_lease(lease);
            }
            TxnOp::put(key, value.to_vec(), Some(options))
        }
        Op::Delete { start, end } => {
            let mut options = DeleteOptions::new();
            if !without_previous {
                options = options.with_prev_key();
            }
            if let Some(end) = end {
                options = options.with_range(end);
            }
            TxnOp::delete(beginning(&start), Some(options))
        }
        Op::Range(request) => {
            let (key, options) = get(&request);
            TxnOp::get(key, Some(options))
        }
        Op::Txn(nested) => TxnOp::txn(txn(nested)),
    }
}

pub fn txn(txn: Txn) -> EtcdTxn {
    let without_previous = txn.without_previous;
    let operation = |op| operation(op, without_previous);
    let operations = |ops: Vec<Op>| ops.into_iter().map(operation).collect::<Vec<_>>();
    EtcdTxn::new()
        .when(txn.compare.into_iter().map(compare).collect::<Vec<_>>())
        .and_then(operations(txn.success))
        .or_else(operations(txn.failure))
}

pub fn txn_response(answer: PbTxnResponse) -> Result<TxnResponse, StoreError> {
    let at = revision(answer.header.ok_or(StoreError::Closed)?.revision);
    txn_response_at(answer, at)
}

/// Of those within, etcd doesn't tell the revision.
fn txn_response_at(answer: PbTxnResponse, at: Revision) -> Result<TxnResponse, StoreError> {
    let responses = answer
        .responses
        .into_iter()
        .map(|answered| match answered.response.ok_or(StoreError::Closed)? {
            PbTxnOpResponse::ResponsePut(put) => Ok(OpResponse::Put {
                previous: put.prev_kv.map(key_value),
            }),
            PbTxnOpResponse::ResponseDeleteRange(delete) => Ok(OpResponse::Delete {
                previous: delete.prev_kvs.into_iter().map(key_value).collect(),
            }),
            PbTxnOpResponse::ResponseRange(range) => range_response(range).map(OpResponse::Range),
            PbTxnOpResponse::ResponseTxn(inner) => txn_response_at(inner, at).map(OpResponse::Txn),
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(TxnResponse {
        succeeded: answer.succeeded,
        revision: at,
        responses,
    })
}

/// etcd's errors in the store's terms. etcd doesn't name the revisions of its refusals.
pub fn error(endpoints: &str, error: etcd_client::Error) -> StoreError {
    if let etcd_client::Error::GRpcStatus(status) = &error {
        let message = status.message();
        if message.contains("required revision has been compacted") {
            return StoreError::Compacted {
                requested: Revision(0),
                oldest: Revision(0),
            };
        }
        if message.contains("required revision is a future revision") {
            return StoreError::FutureRevision {
                requested: Revision(0),
                current: Revision(0),
            };
        }
    }
    let (endpoints, reason) = (endpoints.to_owned(), error.to_string());
    if is_silence(&error) {
        StoreError::Unreachable { endpoints, reason }
    } else {
        StoreError::Remote { endpoints, reason }
    }
}

/// Whether nobody answered, or nobody who could: no connection, no time, no leader.
pub fn is_silence(error: &etcd_client::Error) -> bool {
    match error {
        etcd_client::Error::GRpcStatus(status) => match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => true,
            // A connection that broke.
            Code::Unknown => status
                .source()
                .is_some_and(<dyn Error>::is::<tonic::transport::Error>),
            _ => false,
        },
        etcd_client::Error::TransportError(_) | etcd_client::Error::IoError(_) => true,
        _ => false,
    }
}

/// Whether etcd cannot have received the call: nobody listens where it should be.
pub fn is_unsent(error: &etcd_client::Error) -> bool {
    // The client's own error hides what caused it.
    let mut cause: Option<&(dyn Error + 'static)> = match error {
        etcd_client::Error::GRpcStatus(status) => Some(status),
        etcd_client::Error::TransportError(error) => Some(error),
        etcd_client::Error::IoError(error) => Some(error),
        _ => None,
    };
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        cause = error.source();
    }
    false
}
