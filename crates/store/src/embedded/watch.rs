//! One watch: a task that follows the durable revision and never waits for anybody but its own
//! receiver.
use super::Shared;
use super::format::{KEYS, LOG};
use super::read::{self, Changes, Tables};
use crate::{Event, Revision, StoreError, WatchBatch, WatchRequest, validate};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

use super::tail::Durable;

/// Batches a receiver may leave lying before its watch falls behind.
pub(super) const CHANNEL_BATCHES: usize = 16;
/// Events read from the database at once, in bytes: bounds a watcher's memory while it catches up.
const CATCH_UP_BYTES_MAX: usize = 512 << 10;
/// Log entries looked at at once: bounds how long a snapshot is held.
const CATCH_UP_ENTRIES_MAX: usize = 2048;

pub(super) struct Watcher {
    pub shared: Arc<Shared>,
    pub request: WatchRequest,
    pub durable: watch::Receiver<Durable>,
    /// Next revision to deliver.
    pub next: u64,
    pub sender: mpsc::Sender<Result<WatchBatch, StoreError>>,
    /// The revision up to which everything is in the channel.
    pub delivered: watch::Sender<u64>,
}

impl Watcher {
    pub(super) async fn run(mut self) {
        if let Err(error) = self.follow().await {
            // A receiver that is gone does not need to know.
            let _ = self.sender.send(Err(error)).await;
        }
    }

    /// Runs until the receiver is gone, or the store gives the watch up.
    async fn follow(&mut self) -> Result<(), StoreError> {
        // When to tell the receiver how far it is, after changes that were not for it.
        let mut mark_at: Option<Duration> = None;
        loop {
            let durable = *self.durable.borrow_and_update();
            if durable.closed {
                return Err(StoreError::Closed);
            }
            if self.next <= durable.revision {
                let (events, through) = self.collect().await?;
                self.next = through + 1;
                if events.is_empty() {
                    mark_at.get_or_insert_with(|| {
                        self.shared.clock.now() + self.shared.options.progress_interval
                    });
                } else {
                    mark_at = None;
                    if !self.deliver(events).await {
                        return Ok(());
                    }
                }
                self.delivered.send_replace(through);
                continue;
            }
            let mark_due = async {
                match mark_at {
                    Some(at) => self.shared.clock.sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                changed = self.durable.changed() => if changed.is_err() {
                    return Err(StoreError::Closed);
                },
                () = self.sender.closed() => return Ok(()),
                () = mark_due => {
                    mark_at = None;
                    if !self.deliver(Vec::new()).await {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The next events for this watch, and the revision up to which there are no others.
    async fn collect(&self) -> Result<(Vec<Event>, u64), StoreError> {
        let end = self.request.end.as_ref();
        if let Some(recent) = self.shared.tail.since(self.next) {
            let through = recent.last().map_or(self.next, |last| last.revision);
            let events = recent
                .iter()
                .flat_map(|one| &one.events)
                .filter(|event| validate::contains(&self.request.start, end, &event.kv.key))
                .cloned()
                .collect();
            return Ok((events, through));
        }
        let shared = self.shared.clone();
        let wanted = Changes {
            start: self.request.start.clone(),
            end: self.request.end.clone(),
            from: self.next,
            bytes_max: CATCH_UP_BYTES_MAX,
            entries_max: CATCH_UP_ENTRIES_MAX,
        };
        super::answers::off_reactor(move || {
            shared.db.read(|snapshot| {
                let (keys, log) = (snapshot.open_table(KEYS)?, snapshot.open_table(LOG)?);
                let tables = Tables {
                    keys: &keys,
                    log: &log,
                };
                read::changes(tables, &read::state(snapshot)?, &wanted)
            })
        })
        .await
    }

    async fn deliver(&self, events: Vec<Event>) -> bool {
        let batch = WatchBatch {
            events,
            revision: Revision(self.next - 1),
        };
        self.sender.send(Ok(batch)).await.is_ok()
    }
}
