//! Telling containerd what happened, in order, over its ttrpc socket. While containerd is away events wait, a bounded
//! number for a bounded time: one that comes back asks for the state of everything anyway.

use crate::log;
use crate::proto::events::{Envelope, ForwardRequest};
use crate::proto::{Any, Timestamp};
use crate::ttrpc::Client;
use prost::Message;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

const SERVICE: &str = "containerd.services.events.ttrpc.v1.Events";
/// Events that wait; more are dropped, as upstream does.
const QUEUE_MAX: usize = 2048;
/// Between tries, doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// About a minute and a half of tries in all.
const TRIES: u32 = 11;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Create,
    Start,
    Exit,
    Delete,
    Oom,
    ExecAdded,
    ExecStarted,
    Paused,
    Resumed,
}

impl Topic {
    /// Its topic and its message's type.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Topic::Create => ("/tasks/create", "containerd.events.TaskCreate"),
            Topic::Start => ("/tasks/start", "containerd.events.TaskStart"),
            Topic::Exit => ("/tasks/exit", "containerd.events.TaskExit"),
            Topic::Delete => ("/tasks/delete", "containerd.events.TaskDelete"),
            Topic::Oom => ("/tasks/oom", "containerd.events.TaskOOM"),
            Topic::ExecAdded => ("/tasks/exec-added", "containerd.events.TaskExecAdded"),
            Topic::ExecStarted => ("/tasks/exec-started", "containerd.events.TaskExecStarted"),
            Topic::Paused => ("/tasks/paused", "containerd.events.TaskPaused"),
            Topic::Resumed => ("/tasks/resumed", "containerd.events.TaskResumed"),
        }
    }
}

/// Takes events in.
#[derive(Clone)]
pub struct Publisher {
    namespace: Rc<str>,
    queue: Rc<RefCell<Option<mpsc::Sender<Envelope>>>>,
}

impl Publisher {
    /// The publisher, and the queue for [`forward`].
    pub fn new(namespace: &str) -> (Self, mpsc::Receiver<Envelope>) {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let publisher = Self {
            namespace: namespace.into(),
            queue: Rc::new(RefCell::new(Some(queue))),
        };
        (publisher, waiting)
    }

    /// Takes no more events: [`forward`] ends after those that wait.
    pub fn close(&self) {
        self.queue.take();
    }

    pub fn publish(&self, topic: Topic, event: &impl Message) {
        let (topic, kind) = topic.names();
        let envelope = Envelope {
            timestamp: Some(Timestamp::from(SystemTime::now())),
            namespace: self.namespace.to_string(),
            topic: topic.to_owned(),
            event: Some(Any::of(kind, event)),
        };
        let queue = self.queue.borrow();
        if queue
            .as_ref()
            .is_none_or(|queue| queue.try_send(envelope).is_err())
        {
            log::warn(&format!("an event {topic} is dropped: containerd takes none"));
        }
    }
}

/// Where containerd takes events: as it says in the environment of those it starts, else beside its socket.
pub fn socket(environment: Option<String>, containerd: &Path) -> PathBuf {
    match environment {
        Some(address) if !address.is_empty() => address.trim_start_matches("unix://").into(),
        _ => {
            let mut path = containerd.as_os_str().to_owned();
            path.push(".ttrpc");
            path.into()
        }
    }
}

/// Passes events on until the publisher is closed and the queue is empty.
pub async fn forward(socket: PathBuf, mut waiting: mpsc::Receiver<Envelope>) {
    let mut connection = None;
    while let Some(envelope) = waiting.recv().await {
        let namespace = envelope.namespace.clone();
        let topic = envelope.topic.clone();
        let request = ForwardRequest {
            envelope: Some(envelope),
        };
        let mut delay = RETRY_FIRST;
        for left in (0..TRIES).rev() {
            match send(&socket, &mut connection, &namespace, &request).await {
                Ok(()) => break,
                Err(error) if left == 0 => {
                    log::warn(&format!(
                        "an event {topic} is lost: {}: {error}",
                        socket.display()
                    ));
                }
                Err(_) => {
                    tokio::time::sleep(delay).await;
                    delay *= 2;
                }
            }
        }
    }
}

async fn send(
    socket: &Path,
    connection: &mut Option<Client>,
    namespace: &str,
    request: &ForwardRequest,
) -> std::io::Result<()> {
    let mut client = match connection.take() {
        Some(client) => client,
        None => Client::connect(socket).await?,
    };
    client.call(SERVICE, "Forward", namespace, request).await?;
    *connection = Some(client);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_go_where_containerd_says() {
        let containerd = Path::new("/run/c.sock");
        let of = |environment: Option<&str>| socket(environment.map(str::to_owned), containerd);
        assert_eq!(of(Some("/run/t")), Path::new("/run/t"));
        assert_eq!(of(Some("unix:///run/t")), Path::new("/run/t"));
        assert_eq!(of(Some("")), Path::new("/run/c.sock.ttrpc"));
        assert_eq!(of(None), Path::new("/run/c.sock.ttrpc"));
    }

    #[test]
    fn full_queue_drops_rather_than_grows() {
        let (publisher, mut waiting) = Publisher::new("ns");
        for _ in 0..QUEUE_MAX + 10 {
            publisher.publish(Topic::Start, &crate::proto::Empty {});
        }
        let mut taken = 0;
        while waiting.try_recv().is_ok() {
            taken += 1;
        }
        assert_eq!(taken, QUEUE_MAX);
    }
}
