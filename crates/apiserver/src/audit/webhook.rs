//! Events for somebody else: lists of them, posted to the server that a kubeconfig file names.
use crate::outbound::{Remote, RemoteError};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Whom events are sent to, and how.
#[derive(Clone, Debug)]
pub struct AuditWebhook {
    pub kubeconfig: PathBuf,
    pub sending: Sending,
    /// Before a list is sent again that was not taken; each further pause is half as long again.
    pub first_pause: Duration,
}

/// When events are sent.
#[derive(Clone, Debug)]
pub enum Sending {
    /// Later, many at once.
    Batches(Batches),
    /// Before the request goes on.
    Blocking {
        /// A request whose receipt nobody takes note of is refused.
        strict: bool,
    },
}

/// How events are gathered.
#[derive(Clone, Debug)]
pub struct Batches {
    /// Events that may wait; those beyond are lost.
    pub waiting_max: usize,
    /// Events of one list.
    pub size_max: usize,
    /// How long a list waits to be full.
    pub time_max: Duration,
    /// How often lists are sent, if there is a limit.
    pub rate: Option<Rate>,
}

/// So many a second, and so many at once after a quiet time.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub per_second: f64,
    pub burst: u32,
}

/// Bytes of the events that wait, together; those beyond are lost.
const WAITING_BYTES_MAX: u32 = 64 << 20;
/// Events that are gathered when the server stops are sent for so long.
const STOP_TIME: Duration = Duration::from_secs(10);

/// Sends events.
pub(super) enum Sender {
    Later(Gathering),
    Now { target: Arc<Target>, strict: bool },
}

/// Events on their way to be sent with others.
pub(super) struct Gathering {
    waiting: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    /// Whether the last one was lost.
    loses: AtomicBool,
    stopping: CancellationToken,
    /// Who sends them.
    sending: TaskTracker,
}

/// An event with its share of the bytes that may wait.
struct Waiting {
    event: String,
    _room: OwnedSemaphorePermit,
}

impl AsRef<str> for Waiting {
    fn as_ref(&self) -> &str {
        &self.event
    }
}

/// Where lists go.
pub(super) struct Target {
    remote: Remote,
    first_pause: Duration,
}

impl Sender {
    /// # Errors
    /// The kubeconfig file cannot be used.
    pub fn new(config: AuditWebhook) -> Result<Self, RemoteError> {
        let target = Arc::new(Target {
            remote: Remote::from_kubeconfig(&config.kubeconfig)?,
            first_pause: config.first_pause,
        });
        Ok(match config.sending {
            Sending::Blocking { strict } => Self::Now { target, strict },
            Sending::Batches(batches) => {
                let (waiting, events) = mpsc::channel(batches.waiting_max.max(1));
                let (stopping, sending) = (CancellationToken::new(), TaskTracker::new());
                sending.spawn(send(events, target, batches, stopping.clone()));
                Self::Later(Gathering {
                    waiting,
                    room: Arc::new(Semaphore::new(WAITING_BYTES_MAX as usize)),
                    loses: AtomicBool::new(false),
                    stopping,
                    sending,
                })
            }
        })
    }

    /// Whether the event was taken, or may be lost.
    pub async fn take(&self, event: &str) -> bool {
        match self {
            Self::Later(gathering) => {
                gathering.take(event);
                true
            }
            Self::Now { target, strict } => target.tell(&[event]).await || !strict,
        }
    }

    /// Has what is gathered sent, within [`STOP_TIME`].
    pub async fn stop(&self) {
        let Self::Later(gathering) = self else {
            return;
        };
        gathering.stopping.cancel();
        gathering.sending.close();
        let sent = tokio::time::timeout(STOP_TIME, gathering.sending.wait()).await;
        if sent.is_err() {
            tracing::error!("audit events are lost: the webhook did not take them before the server stopped");
        }
    }
}

impl Gathering {
    fn has_taken(&self, event: &str) -> bool {
        let bytes = u32::try_from(event.len()).unwrap_or(u32::MAX);
        let room = self.room.clone().try_acquire_many_owned(bytes);
        room.is_ok_and(|room| {
            let waiting = Waiting {
                event: event.to_owned(),
                _room: room,
            };
            self.waiting.try_send(waiting).is_ok()
        })
    }

    fn take(&self, event: &str) {
        let is_lost = !self.has_taken(event);
        // Said once, not for every event that a silent webhook costs.
        if is_lost && !self.loses.swap(true, Ordering::Relaxed) {
            tracing::error!("audit events are lost: too many wait for the webhook");
        } else if !is_lost {
            self.loses.store(false, Ordering::Relaxed);
        }
    }
}

impl Target {
    /// Whether a list was taken.
    async fn tell<E: AsRef<str>>(&self, events: &[E]) -> bool {
        match self.remote.tell(list(events), self.first_pause).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, events = events.len(), "audit events were not taken by the webhook");
                false
            }
        }
    }
}

