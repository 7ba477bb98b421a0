//! How long a change takes to its watcher, with many watchers.
use super::Server;
use crate::report;
use anyhow::{Context, Result};
use etcd_client::WatchOptions;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const WATCHERS: usize = 1000;
/// Streams that the watchers share, as a client's do.
const STREAMS: usize = 10;
const WRITES_PER_SECOND: u64 = 1000;
const LOAD_TIME: Duration = Duration::from_secs(4);
/// Writes that are under way at a time.
const WRITERS: usize = 50;
const BAR: Duration = Duration::from_millis(5);

pub async fn measure(face: &Server, etcd: &Server) -> Result<()> {
    let ours = lags(face).await?;
    let theirs = lags(etcd).await?;
    report::percentile(
        "watch delivery p99, 1,000 watchers, 1,000 writes/s",
        &ours,
        &theirs,
        BAR,
    );
    Ok(())
}

/// From the answer of a write to its arrival at the watcher of its key. A watcher that is told before
/// the writer has no lag.
async fn lags(server: &Server) -> Result<Vec<Duration>> {
    let (seen, mut arrivals) = mpsc::unbounded_channel::<(u64, Instant)>();
    let mut watching = Vec::new();
    for stream in 0..STREAMS {
        let mut client = server.client().await?.watch_client();
        let first = format!("watched/{:04}/", stream);
        let mut watch = client
            .watch(first, Some(WatchOptions::new().with_prefix()))
            .await?;
        watch.message().await?.context("no watch")?;
        for number in (stream + STREAMS..WATCHERS).step_by(STREAMS) {
            let key = format!("watched/{number:04}/");
            watch.watch(key, Some(WatchOptions::new().with_prefix())).await?;
            watch.message().await?.context("no watch")?;
        }
        let seen = seen.clone();
        watching.push(tokio::spawn(async move {
            while let Ok(Some(response)) = watch.message().await {
                let now = Instant::now();
                for event in response.events() {
                    let number = event.kv().and_then(|kv| kv.value_str().ok()?.parse().ok());
                    if let Some(number) = number
                        && seen.send((number, now)).is_err()
                    {
                        return;
                    }
                }
            }
        }));
    }
    let total = WRITES_PER_SECOND * LOAD_TIME.as_secs();
    let client = server.client().await?;
    let start = Instant::now();
    let writers: Vec<_> = (0..WRITERS as u64)
        .map(|writer| {
            let mut client = client.clone();
            tokio::spawn(async move {
                let mut answered = Vec::new();
                for number in (writer..total).step_by(WRITERS) {
                    let due = start + Duration::from_micros(number * 1_000_000 / WRITES_PER_SECOND);
                    tokio::time::sleep_until(due.into()).await;
                    let key = format!("watched/{:04}/x", number as usize % WATCHERS);
                    client.put(key, number.to_string(), None).await?;
                    answered.push((number, Instant::now()));
                }
                anyhow::Ok(answered)
            })
        })
        .collect();
    let mut answered = vec![None; total as usize];
    for writer in writers {
        for (number, at) in writer.await?? {
            answered[number as usize] = Some(at);
        }
    }
    let mut lags = Vec::with_capacity(total as usize);
    while lags.len() < total as usize {
        let (number, at) = arrivals.recv().await.context("the watchers have gone")?;
        let answered = answered[number as usize].context("an event of no write")?;
        lags.push(at.saturating_duration_since(answered));
    }
    watching.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(lags)
}
