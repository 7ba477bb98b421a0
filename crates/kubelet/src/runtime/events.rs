//! Turns the runtime's notices into "this pod changed".
use super::seen::labels;
use crate::pods::owners::Owners;
use futures::{Stream, StreamExt};
use orlop_cri::RuntimeService;
use orlop_cri::events::{EventKind, Notice};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// News that may wait for the pod manager; it never waits for anything itself.
pub const NEWS_WAITING_MAX: usize = 256;
/// A runtime that tells no events is listed this often: there is nothing else to wait for.
const RELIST: Duration = Duration::from_secs(1);

/// What the manager is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Something of this pod ended or went.
    Pod(Arc<str>),
    /// An image came that some pod may wait for.
    Image,
    /// Anything may have changed: look at all of it.
    All,
}

/// Runs until the notices or the listener end.
pub async fn run(
    notices: impl Stream<Item = Notice> + Send,
    runtime: Arc<dyn RuntimeService>,
    owners: Owners,
    news: mpsc::Sender<News>,
) {
    let mut notices = std::pin::pin!(notices);
    while let Some(notice) = notices.next().await {
        let told = match notice {
            Notice::Subscribed(source) => {
                tracing::info!(?source, "listening to the runtime's events");
                Some(News::All)
            }
            Notice::Event(event) => match event.kind {
                EventKind::Exited => owner(&*runtime, &owners, &event.container_id)
                    .await
                    .map(News::Pod),
                EventKind::Deleted => {
                    let uid = owners.of(&event.container_id);
                    owners.forget(&event.container_id);
                    uid.map(News::Pod)
                }
                // Nobody but a pod's own worker starts containers; an out-of-memory kill shows in how they end.
                EventKind::Started | EventKind::Oom => None,
            },
            Notice::Image(_) => Some(News::Image),
            Notice::Lost { reason } => {
                tracing::warn!(reason, "lost the runtime's events: listing once they are back");
                None
            }
            Notice::Unsupported { reason } => {
                tracing::warn!(reason, every = ?RELIST, "the runtime tells no events: listing instead");
                break;
            }
        };
        if let Some(told) = told
            && news.send(told).await.is_err()
        {
            return;
        }
    }
    loop {
        tokio::time::sleep(RELIST).await;
        if news.send(News::All).await.is_err() {
            return;
        }
    }
}

/// The pod of a container or sandbox; the runtime is asked about those nobody noted.
async fn owner(runtime: &dyn RuntimeService, owners: &Owners, id: &str) -> Option<Arc<str>> {
    if let Some(uid) = owners.of(id) {
        return Some(uid);
    }
    let container = runtime
        .container_status(id, false)
        .await
        .ok()
        .and_then(|answer| answer.status);
    let found = match container {
        Some(status) => status.labels,
        None => runtime.pod_sandbox_status(id, false).await.ok()?.status?.labels,
    };
    let uid = found.get(labels::POD_UID)?;
    owners.note(uid, [id]);
    owners.of(id)
}
