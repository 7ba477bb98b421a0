//! Events for somebody else: lists of them, posted to the server that a kubeconfig file names.
use crate::outbound::{Remote, RemoteError};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

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

/// Sends events.
pub(super) enum Sender {
    Later(mpsc::Sender<String>),
    Now { target: Arc<Target>, strict: bool },
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
                let (sender, events) = mpsc::channel(batches.waiting_max.max(1));
                tokio::spawn(send(events, target, batches));
                Self::Later(sender)
            }
        })
    }

    /// Whether the event was taken, or may be lost.
    pub async fn take(&self, event: &str) -> bool {
        match self {
            Self::Later(waiting) => {
                if waiting.try_send(event.to_owned()).is_err() {
                    tracing::error!("an audit event is lost: too many wait for the webhook");
                }
                true
            }
            Self::Now { target, strict } => target.tell(&[event]).await || !strict,
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

async fn send(mut events: mpsc::Receiver<String>, target: Arc<Target>, batches: Batches) {
    let mut pace = batches.rate.map(Pace::new);
    while let Some(batch) = next(&mut events, &batches).await {
        if let Some(pace) = &mut pace {
            tokio::time::sleep(pace.wait(Instant::now())).await;
        }
        target.tell(&batch).await;
    }
}

/// What comes together; none at the end.
async fn next(events: &mut mpsc::Receiver<String>, batches: &Batches) -> Option<Vec<String>> {
    let mut batch = vec![events.recv().await?];
    let full_by = Instant::now() + batches.time_max;
    while batch.len() < batches.size_max {
        match tokio::time::timeout_at(full_by, events.recv()).await {
            Ok(Some(event)) => batch.push(event),
            Ok(None) | Err(_) => break,
        }
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
        let full = next(&mut events, &batches(2)).await.unwrap();
        assert_eq!(
            (full, began.elapsed()),
            (vec!["1".to_owned(), "2".to_owned()], Duration::ZERO)
        );
        let waited = next(&mut events, &batches(2)).await.unwrap();
        assert_eq!(
            (waited, began.elapsed()),
            (vec!["3".to_owned()], Duration::from_secs(30))
        );
        drop(sender);
        assert_eq!(next(&mut events, &batches(2)).await, None);
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
