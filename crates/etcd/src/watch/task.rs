//! The task of one watch: it sends what happens, and says how far it is to those who ask.
use super::{Responses, shape};
use crate::metrics::Counted;
use crate::{Face, convert};
use etcd_client::proto::{PbEvent, PbWatchResponse};
use orlop_store::embedded::WatchProgress;
use orlop_store::{Event, EventKind, Revision, StoreError, WatchBatch, WatchStream};
use prost::Message;
use tokio::sync::{mpsc, oneshot};

/// Asks a watch to say when it has sent everything up to a revision.
pub(super) struct Reach {
    pub(super) revision: u64,
    pub(super) reached: oneshot::Sender<()>,
}

/// What a client wants to be sent of a watch.
#[derive(Clone, Copy)]
pub(super) struct Sending {
    pub(super) kinds: Kinds,
    pub(super) previous: bool,
    pub(super) fragments: bool,
    pub(super) progress: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Kinds {
    pub(super) puts: bool,
    pub(super) deletes: bool,
}

impl Kinds {
    fn hold(self, event: &Event) -> bool {
        match event.kind {
            EventKind::Put => self.puts,
            EventKind::Delete => self.deletes,
        }
    }
}

/// What a client has been told of how far its watch is.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    revision: u64,
    /// Nothing since the last tick.
    is_quiet: bool,
}

impl Told {
    /// By events, of which the last are of this revision.
    fn by_events(&mut self, revision: u64) {
        *self = Self {
            revision,
            is_quiet: false,
        };
    }

    /// Whether a tick, which begins another time of quiet, tells that the watch has come to a revision.
    fn by_tick(&mut self, revision: u64, tells_unchanged: bool) -> bool {
        let was_quiet = std::mem::replace(&mut self.is_quiet, true);
        // A watch of what is yet to come is told nothing from before.
        revision > self.revision || tells_unchanged && was_quiet && revision == self.revision
    }
}

pub(super) struct Watch {
    /// As long as it runs.
    pub(super) _counted: Counted,
    pub(super) face: Face,
    pub(super) id: i64,
    pub(super) sending: Sending,
    pub(super) stream: WatchStream,
    pub(super) progress: WatchProgress,
    pub(super) responses: Responses,
    pub(super) asked: mpsc::UnboundedReceiver<Reach>,
}

impl Watch {
    /// Runs until it is cancelled, the client has gone, or the store gives the watch up.
    pub(super) async fn run(mut self) {
        let mut pending: Vec<Reach> = Vec::new();
        let mut told = Told {
            revision: self.progress.revision(),
            is_quiet: true,
        };
        let progress = self.face.limits.progress;
        let mut ticks = tokio::time::interval(progress.interval());
        ticks.reset();
        loop {
            tokio::select! {
                batch = self.stream.recv() => match batch {
                    Some(Ok(batch)) => if !self.send(&batch, &mut told).await {
                        return;
                    },
                    Some(Err(error)) => return self.give_up(error).await,
                    None => return self.give_up(StoreError::Closed).await,
                },
                asked = self.asked.recv() => match asked {
                    Some(asked) => pending.push(asked),
                    None => return,
                },
                changed = self.progress.changed(), if !pending.is_empty() => if changed.is_err() {
                    // The stream says why.
                    pending.clear();
                },
                _ = ticks.tick(), if self.sending.progress => {
                    // A watch of what is yet to come is nowhere further than the store.
                    let delivered = self.progress.revision().min(self.face.store.durable_revision().0);
                    let is_news = told.by_tick(delivered, progress.tells_unchanged());
                    if self.stream.is_empty() && is_news {
                        told.revision = delivered;
                        if !self.tell(delivered).await {
                            return;
                        }
                    }
                }
            }
            if !self.answer(&mut pending, &mut told).await {
                return;
            }
        }
    }

    /// Answers those who waited for a revision that is reached. What has been delivered lies in the
    /// stream already, so it is sent first. Whether the watch goes on.
    async fn answer(&mut self, pending: &mut Vec<Reach>, told: &mut Told) -> bool {
        let delivered = self.progress.revision();
        if pending.iter().all(|asked| asked.revision > delivered) {
            return true;
        }
        // Of a stream that is closed the next look says so.
        while let Ok(batch) = self.stream.try_recv() {
            match batch {
                Ok(batch) => {
                    if !self.send(&batch, told).await {
                        return false;
                    }
                }
                Err(error) => {
                    self.give_up(error).await;
                    return false;
                }
            }
        }
        for asked in pending.extract_if(.., |asked| asked.revision <= delivered) {
            // The session may have ended.
            let _ = asked.reached.send(());
        }
        true
    }

    async fn tell(&self, revision: u64) -> bool {
        let response = PbWatchResponse {
            header: Some(self.face.header_at(Revision(revision))),
            watch_id: self.id,
            ..PbWatchResponse::default()
        };
        self.responses.send(Ok(response)).await.is_ok()
    }

    async fn give_up(&self, error: StoreError) {
        let response = PbWatchResponse {
            header: Some(self.face.header()),
            watch_id: self.id,
            ..PbWatchResponse::default()
        };
        let _ = self.responses.send(Ok(shape::ended(error, response))).await;
    }

