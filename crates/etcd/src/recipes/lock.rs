//! The Lock service.
use super::queue;
use super::session::Session;
use super::{Face, errors};
use bytes::Bytes;
use etcd_client::proto::{PbLockResponse, PbUnlockResponse};
use orlop_store::{Op, Store, Txn};
use tonic::Status;

/// `v3lockpb.LockRequest`, for which the client crate has no public name; so below.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LockRequest {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(int64, tag = "2")]
    lease: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UnlockRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

/// Answers when the lock is the client's.
pub async fn lock(face: &Face, request: LockRequest) -> Result<PbLockResponse, Status> {
    let store = &face.store;
    let session = Session::new(store, request.lease).await?;
    let (waiting, _) = queue::join(store, &request.name, &session, Bytes::new()).await?;
    let Some(at) = queue::turn(store, &request.name, waiting.place()).await? else {
        return Err(Status::unknown("mutex: session is expired"));
    };
    Ok(PbLockResponse {
        header: queue::header(face, at),
        key: waiting.keep().key.into(),
    })
}

pub async fn unlock(face: &Face, request: UnlockRequest) -> Result<PbUnlockResponse, Status> {
    if request.key.is_empty() {
        return Err(errors::empty_key());
    }
    let delete = Txn::default().then(Op::delete(request.key));
    let answer = face.store.txn(delete).await.map_err(errors::status)?;
    Ok(PbUnlockResponse {
        header: queue::header(face, answer.revision),
    })
}
