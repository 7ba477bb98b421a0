//! One watch: a task that tells its receiver what has changed, and never waits for anybody else.
use super::Shared;
use super::format::{KEYS, LOG};
use super::read::{self, Changes, Tables};
use super::tail::Place;
use crate::{Event, Revision, StoreError, WatchBatch, WatchRequest, validate};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Batches a receiver may leave lying before its watch falls behind.
pub(super) const CHANNEL_BATCHES: usize = 16;
/// Events read from the database at once, in bytes: bounds a watcher's memory while it catches up.
const CATCH_UP_BYTES_MAX: usize = 512 << 10;
/// Log entries looked at at once: bounds how long a snapshot is held.
const CATCH_UP_ENTRIES_MAX: usize = 2048;

pub(super) struct Watcher {
    pub seat: Seat,
    pub request: WatchRequest,
    /// Next revision to deliver.
    pub next: u64,
    pub sender: mpsc::Sender<Result<WatchBatch, StoreError>>,
    /// The revision up to which everything is in the channel, but for what was passed asleep.
    pub delivered: watch::Sender<u64>,
}

/// A watch's among all of its store, as long as it lives.
pub(super) struct Seat {
    pub shared: Arc<Shared>,
    id: u64,
    place: Place,
}

impl Seat {
    /// With the newest revision that there was before it.
    pub(super) fn take(shared: Arc<Shared>, request: &WatchRequest) -> Result<(Self, u64), StoreError> {
        let place = Place::default();
        let entered = shared
            .tail
            .enter(request.start.clone(), request.end.clone(), place.clone());
        let (id, revision) = entered?;
        Ok((Self { shared, id, place }, revision))
    }

    pub(super) fn progress(&self, delivered: watch::Receiver<u64>) -> WatchProgress {
        WatchProgress {
            delivered,
            place: self.place.clone(),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.tail.leave(self.id);
    }
}

/// How far a watch has come: with every change of the store, wanted by it or not.
#[derive(Debug)]
pub struct WatchProgress {
    delivered: watch::Receiver<u64>,
    place: Place,
}

impl WatchProgress {
    /// Everything up to this revision has been put into the stream.
    pub fn revision(&self) -> u64 {
        let passed = self.place.passed.load(Ordering::Acquire);
        passed.max(*self.delivered.borrow())
    }

    /// Waits until a watch that lags has come further. Of one that does not, the revision is always the store's.
    pub async fn changed(&mut self) -> Result<(), StoreError> {
        self.delivered.changed().await.map_err(|_| StoreError::Closed)
    }
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
            let Seat { shared, id, place } = &self.seat;
            if !shared.tail.sleep(*id, self.next, mark_at.is_some())? {
                let (events, through) = self.collect().await?;
                self.next = through + 1;
                if events.is_empty() {
                    self.mark_later(&mut mark_at);
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
                    Some(at) => shared.clock.sleep_until(at).await,
                    None => pending().await,
                }
            };
            let is_mark_due = tokio::select! {
                // A simulation has no other dice than its own.
                biased;
                () = self.sender.closed() => return Ok(()),
                () = mark_due => true,
                () = place.woken.notified() => false,
            };
            shared.tail.rise(*id);
            let passed = place.passed.load(Ordering::Acquire);
            if passed >= self.next {
                self.next = passed + 1;
                self.mark_later(&mut mark_at);
            }
            if is_mark_due {
                mark_at = None;
                if !self.deliver(Vec::new()).await {
                    return Ok(());
                }
            }
        }
    }

    fn mark_later(&self, mark_at: &mut Option<Duration>) {
        let shared = &self.seat.shared;
        mark_at.get_or_insert_with(|| shared.clock.now() + shared.options.progress_interval);
    }

    /// The next events for this watch, and the revision up to which there are no others.
    async fn collect(&self) -> Result<(Vec<Event>, u64), StoreError> {
        let end = self.request.end.as_ref();
        if let Some(recent) = self.seat.shared.tail.since(self.next) {
            let through = recent.last().map_or(self.next, |last| last.revision);
            let events = recent
                .iter()
                .flat_map(|one| &one.events)
                .filter(|event| validate::contains(&self.request.start, end, &event.kv.key))
                .cloned()
                .collect();
            return Ok((events, through));
        }
        let shared = self.seat.shared.clone();
        let wanted = Changes {
            start: self.request.start.clone(),
            end: self.request.end.clone(),
            from: self.next,
            bytes_max: CATCH_UP_BYTES_MAX,
            entries_max: CATCH_UP_ENTRIES_MAX,
        };
        let spawner = self.seat.shared.options.spawner.clone();
        super::spawner::off_reactor(&*spawner, move || {
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