/// An EventList.
fn list<E: AsRef<str>>(events: &[E]) -> Bytes {
    let items: Vec<&str> = events.iter().map(AsRef::as_ref).collect();
    let head = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
    format!("{head}{}]}}", items.join(",")).into()
}

/// Sends what is gathered, until there is no more to come after `stopping`.
async fn send(
    mut events: mpsc::Receiver<Waiting>,
    target: Arc<Target>,
    batches: Batches,
    stopping: CancellationToken,
) {
    let mut pace = batches.rate.map(Pace::new);
    while let Some(batch) = next(&mut events, &batches, &stopping).await {
        if let Some(pace) = &mut pace {
            tokio::select! {
                () = tokio::time::sleep(pace.wait(Instant::now())) => {}
                () = stopping.cancelled() => {}
            }
        }
        target.tell(&batch).await;
    }
}

/// What comes together; none at the end. From `stopping` on nothing is waited for.
async fn next<E>(
    events: &mut mpsc::Receiver<E>,
    batches: &Batches,
    stopping: &CancellationToken,
) -> Option<Vec<E>> {
    let first = tokio::select! {
        // What is there comes before what ends it.
        biased;
        event = events.recv() => event?,
        () = stopping.cancelled() => return None,
    };
    let mut batch = vec![first];
    let mut over = std::pin::pin!(tokio::time::timeout(batches.time_max, stopping.cancelled()));
    while batch.len() < batches.size_max {
        let event = tokio::select! {
            biased;
            event = events.recv() => event,
            _ = over.as_mut() => None,
        };
        let Some(event) = event else { break };
        batch.push(event);
    }
    Some(batch)
}

/// Keeps a rate.
struct Pace {
    interval: Duration,
    burst: Duration,
    /// When what was let through so far would have been, one by one.
    even: Option<Instant>,
}

impl Pace {
    fn new(rate: Rate) -> Self {
        let interval = Duration::from_secs_f64(1.0 / rate.per_second.max(1e-3));
        Self {
            interval,
            burst: interval * rate.burst.saturating_sub(1),
            even: None,
        }
    }

    /// How long the next one waits.
    fn wait(&mut self, now: Instant) -> Duration {
        let even = self.even.unwrap_or(now).max(now);
        self.even = Some(even + self.interval);
        even.saturating_duration_since(now).saturating_sub(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(size_max: usize) -> Batches {
        Batches {
            waiting_max: 10,
            size_max,
            time_max: Duration::from_secs(30),
            rate: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_sent_when_it_is_full_or_has_waited() {
        let (sender, mut events) = mpsc::channel(10);
        for event in ["1", "2", "3"] {
            sender.send(event.to_owned()).await.unwrap();
        }
        let began = Instant::now();
        let stopping = CancellationToken::new();
        let full = next(&mut events, &batches(2), &stopping).await.unwrap();
        assert_eq!(
            (full, began.elapsed()),
            (vec!["1".to_owned(), "2".to_owned()], Duration::ZERO)
        );
        let waited = next(&mut events, &batches(2), &stopping).await.unwrap();
        assert_eq!(
            (waited, began.elapsed()),
            (vec!["3".to_owned()], Duration::from_secs(30))
        );
        drop(sender);
        assert_eq!(next(&mut events, &batches(2), &stopping).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_waited_for_when_the_server_stops() {
        let (sender, mut events) = mpsc::channel(10);
        let stopping = CancellationToken::new();
        sender.send("1".to_owned()).await.unwrap();
        stopping.cancel();
        let began = Instant::now();
        let left = next(&mut events, &batches(2), &stopping).await;
        assert_eq!(
            (left, began.elapsed()),
            (Some(vec!["1".to_owned()]), Duration::ZERO)
        );
        assert_eq!(next(&mut events, &batches(2), &stopping).await, None);
    }

    #[test]
    fn events_that_wait_take_no_more_than_so_much_memory() {
        let (waiting, mut events) = mpsc::channel(1000);
        let gathering = Gathering {
            waiting,
            room: Arc::new(Semaphore::new(10)),
            loses: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            sending: TaskTracker::new(),
        };
        let taken = ["123456", "12345", "1234", "1"].map(|event| gathering.has_taken(event));
        assert_eq!(taken, [true, false, true, false]);
        drop(events.try_recv().unwrap());
        assert!(gathering.has_taken("12345"));
    }

    #[test]
    fn a_burst_goes_through_and_then_the_rate_is_kept() {
        let mut pace = Pace::new(Rate {
            per_second: 10.0,
            burst: 3,
        });
        let now = Instant::now();
        let waits: Vec<u128> = (0..5).map(|_| pace.wait(now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
        assert_eq!(pace.wait(now + Duration::from_secs(60)), Duration::ZERO);
    }

    #[test]
    fn events_go_as_a_list() {
        let list: serde_json::Value = serde_json::from_slice(&list(&[r#"{"a":1}"#, r#"{"b":2}"#])).unwrap();
        assert_eq!(list["kind"], "EventList");
        assert_eq!(list["items"], serde_json::json!([{"a": 1}, {"b": 2}]));
    }
}
