//! The Watch service: many watches on one stream, each with its own task.
mod shape;
mod task;

use crate::metrics::Counted;
use crate::{Face, convert};
use etcd_client::proto::{PbWatchRequest, PbWatchRequestUnion, PbWatchResponse, PbWatchService};
use orlop_store::{Key, Revision, WatchRequest};
use std::collections::HashMap;
use std::sync::Arc;
use task::{Kinds, Reach, Sending, Watch};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Responses that may wait for a slow client before its watches wait.
const RESPONSES_WAITING_MAX: usize = 64;
/// Answers of one stream about its progress that may be waited for at the same time. What a client asks beyond that is
/// told by these.
const PROGRESS_WAITING_MAX: usize = 16;
/// A response that belongs to no watch.
const NO_WATCH: i64 = -1;

type Responses = mpsc::Sender<Result<PbWatchResponse, Status>>;

#[tonic::async_trait]
impl PbWatchService for Face {
    type WatchStream = ReceiverStream<Result<PbWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<PbWatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (responses, stream) = mpsc::channel(RESPONSES_WAITING_MAX);
        let session = Session {
            _counted: self.counters.watch_streams.one(),
            face: self.clone(),
            responses,
            watches: HashMap::new(),
            next_id: 0,
            progress: Arc::new(Semaphore::new(PROGRESS_WAITING_MAX)),
        };
        tokio::spawn(session.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// One stream of requests.
struct Session {
    /// As long as it is there.
    _counted: Counted,
    face: Face,
    responses: Responses,
    /// Running watches. Dropping an entry ends its task.
    watches: HashMap<i64, Running>,
    next_id: i64,
    /// Taken by those who wait to tell how far the stream is.
    progress: Arc<Semaphore>,
}

/// The task of a watch.
struct Running {
    asked: mpsc::UnboundedSender<Reach>,
    task: JoinHandle<()>,
}

impl Running {
    /// Of a watch that the store gave up before it began, and whose client has still to cancel it.
    fn over() -> Self {
        Self {
            asked: mpsc::unbounded_channel().0,
            task: tokio::spawn(async {}),
        }
    }
}

impl Session {
    async fn run(mut self, mut requests: Streaming<PbWatchRequest>) {
        loop {
            let request = tokio::select! {
                request = requests.message() => request,
                () = self.responses.closed() => return,
            };
            let request = match request {
                Ok(Some(request)) => request,
                Ok(None) => {
                    // The client has said all; its watches go on until it leaves.
                    self.responses.closed().await;
                    return;
                }
                Err(unreadable) => {
                    // It may have gone.
                    let _ = self.responses.send(Err(unreadable)).await;
                    return;
                }
            };
            let alive = match request.request_union {
                Some(PbWatchRequestUnion::CreateRequest(create)) => {
                    let kinds = Kinds {
                        puts: !create.filters.contains(&0),
                        deletes: !create.filters.contains(&1),
                    };
                    let wanted = Wanted {
                        start: if create.key.is_empty() {
                            vec![0].into()
                        } else {
                            create.key.into()
                        },
                        end: convert::end(create.range_end),
                        from: convert::revision(create.start_revision),
                        is_before_history: create.start_revision < 0,
                        id: create.watch_id,
                        sending: Sending {
                            kinds,
                            previous: create.prev_kv,
                            fragments: create.fragment,
                            progress: create.progress_notify,
                        },
                    };
                    self.create(wanted).await
                }
                Some(PbWatchRequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id).await,
                Some(PbWatchRequestUnion::ProgressRequest(_)) => {
                    self.progress();
                    true
                }
                None => true,
            };
            if !alive {
                return;
            }
        }
    }

    fn response(&self) -> PbWatchResponse {
        PbWatchResponse {
            header: Some(self.face.header()),
            ..PbWatchResponse::default()
        }
    }

    /// Whether the client is still there.
    async fn send(&self, response: PbWatchResponse) -> bool {
        self.responses.send(Ok(response)).await.is_ok()
    }

    async fn create(&mut self, wanted: Wanted) -> bool {
        // A watch that the store gave up keeps its id until the client cancels it, as with etcd.
        let is_taken = wanted.id != 0 && self.watches.contains_key(&wanted.id);
        if let Some(reason) = wanted.refusal(is_taken) {
            let response = PbWatchResponse {
                watch_id: NO_WATCH,
                created: true,
                canceled: true,
                cancel_reason: reason.to_owned(),
                ..self.response()
            };
            return self.send(response).await;
        }
        let id = match wanted.id {
            0 => self.free_id(),
            id => id,
        };
        let created = PbWatchResponse {
            watch_id: id,
            created: true,
            ..self.response()
        };
        let request = WatchRequest {
            start: wanted.start,
            end: wanted.end,
            from: wanted.from,
            without_previous: !wanted.sending.previous,
        };
        let opened = self.face.store.watch_with_progress(request).await;
        if !self.send(created).await {
            return false;
        }
        let (stream, progress) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let response = PbWatchResponse {
                    watch_id: id,
                    ..self.response()
                };
                self.watches.insert(id, Running::over());
                return self.send(shape::ended(error, response)).await;
            }
        };
        let (sender, asked) = mpsc::unbounded_channel();
        let watch = Watch {
            _counted: self.face.counters.watchers.one(),
            face: self.face.clone(),
            id,
            sending: wanted.sending,
            stream,
            progress,
            responses: self.responses.clone(),
            asked,
        };
        let task = tokio::spawn(watch.run());
        self.watches.insert(id, Running { asked: sender, task });
        true
    }

