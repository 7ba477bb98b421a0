//! The Maintenance service.
use crate::{ETCD_VERSION, Face, RAFT_TERM, convert, errors};
use etcd_client::proto::{
    PbAlarmRequest, PbAlarmResponse, PbDefragmentRequest, PbDefragmentResponse, PbDowngradeRequest,
    PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse, PbHashRequest, PbHashResponse,
    PbMaintenanceService, PbMoveLeaderRequest, PbMoveLeaderResponse, PbSnapshotRequest, PbSnapshotResponse,
    PbStatusRequest, PbStatusResponse,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use orlop_store::snapshot::SnapshotError;
use orlop_store::{RangeRequest, Revision, Store};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl PbMaintenanceService for Face {
    /// There are none: a full disk refuses writes by itself, and takes them again when there is room.
    async fn alarm(&self, _: Request<PbAlarmRequest>) -> Result<Response<PbAlarmResponse>, Status> {
        Ok(Response::new(PbAlarmResponse {
            header: Some(self.header()),
            alarms: Vec::new(),
        }))
    }

    async fn status(&self, _: Request<PbStatusRequest>) -> Result<Response<PbStatusResponse>, Status> {
        let status = self.store.status().await.map_err(errors::status)?;
        let size = convert::number(status.size);
        Ok(Response::new(PbStatusResponse {
            header: Some(self.header_at(status.revision)),
            version: ETCD_VERSION.to_owned(),
            db_size: size,
            db_size_in_use: size,
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
        Ok(Response::new(PbDefragmentResponse {
            header: Some(self.header()),
        }))
    }

    async fn hash(&self, _: Request<PbHashRequest>) -> Result<Response<PbHashResponse>, Status> {
        let (hash, _) = self.hash_at(None).await?;
        Ok(Response::new(PbHashResponse {
            header: Some(self.header()),
            hash,
        }))
    }

    async fn hash_kv(&self, request: Request<PbHashKvRequest>) -> Result<Response<PbHashKvResponse>, Status> {
        let (hash, at) = self
            .hash_at(convert::revision(request.into_inner().revision))
            .await?;
        let status = self.store.status().await.map_err(errors::status)?;
        Ok(Response::new(PbHashKvResponse {
            header: Some(self.header()),
            hash,
            compact_revision: status
                .compacted
                .map_or(0, |compacted| convert::number(compacted.0)),
            hash_revision: convert::number(at.0),
        }))
    }

    type SnapshotStream = BoxStream<'static, Result<PbSnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        _: Request<PbSnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let failed = |error: SnapshotError| Status::unavailable(format!("etcdserver: {error}"));
        let snapshot = self.store.snapshot().await.map_err(failed)?;
        let header = self.header();
        let remaining = snapshot.bytes();
        let parts = futures::stream::unfold(
            (snapshot, remaining),
            move |(mut snapshot, remaining)| async move {
                let part = match snapshot.next().await? {
                    Ok(blob) => blob,
                    Err(error) => return Some((Err(failed(error)), (snapshot, 0))),
                };
                let remaining = remaining.saturating_sub(part.len() as u64);
                let response = PbSnapshotResponse {
                    header: Some(header),
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
        _: Request<PbMoveLeaderRequest>,
    ) -> Result<Response<PbMoveLeaderResponse>, Status> {
        Err(Status::failed_precondition("etcdserver: bad leader transferee"))
    }

    async fn downgrade(
        &self,
        _: Request<PbDowngradeRequest>,
    ) -> Result<Response<PbDowngradeResponse>, Status> {
        Err(Status::unimplemented("the store has no other version to go to"))
    }
}

impl Face {
    /// A checksum of all keys as of a revision, and that revision: equal histories have equal ones.
    async fn hash_at(&self, revision: Option<Revision>) -> Result<(u32, Revision), Status> {
        let everything = RangeRequest {
            revision,
            ..RangeRequest::prefix("")
        };
        let answer = self.store.range(everything).await.map_err(errors::status)?;
        let mut hash = 0_u64;
        for kv in &answer.kvs {
            let numbers = [kv.create_revision.0, kv.mod_revision.0, kv.version].map(u64::to_be_bytes);
            hash = hash.rotate_left(5) ^ crate::fnv(&[&kv.key, &kv.value, numbers.as_flattened()]);
        }
        let folded = (hash ^ (hash >> 32)) as u32;
        Ok((folded, revision.unwrap_or(answer.revision)))
    }
}
