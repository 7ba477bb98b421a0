//! Ends of containers, as the runtime tells them: nobody who waits for one may take the runtime's time.
use anyhow::{Context, Result, ensure};
use futures::{Stream, StreamExt};
use orlop_cri::Remote;
use orlop_cri::events::{self, EventKind, Notice};
use std::collections::HashSet;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

/// A subscription that stands.
pub async fn listen(runtime: &Remote) -> Result<impl Stream<Item = Notice> + Unpin> {
    let mut notices = events::subscribe(runtime);
    let first = notices.next().await.context("the runtime tells no events")?;
    ensure!(
        matches!(first, Notice::Subscribed(_)),
        "not subscribed: {first:?}"
    );
    Ok(notices)
}

/// Waits until the runtime has told the end of each of these containers.
pub async fn of(notices: &mut (impl Stream<Item = Notice> + Unpin), mut ids: HashSet<String>) -> Result<()> {
    let told = async {
        while !ids.is_empty() {
            let notice = notices.next().await.context("the runtime tells no more events")?;
            if let Notice::Event(event) = notice
                && event.kind == EventKind::Exited
            {
                ids.remove(&event.container_id);
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .context("no event of an end")?
}
