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
        let mut told = self.progress.revision();
        let progress = self.face.limits.progress;
        let mut is_quiet = true;
        let mut ticks = tokio::time::interval(progress.interval());
        ticks.reset();
        loop {
            tokio::select! {
                batch = self.stream.recv() => match batch {
                    Some(Ok(batch)) => {
                        told = batch.revision.0;
                        is_quiet = false;
                        if !self.send(&batch).await {
                            return;
                        }
                    }
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
                    let is_further = delivered > told || progress.tells_unchanged() && is_quiet;
                    is_quiet = true;
                    if self.stream.is_empty() && is_further {
                        told = delivered;
                        if !self.tell(delivered).await {
                            return;
                        }
                    }
                }
            }
            if !self.answer(&mut pending).await {
                return;
            }
        }
    }

    /// Answers those who waited for a revision that is reached. What has been delivered lies in the
    /// stream already, so it is sent first.
    async fn answer(&mut self, pending: &mut Vec<Reach>) -> bool {
        let delivered = self.progress.revision();
        if pending.iter().all(|asked| asked.revision > delivered) {
            return true;
        }
        while let Ok(Ok(batch)) = self.stream.try_recv() {
            if !self.send(&batch).await {
                return false;
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

    async fn send(&self, batch: &WatchBatch) -> bool {
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
