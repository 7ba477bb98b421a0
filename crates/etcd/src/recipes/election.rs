//! The Election service.
use super::queue;
use super::session::Session;
use super::{Face, errors};
use crate::{convert, unary};
use bytes::Bytes;
use etcd_client::proto::{
    PbCampaignResponse, PbLeaderKey, PbLeaderResponse, PbProclaimResponse, PbResignResponse,
};
use futures::Stream;
use orlop_store::{Key, KeyValue, LeaseId, Op, Revision, Store, Txn, WatchRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Leaders that may wait for a slow client.
const LEADERS_WAITING_MAX: usize = 16;

#[derive(Clone, PartialEq, prost::Message)]
pub struct CampaignRequest {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(int64, tag = "2")]
    lease: i64,
    #[prost(bytes = "bytes", tag = "3")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaderRequest {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ProclaimRequest {
    #[prost(message, optional, tag = "1")]
    leader: Option<PbLeaderKey>,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ResignRequest {
    #[prost(message, optional, tag = "1")]
    leader: Option<PbLeaderKey>,
}

/// Answers when the client leads.
pub async fn campaign(face: &Face, request: CampaignRequest) -> Result<PbCampaignResponse, Status> {
    let store = &face.store;
    let session = Session::new(store, request.lease).await?;
    let (waiting, found) = queue::join(store, &request.name, &session, request.value.clone()).await?;
    let place = waiting.place();
    if found.is_some_and(|kv| kv.value != request.value) {
        say(face, &place.key, place.since, request.value, Some(session.lease)).await?;
    }
    let Some(at) = queue::turn(store, &request.name, place).await? else {
        return Err(Status::unknown("election: session expired"));
    };
    let place = waiting.keep();
    Ok(PbCampaignResponse {
        header: queue::header(face, at),
        leader: Some(PbLeaderKey {
            name: request.name,
            key: place.key.into(),
            rev: convert::number(place.since.0),
            lease: session.lease.0,
        }),
    })
}

/// Has the leader say something else.
pub async fn proclaim(face: &Face, request: ProclaimRequest) -> Result<PbProclaimResponse, Status> {
    let leader = named(request.leader)?;
    let lease = (leader.lease != 0).then_some(LeaseId(leader.lease));
    let key = leader.key.into();
    let since = convert::revision(leader.rev).unwrap_or_default();
    let at = say(face, &key, since, request.value, lease).await?;
    Ok(PbProclaimResponse {
        header: queue::header(face, at),
    })
}

async fn say(
    face: &Face,
    key: &Key,
    since: Revision,
    value: Bytes,
    lease: Option<LeaseId>,
) -> Result<Revision, Status> {
    let txn = Txn {
        compare: vec![queue::created(key, since)],
        success: vec![Op::put(key.clone(), value, lease)],
        ..Txn::default()
    };
    let answer = face.store.txn(txn).await.map_err(errors::status)?;
    match answer.succeeded {
        true => Ok(answer.revision),
        false => Err(Status::unknown("election: not leader")),
    }
}

pub async fn leader(face: &Face, request: LeaderRequest) -> Result<PbLeaderResponse, Status> {
    match queue::first(&face.store, &request.name).await? {
        (Some(leader), at) => Ok(led_by(face, leader, at)),
        (None, _) => Err(Status::unknown("election: no leader")),
    }
}

pub async fn resign(face: &Face, request: ResignRequest) -> Result<PbResignResponse, Status> {
    let leader = named(request.leader)?;
    let since = convert::revision(leader.rev).unwrap_or_default();
    let at = queue::leave(&face.store, &leader.key.into(), since).await?;
    Ok(PbResignResponse {
        header: queue::header(face, at),
    })
}

fn named(leader: Option<PbLeaderKey>) -> Result<PbLeaderKey, Status> {
    leader.ok_or_else(|| Status::unknown("\"leader\" field must be provided"))
}

fn led_by(face: &Face, leader: KeyValue, at: Revision) -> PbLeaderResponse {
    PbLeaderResponse {
        header: queue::header(face, at),
        kv: Some(convert::key_value(leader)),
    }
}

/// Tells every leader from now on, and everything that they say.
pub fn observe(
    face: Face,
    request: LeaderRequest,
) -> impl Stream<Item = Result<Bytes, Status>> + Send + 'static {
    let (leaders, told) = mpsc::channel(LEADERS_WAITING_MAX);
    tokio::spawn(async move {
        tokio::select! {
            ended = tell_leaders(&face, &request.name, &leaders) => if let Err(status) = ended {
                let _ = leaders.send(Err(status)).await;
            },
            () = leaders.closed() => {}
        }
    });
    ReceiverStream::new(told)
}

async fn tell_leaders(
    face: &Face,
    name: &[u8],
    leaders: &mpsc::Sender<Result<Bytes, Status>>,
) -> Result<(), Status> {
    let prefix = || [name, b"/"].concat();
    let mut told: Option<(Key, Revision)> = None;
    let (mut first, mut at) = queue::first(&face.store, name).await?;
    let changes = WatchRequest::prefix(prefix(), Some(Revision(at.0 + 1)));
    let mut changes = face.store.watch(changes).await.map_err(errors::status)?;
    loop {
        if let Some(leader) = first.take() {
            let now = (leader.key.clone(), leader.mod_revision);
            if told.as_ref() != Some(&now) {
                told = Some(now);
                let answer = unary::encoded(led_by(face, leader, at));
                if leaders.send(Ok(answer)).await.is_err() {
                    return Ok(());
                }
            }
        }
        let Some(batch) = changes.recv().await else {
            return Err(Status::unavailable("etcdserver: server stopped"));
        };
        let batch = batch.map_err(errors::status)?;
        // Those who only wait change nothing.
        let leads = |key: &Key| told.as_ref().is_none_or(|(leader, _)| leader == key);
        if batch.events.iter().any(|event| leads(&event.kv.key)) {
            (first, at) = queue::first(&face.store, name).await?;
            if first.is_none() {
                // Whoever leads next is news, also if it is the same key.
                told = None;
            }
        }
    }
}