    async fn cancel(&mut self, watch_id: i64) -> bool {
        let Some(running) = self.watches.remove(&watch_id) else {
            return true;
        };
        // What is told of it is told before it is said to be cancelled: its id may then be another watch's.
        running.task.abort();
        // It has ended, by itself or so.
        let _ = running.task.await;
        let response = PbWatchResponse {
            watch_id,
            canceled: true,
            ..self.response()
        };
        self.send(response).await
    }

    fn free_id(&mut self) -> i64 {
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// Tells the client, when all its watches have got that far, which revision that is.
    fn progress(&self) {
        let Ok(turn) = self.progress.clone().try_acquire_owned() else {
            return;
        };
        let revision = self.face.store.durable_revision();
        let mut waiting = Vec::with_capacity(self.watches.len());
        for watch in self.watches.values() {
            let (reached, wait) = oneshot::channel();
            let asked = Reach {
                revision: revision.0,
                reached,
            };
            if watch.asked.send(asked).is_ok() {
                waiting.push(wait);
            }
        }
        let response = PbWatchResponse {
            header: Some(self.face.header_at(revision)),
            watch_id: NO_WATCH,
            ..PbWatchResponse::default()
        };
        let responses = self.responses.clone();
        tokio::spawn(async move {
            // A watch that ends meanwhile has nothing more to send.
            futures::future::join_all(waiting).await;
            let _ = responses.send(Ok(response)).await;
            drop(turn);
        });
    }
}

/// A watch as it was asked for.
struct Wanted {
    start: Key,
    end: Option<Key>,
    from: Option<Revision>,
    /// From a revision below zero.
    is_before_history: bool,
    /// 0: the server chooses.
    id: i64,
    sending: Sending,
}

impl Wanted {
    /// Why no watch is made of it.
    fn refusal(&self, id_is_taken: bool) -> Option<&'static str> {
        let is_empty = |end: &Key| *end != Key::UNBOUNDED && *end <= self.start;
        if self.is_before_history {
            Some("etcdserver: mvcc: required revision has been compacted")
        } else if self.end.as_ref().is_some_and(is_empty) {
            Some("mvcc: watcher range is empty")
        } else if id_is_taken {
            Some("mvcc: duplicate watch ID provided on the WatchStream")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Member;
    use crate::http::Services;
    use etcd_client::proto::PbPutRequest;
    use http_body_util::{BodyExt, Full};
    use orlop_store::Store;
    use orlop_store::embedded::EmbeddedStore;
    use std::time::Duration;
    use tonic::Code;

    fn face() -> Face {
        Face::new(EmbeddedStore::in_memory().unwrap(), Member::named("m"))
    }

    fn session(face: Face, waiting_max: usize) -> (Session, mpsc::Receiver<Result<PbWatchResponse, Status>>) {
        let (responses, stream) = mpsc::channel(waiting_max);
        let session = Session {
            _counted: face.counters.watch_streams.one(),
            face,
            responses,
            watches: HashMap::new(),
            next_id: 0,
            progress: Arc::new(Semaphore::new(PROGRESS_WAITING_MAX)),
        };
        (session, stream)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_watch_that_is_given_up_at_once_has_its_id_until_it_is_cancelled() {
        let face = face();
        for _ in 0..3 {
            let put = PbPutRequest {
                key: b"a".to_vec(),
                ..PbPutRequest::default()
            };
            face.put_key(put).await.unwrap();
        }
        face.store.compact(Revision(3)).await.unwrap();
        let (mut session, mut stream) = session(face, 8);
        let wanted = || Wanted {
            start: "a".into(),
            end: None,
            from: Some(Revision(2)),
            is_before_history: false,
            id: 7,
            sending: Sending {
                kinds: Kinds {
                    puts: true,
                    deletes: true,
                },
                previous: false,
                fragments: false,
                progress: false,
            },
        };
        assert!(session.create(wanted()).await);
        assert!(session.create(wanted()).await);
        assert!(session.cancel(7).await);
        assert!(session.create(wanted()).await);
        let mut told = || {
            let response = stream.try_recv().unwrap().unwrap();
            let compacted = response.compact_revision;
            (response.watch_id, response.created, response.canceled, compacted)
        };
        assert_eq!(told(), (7, true, false, 0));
        assert_eq!(told(), (7, false, true, 3));
        // The second one was refused, the first one's end is confirmed, and then the id is free.
        assert_eq!(told(), (NO_WATCH, true, true, 0));
        assert_eq!(told(), (7, false, true, 0));
        assert_eq!(told(), (7, true, false, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_of_what_is_no_message_ends_with_the_reason() {
        let services = Services::new(face());
        for method in ["Watch/Watch", "Lease/LeaseKeepAlive"] {
            let garbage: &[u8] = &[0, 0, 0, 0, 1, 0xff];
            let request = http::Request::builder()
                .method("POST")
                .uri(format!("/etcdserverpb.{method}"))
                .header("content-type", "application/grpc")
                .body(Full::new(bytes::Bytes::from_static(garbage)))
                .unwrap();
            let body = services.answer(request).await.into_body();
            let whole = tokio::time::timeout(Duration::from_secs(20), body.collect()).await;
            let whole = whole.expect("the stream goes on").unwrap();
            let status = Status::from_header_map(whole.trailers().unwrap()).unwrap();
            assert_eq!(status.code(), Code::Internal, "{method}: {status}");
        }
    }

    #[tokio::test]
    async fn a_client_that_only_asks_for_progress_is_not_remembered_without_end() {
        let (session, mut stream) = session(face(), 1);
        assert!(session.send(session.response()).await);
        for _ in 0..1000 {
            session.progress();
        }
        drop(session);
        let mut told = 0;
        while stream.recv().await.is_some() {
            told += 1;
        }
        assert_eq!(told, 1 + PROGRESS_WAITING_MAX);
    }
}
