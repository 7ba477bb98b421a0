//! The Maintenance service.
use crate::{ETCD_VERSION, Face, RAFT_TERM, alarms, convert, downgrade, errors};
use etcd_client::AlarmAction;
use etcd_client::proto::{
    PbAlarmRequest, PbAlarmResponse, PbDefragmentRequest, PbDefragmentResponse, PbDowngradeRequest,
    PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse, PbHashRequest, PbHashResponse,
    PbMaintenanceService, PbMoveLeaderRequest, PbMoveLeaderResponse, PbSnapshotRequest, PbSnapshotResponse,
    PbStatusRequest, PbStatusResponse,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use orlop_store::Store;
use orlop_store::snapshot::{CHECKSUM_BYTES, SnapshotError};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl PbMaintenanceService for Face {
    async fn alarm(&self, request: Request<PbAlarmRequest>) -> Result<Response<PbAlarmResponse>, Status> {
        let request = request.into_inner();
        let action = AlarmAction::try_from(request.action).unwrap_or(AlarmAction::Deactivate);
        let alarms = match (action, alarms::kind(request.alarm)) {
            (AlarmAction::Get, kind) => self.alarms.list(kind),
            (_, None) => Vec::new(),
            (AlarmAction::Activate, Some(alarm)) => {
                self.alarms.raise(alarm, request.member_id);
                vec![alarms::member_of(alarm, request.member_id)]
            }
            (AlarmAction::Deactivate, Some(alarm)) => match self.alarms.disarm(alarm, request.member_id) {
                true => vec![alarms::member_of(alarm, request.member_id)],
                false => Vec::new(),
            },
        };
        Ok(Response::new(PbAlarmResponse {
            header: Some(self.header()),
            alarms,
        }))
    }

    async fn status(&self, _: Request<PbStatusRequest>) -> Result<Response<PbStatusResponse>, Status> {
        let status = self.store.status().await.map_err(errors::status)?;
        // As with etcd, which names the alarms that are raised.
        let errors = self.alarms.list(None).into_iter().map(|alarm| {
            let name = alarm.alarm().as_str_name();
            format!("memberID:{} alarm:{name} ", alarm.member_id)
        });
        Ok(Response::new(PbStatusResponse {
            header: Some(self.header_at(status.revision)),
            version: ETCD_VERSION.to_owned(),
            db_size: convert::number(status.size),
            db_size_in_use: convert::number(status.in_use),
            errors: errors.collect(),
            leader: self.member_id,
            raft_index: status.revision.0,
            raft_applied_index: status.revision.0,
            raft_term: RAFT_TERM,
            ..PbStatusResponse::default()
        }))
    }

    async fn defragment(
        &self,
        _: Request<PbDefragmentRequest>,
    ) -> Result<Response<PbDefragmentResponse>, Status> {
        self.store.defragment().await.map_err(errors::status)?;
        // As with etcd, which says nothing else.
        Ok(Response::new(PbDefragmentResponse { header: None }))
    }

    async fn hash(&self, _: Request<PbHashRequest>) -> Result<Response<PbHashResponse>, Status> {
        let sum = self.store.history_sum(None).await.map_err(errors::status)?;
        Ok(Response::new(PbHashResponse {
            header: Some(self.header_at(sum.current)),
            hash: sum.sum,
        }))
    }

    async fn hash_kv(&self, request: Request<PbHashKvRequest>) -> Result<Response<PbHashKvResponse>, Status> {
        let revision = convert::revision(request.into_inner().revision);
        let sum = self.store.history_sum(revision).await.map_err(errors::status)?;
        Ok(Response::new(PbHashKvResponse {
            header: Some(self.header_at(sum.current)),
            hash: sum.sum,
            // etcd's word for "never".
            compact_revision: sum.compacted.map_or(-1, |compacted| convert::number(compacted.0)),
            hash_revision: convert::number(sum.revision.0),
        }))
    }

    type SnapshotStream = BoxStream<'static, Result<PbSnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        _: Request<PbSnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let failed = |error: SnapshotError| match error {
            SnapshotError::TooMany => errors::too_many_requests(),
            error => Status::unavailable(format!("etcdserver: {error}")),
        };
        let snapshot = self.store.snapshot().await.map_err(failed)?;
        // As with etcd, the checksum is not counted, and nothing is told of the store.
        let remaining = snapshot.bytes().saturating_sub(CHECKSUM_BYTES);
        let parts = futures::stream::unfold(
            (snapshot, remaining),
            move |(mut snapshot, remaining)| async move {
                let part = match snapshot.next().await? {
                    Ok(blob) => blob,
                    Err(error) => return Some((Err(failed(error)), (snapshot, 0))),
                };
                let remaining = remaining.saturating_sub(part.len() as u64);
                let response = PbSnapshotResponse {
                    header: None,
                    remaining_bytes: remaining,
                    blob: part.into(),
                    version: ETCD_VERSION.to_owned(),
                };
                Some((Ok(response), (snapshot, remaining)))
            },
        );
        Ok(Response::new(parts.boxed()))
    }

    async fn move_leader(
        &self,
        request: Request<PbMoveLeaderRequest>,
    ) -> Result<Response<PbMoveLeaderResponse>, Status> {
        if request.into_inner().target_id == self.member_id {
            // Already there. As with etcd, which says nothing else.
            return Ok(Response::new(PbMoveLeaderResponse { header: None }));
        }
        Err(Status::failed_precondition("etcdserver: bad leader transferee"))
    }

    async fn downgrade(
        &self,
        request: Request<PbDowngradeRequest>,
    ) -> Result<Response<PbDowngradeResponse>, Status> {
        let request = request.into_inner();
        Err(downgrade::refusal(request.action, &request.version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Member;
    use etcd_client::proto::PbPutRequest;
    use orlop_store::embedded::EmbeddedStore;
    use ring::digest::{SHA256, digest};
    use tonic::Code;

    /// With so many keys of two kilobytes.
    async fn face_with_keys(count: usize) -> Face {
        let face = Face::new(EmbeddedStore::in_memory().unwrap(), Member::named("m"));
        for number in 0..count {
            let put = PbPutRequest {
                key: number.to_string().into_bytes(),
                value: vec![7; 2000],
                ..PbPutRequest::default()
            };
            face.put_key(put).await.unwrap();
        }
        face
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_snapshot_ends_with_its_checksum_in_a_message_of_its_own() {
        let face = face_with_keys(30).await;
        let asked = Request::new(PbSnapshotRequest::default());
        let snapshot = face.snapshot(asked).await.unwrap().into_inner();
        let mut parts: Vec<PbSnapshotResponse> = snapshot.map(Result::unwrap).collect().await;
        let sum = parts.pop().unwrap();
        let database: Vec<u8> = parts.iter().flat_map(|part| part.blob.clone()).collect();
        assert_eq!(sum.blob, digest(&SHA256, &database).as_ref());
        assert_eq!(sum.remaining_bytes, 0);
        let mut left = database.len();
        assert!(parts.len() > 1, "{left} bytes are in one message");
        for part in parts {
            left -= part.blob.len();
            assert_eq!((part.remaining_bytes, part.header), (left as u64, None));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn snapshots_that_nobody_reads_are_few() {
        let face = face_with_keys(300).await;
        let mut waiting = Vec::new();
        let refused = loop {
            match face.snapshot(Request::new(PbSnapshotRequest::default())).await {
                Ok(snapshot) => waiting.push(snapshot),
                Err(status) => break status,
            }
        };
        assert!(!waiting.is_empty());
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::ResourceExhausted, "etcdserver: too many requests")
        );
    }
}
