//! What happens to containers, told as it happens, so that the agent needs no relist each second.
//!
//! Sources in order: containerd's event service; CRI `GetContainerEvents`; none, which is said, and the agent relists.
//! Events can be lost while a connection is down, so each new subscription starts with [`Notice::Subscribed`]: the moment
//! to list once.

mod confirm;
mod containerd;
mod cri;

use crate::{Remote, RuntimeService};
use futures::{Stream, StreamExt, stream::BoxStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Notices waiting for the agent. A node has a few hundred containers; when all of them end at once this still holds
/// them, and beyond it the runtime's stream waits.
const NOTICES_MAX: usize = 1024;
/// First and longest wait before subscribing again; nothing tells when a runtime is back.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Something that happened to a container or to a sandbox (whose id then stands for its pause process).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEvent {
    /// CRI id of the container or sandbox.
    pub container_id: String,
    /// What happened.
    pub kind: EventKind,
    /// With [`EventKind::Exited`], when the source tells.
    pub exit_code: Option<i32>,
    /// When, by the runtime's clock.
    pub at: SystemTime,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Its process runs.
    Started,
    /// Its process ended. Told only once the runtime's own status says so too.
    Exited,
    /// The kernel killed a process in it for lack of memory; whether the container ends is told apart.
    Oom,
    /// It was removed.
    Deleted,
}

/// Where events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// containerd's event service.
    Containerd,
    /// CRI `GetContainerEvents`.
    Cri,
}

/// One item of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A subscription stands from here on; what happened before it is unknown, so list once.
    Subscribed(Source),
    /// An event.
    Event(RuntimeEvent),
    /// An image came under this name, by whatever way. Only containerd's event service tells.
    Image(String),
    /// The subscription broke; another follows.
    Lost {
        /// Why.
        reason: String,
    },
    /// This runtime tells no events: relist. The last item.
    Unsupported {
        /// What it answered.
        reason: String,
    },
}

/// Why a source gave no (more) events.
#[derive(Debug)]
enum Failure {
    Unimplemented(String),
    Broken(String),
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        let message = status.message().to_owned();
        if status.code() == tonic::Code::Unimplemented {
            Failure::Unimplemented(message)
        } else {
            Failure::Broken(message)
        }
    }
}

type Events = BoxStream<'static, Result<Notice, Failure>>;

/// The events of a runtime, over and over until the stream is dropped.
pub fn subscribe(remote: &Remote) -> impl Stream<Item = Notice> + Send + Unpin + 'static {
    let (sender, receiver) = mpsc::channel(NOTICES_MAX);
    tokio::spawn(feed(remote.clone(), sender));
    ReceiverStream::new(receiver)
}

async fn feed(remote: Remote, notices: mpsc::Sender<Notice>) {
    let runtime: Arc<dyn RuntimeService> = Arc::new(remote.clone());
    let mut delay = RETRY_FIRST;
    let mut lost_is_told = false;
    loop {
        let reason = match open(&remote).await {
            Ok((source, events)) => {
                delay = RETRY_FIRST;
                lost_is_told = false;
                if notices.send(Notice::Subscribed(source)).await.is_err() {
                    return;
                }
                match forward(events, source, &runtime, &notices).await {
                    Some(reason) => reason,
                    None => return,
                }
            }
            Err(Failure::Unimplemented(reason)) => {
                let _ = notices.send(Notice::Unsupported { reason }).await;
                return;
            }
            Err(Failure::Broken(reason)) => reason,
        };
        if !lost_is_told {
            lost_is_told = true;
            if notices.send(Notice::Lost { reason }).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = notices.closed() => return,
        }
        delay = (delay * 2).min(RETRY_MAX);
    }
}

async fn open(remote: &Remote) -> Result<(Source, Events), Failure> {
    match containerd::open(remote).await {
        Ok(events) => return Ok((Source::Containerd, events)),
        Err(Failure::Unimplemented(_)) => {}
        Err(broken) => return Err(broken),
    }
    cri::open(remote).await.map(|events| (Source::Cri, events))
}

/// Passes events on until the source ends (the reason) or nobody listens any more (`None`).
async fn forward(
    mut events: Events,
    source: Source,
    runtime: &Arc<dyn RuntimeService>,
    notices: &mpsc::Sender<Notice>,
) -> Option<String> {
    // What is being confirmed; other events overtake it meanwhile.
    let mut confirming = futures::stream::FuturesUnordered::new();
    loop {
        let notice = tokio::select! {
            () = notices.closed() => return None,
            Some(notice) = confirming.next(), if !confirming.is_empty() => notice,
            next = events.next() => match next {
                // containerd publishes it before its CRI half has written it down.
                Some(Ok(notice)) if source == Source::Containerd && confirm::is_early(&notice) => {
                    confirming.push(confirm::notice(runtime.clone(), notice));
                    continue;
                }
                Some(Ok(notice)) => notice,
                Some(Err(Failure::Broken(reason) | Failure::Unimplemented(reason))) => return Some(reason),
                None => return Some("the runtime closed the event stream".to_owned()),
            },
        };
        if notices.send(notice).await.is_err() {
            return None;
        }
    }
}