    /// Sends what the client wants of a batch, which may be nothing. Whether it is still there.
    async fn send(&self, batch: &WatchBatch, told: &mut Told) -> bool {
        let sending = self.sending;
        let events: Vec<PbEvent> = batch
            .events
            .iter()
            .filter(|event| sending.kinds.hold(event))
            .map(|event| convert::event(event, sending.previous))
            .collect();
        if events.is_empty() {
            return true;
        }
        told.by_events(batch.revision.0);
        let around = PbWatchResponse {
            header: Some(self.face.header_at(batch.revision)),
            watch_id: self.id,
            fragment: true,
            ..PbWatchResponse::default()
        };
        let parts = if sending.fragments {
            let bytes_max = self.face.limits.message_bytes();
            shape::fragments(events, around.encoded_len(), bytes_max)
        } else {
            vec![events]
        };
        let last = parts.len() - 1;
        for (number, events) in parts.into_iter().enumerate() {
            let response = PbWatchResponse {
                fragment: number < last,
                events,
                ..around.clone()
            };
            if self.responses.send(Ok(response)).await.is_err() {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Member;
    use orlop_store::embedded::EmbeddedStore;
    use orlop_store::{KeyValue, WatchRequest};
    use tonic::Status;

    const ALL: Kinds = Kinds {
        puts: true,
        deletes: true,
    };

    /// A watch of what a test puts into its stream.
    struct Fed {
        batches: mpsc::Sender<Result<WatchBatch, StoreError>>,
        watch: Watch,
        sent: mpsc::Receiver<Result<PbWatchResponse, Status>>,
    }

    async fn fed(kinds: Kinds) -> Fed {
        let face = Face::new(EmbeddedStore::in_memory().unwrap(), Member::named("m"));
        let request = WatchRequest::prefix("a", None);
        let (_, progress) = face.store.watch_with_progress(request).await.unwrap();
        let (batches, stream) = mpsc::channel(8);
        let (responses, sent) = mpsc::channel(8);
        let (_, asked) = mpsc::unbounded_channel();
        let watch = Watch {
            _counted: face.counters.watchers.one(),
            face,
            id: 7,
            sending: Sending {
                kinds,
                previous: false,
                fragments: false,
                progress: true,
            },
            stream,
            progress,
            responses,
            asked,
        };
        Fed { batches, watch, sent }
    }

    fn batch(kinds: &[EventKind], revision: u64) -> WatchBatch {
        let event = |kind: &EventKind| Event {
            kind: *kind,
            kv: KeyValue {
                key: "a".into(),
                value: bytes::Bytes::new(),
                create_revision: Revision(0),
                mod_revision: Revision(revision),
                version: 0,
                lease: None,
            },
            previous: None,
        };
        WatchBatch {
            events: kinds.iter().map(event).collect(),
            revision: Revision(revision),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_error_behind_what_a_question_brings_out_is_told() {
        let mut fed = fed(ALL).await;
        let compacted = StoreError::Compacted {
            requested: Revision(2),
            oldest: Revision(4),
        };
        fed.batches.try_send(Ok(batch(&[EventKind::Delete], 2))).unwrap();
        fed.batches.try_send(Err(compacted)).unwrap();
        let (reached, _waiting) = oneshot::channel();
        let mut pending = vec![Reach { revision: 0, reached }];
        let mut told = Told {
            revision: 1,
            is_quiet: true,
        };
        assert!(!fed.watch.answer(&mut pending, &mut told).await);
        let first = fed.sent.try_recv().unwrap().unwrap();
        assert_eq!((first.events.len(), first.canceled), (1, false));
        let end = fed.sent.try_recv().unwrap().unwrap();
        assert_eq!((end.watch_id, end.canceled, end.compact_revision), (7, true, 4));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_client_is_not_sent_has_told_it_nothing() {
        let only_puts = Kinds {
            deletes: false,
            ..ALL
        };
        let mut fed = fed(only_puts).await;
        let before = || Told {
            revision: 2,
            is_quiet: true,
        };
        let mut told = before();
        // A mark of progress, and what is filtered out.
        for batch in [batch(&[], 5), batch(&[EventKind::Delete], 6)] {
            assert!(fed.watch.send(&batch, &mut told).await);
            assert_eq!(told, before());
        }
        assert!(fed.sent.try_recv().is_err());
        assert!(told.by_tick(6, false));
        assert!(
            fed.watch
                .send(&batch(&[EventKind::Delete, EventKind::Put], 7), &mut told)
                .await
        );
        assert_eq!(fed.sent.try_recv().unwrap().unwrap().events.len(), 1);
        assert!(!told.by_tick(7, true));
        assert!(told.by_tick(7, true));
        assert!(!told.by_tick(7, false));
    }

    #[test]
    fn a_watch_of_what_is_yet_to_come_is_told_nothing_from_before() {
        let mut told = Told {
            revision: 99,
            is_quiet: true,
        };
        assert!(!told.by_tick(5, true));
        assert!(told.by_tick(99, true));
    }
}
