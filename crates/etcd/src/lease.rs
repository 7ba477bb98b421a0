//! The Lease service.
use crate::{Face, alarms, errors};
use etcd_client::proto::{
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse,
    PbLeaseLeasesRequest, PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse, PbLeaseService,
    PbLeaseStatus, PbLeaseTimeToLiveRequest, PbLeaseTimeToLiveResponse,
};
use orlop_store::{LeaseId, Store, StoreError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Seconds: shorter ones could end while their owner waits for an answer. etcd's own.
const TTL_MIN: u64 = 2;
/// Seconds; etcd's own.
const TTL_MAX: i64 = 9_000_000_000;
/// Answers that may wait for a slow client.
const ANSWERS_WAITING_MAX: usize = 16;

#[tonic::async_trait]
impl PbLeaseService for Face {
    async fn lease_grant(
        &self,
        request: Request<PbLeaseGrantRequest>,
    ) -> Result<Response<PbLeaseGrantResponse>, Status> {
        let request = request.into_inner();
        if request.ttl > TTL_MAX {
            return Err(errors::lease_ttl_too_large());
        }
        self.make_room(alarms::lease_cost()).await?;
        let ttl = u64::try_from(request.ttl).unwrap_or(0).max(TTL_MIN);
        let chosen = (request.id != 0).then_some(LeaseId(request.id));
        let lease = self
            .store
            .lease_grant_as(chosen, ttl)
            .await
            .map_err(errors::status)?;
        self.counters.leases_granted.add(1);
        Ok(Response::new(PbLeaseGrantResponse {
            header: Some(self.header()),
            id: lease.0,
            ttl: ttl as i64,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<PbLeaseRevokeRequest>,
    ) -> Result<Response<PbLeaseRevokeResponse>, Status> {
        let lease = LeaseId(request.into_inner().id);
        self.alarms.allow_reading()?;
        self.store.lease_revoke(lease).await.map_err(errors::status)?;
        self.counters.leases_revoked.add(1);
        Ok(Response::new(PbLeaseRevokeResponse {
            header: Some(self.header()),
        }))
    }

    type LeaseKeepAliveStream = ReceiverStream<Result<PbLeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<PbLeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let mut requests = request.into_inner();
        let (answers, stream) = mpsc::channel(ANSWERS_WAITING_MAX);
        let face = self.clone();
        tokio::spawn(async move {
            loop {
                let answer = match requests.message().await {
                    Ok(Some(request)) => face.keep_alive(request.id).await,
                    Ok(None) => return,
                    Err(unreadable) => Err(unreadable),
                };
                let over = answer.is_err();
                if answers.send(answer).await.is_err() || over {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<PbLeaseTimeToLiveRequest>,
    ) -> Result<Response<PbLeaseTimeToLiveResponse>, Status> {
        let request = request.into_inner();
        let mut answer = PbLeaseTimeToLiveResponse {
            header: Some(self.header()),
            id: request.id,
            // An unknown lease is no error here.
            ttl: -1,
            ..PbLeaseTimeToLiveResponse::default()
        };
        match self.store.lease_info(LeaseId(request.id)).await {
            Ok(info) => {
                answer.ttl = info.remaining_seconds as i64;
                answer.granted_ttl = info.ttl_seconds as i64;
                if request.keys {
                    answer.keys = info.keys.into_iter().map(Vec::from).collect();
                }
            }
            Err(StoreError::LeaseNotFound(_)) => {}
            Err(error) => return Err(errors::status(error)),
        }
        Ok(Response::new(answer))
    }

    async fn lease_leases(
        &self,
        _: Request<PbLeaseLeasesRequest>,
    ) -> Result<Response<PbLeaseLeasesResponse>, Status> {
        let leases = self.store.leases().await.map_err(errors::status)?;
        Ok(Response::new(PbLeaseLeasesResponse {
            header: Some(self.header()),
            leases: leases
                .into_iter()
                .map(|lease| PbLeaseStatus { id: lease.0 })
                .collect(),
        }))
    }
}

impl Face {
    /// A renewal of an unknown lease is answered with a time to live of 0.
    async fn keep_alive(&self, lease: i64) -> Result<PbLeaseKeepAliveResponse, Status> {
        let ttl = match self.store.lease_keep_alive(LeaseId(lease)).await {
            Ok(ttl) => {
                self.counters.leases_renewed.add(1);
                ttl as i64
            }
            Err(StoreError::LeaseNotFound(_)) => 0,
            Err(error) => return Err(errors::status(error)),
        };
        Ok(PbLeaseKeepAliveResponse {
            header: Some(self.header()),
            id: lease,
            ttl,
        })
    }
}
