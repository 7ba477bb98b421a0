//! What the writer is asked to do.
use crate::{LeaseId, Op, Revision, StoreError, Txn, TxnResponse};
use tokio::sync::oneshot;

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

#[derive(Debug)]
pub(super) enum Command {
    Txn {
        txn: Txn,
        reply: Reply<TxnResponse>,
    },
    Grant {
        ttl_seconds: u64,
        chosen: Option<LeaseId>,
        reply: Reply<LeaseId>,
    },
    /// Full and remaining time to live, in seconds.
    TimeToLive {
        lease: LeaseId,
        reply: Reply<(u64, u64)>,
    },
    /// All of them, those that end first before the others.
    Leases {
        reply: Reply<Vec<LeaseId>>,
    },
    KeepAlive {
        lease: LeaseId,
        reply: Reply<u64>,
    },
    Revoke {
        lease: LeaseId,
        reply: Reply<()>,
    },
    Compact {
        revision: Revision,
        reply: Reply<()>,
    },
    Defragment {
        reply: Reply<()>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

impl Command {
    /// Bytes the command adds to a batch.
    pub(super) fn bytes(&self) -> usize {
        let Self::Txn { txn, .. } = self else {
            return 0;
        };
        txn_bytes(txn)
    }

    /// Whether it may change the database.
    pub(super) fn writes(&self) -> bool {
        match self {
            Self::Txn { .. } | Self::Grant { .. } | Self::Revoke { .. } | Self::Compact { .. } => true,
            Self::KeepAlive { .. }
            | Self::TimeToLive { .. }
            | Self::Leases { .. }
            | Self::Defragment { .. }
            | Self::Close { .. } => false,
        }
    }
}

/// Bytes of the longer branch.
fn txn_bytes(txn: &Txn) -> usize {
    let op_bytes = |op: &Op| match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Txn(nested) => txn_bytes(nested),
        Op::Delete { .. } | Op::Range(_) => 0,
    };
    let branch = |ops: &[Op]| ops.iter().map(op_bytes).sum::<usize>();
    branch(&txn.success).max(branch(&txn.failure))
}
