//! What Kubernetes does: objects created if absent, updated if unchanged, deleted if unchanged, lists
//! in pages, one watch over everything.
use super::Server;
use crate::report;
use anyhow::{Context, Result, ensure};
use etcd_client::{Client, Compare, CompareOp, GetOptions, Txn, TxnOp, WatchOptions};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const WORKERS: usize = 20;
const OBJECTS_PER_WORKER: usize = 50;
/// An object's encoded size, about that of a pod.
const OBJECT_BYTES: usize = 2000;
const PAGE_KEYS: i64 = 500;
const BAR: Duration = Duration::from_millis(100);

pub async fn measure(face: &Server, etcd: &Server) -> Result<()> {
    let (ours, our_time) = churn(face).await.context("churn")?;
    let (theirs, their_time) = churn(etcd).await.context("churn of etcd")?;
    report::percentile("Kubernetes churn, 0 errors: watch lag p99", &ours, &theirs, BAR);
    report::ratio(
        "Kubernetes churn, whole time (vs etcd)",
        &[our_time],
        &[their_time],
        1.0,
    );
    Ok(())
}

/// The watch's lags, and how long all of it took. Any refused write is an error.
async fn churn(server: &Server) -> Result<(Vec<Duration>, Duration)> {
    let prefix = WatchOptions::new().with_prefix().with_prev_key();
    let mut watch = server
        .client()
        .await?
        .watch_client()
        .watch("/registry/", Some(prefix))
        .await?;
    watch.message().await?.context("no watch")?;
    let total = WORKERS * OBJECTS_PER_WORKER * 3;
    let watcher = tokio::spawn(async move {
        let mut arrivals = HashMap::new();
        let mut last = 0;
        while arrivals.len() < total {
            let response = watch.message().await?.context("the watch has ended")?;
            let now = Instant::now();
            for event in response.events() {
                let revision = event.kv().context("an event without a key")?.mod_revision();
                ensure!(revision > last, "revision {revision} came after {last}");
                last = revision;
                arrivals.insert(revision, now);
            }
        }
        anyhow::Ok(arrivals)
    });
    let start = Instant::now();
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let client = server.client().await?;
        workers.push(tokio::spawn(work(client, worker)));
    }
    let mut answered = Vec::new();
    for worker in workers {
        answered.extend(worker.await??);
    }
    let took = start.elapsed();
    let arrivals = watcher.await??;
    let lag = |(revision, at): &(i64, Instant)| {
        let seen = arrivals.get(revision).context("a write that no event tells of")?;
        Ok(seen.saturating_duration_since(*at))
    };
    let lags = answered.iter().map(lag).collect::<Result<Vec<_>>>()?;
    Ok((lags, took))
}

async fn work(mut client: Client, worker: usize) -> Result<Vec<(i64, Instant)>> {
    let mut answered = Vec::new();
    let mut known = Vec::new();
    for number in 0..OBJECTS_PER_WORKER {
        let key = format!("/registry/pods/ns-{worker}/pod-{number}");
        let put = TxnOp::put(key.as_str(), vec![7; OBJECT_BYTES], None);
        let revision = write(&mut client, &key, 0, put, &mut answered).await?;
        known.push((key, revision));
    }
    for (key, revision) in &mut known {
        let put = TxnOp::put(key.as_str(), vec![8; OBJECT_BYTES], None);
        *revision = write(&mut client, key, *revision, put, &mut answered).await?;
    }
    let prefix = format!("/registry/pods/ns-{worker}/");
    let page = GetOptions::new().with_prefix().with_limit(PAGE_KEYS);
    let listed = client.get(prefix, Some(page)).await?;
    ensure!(listed.kvs().len() == OBJECTS_PER_WORKER, "a list is not whole");
    for (key, revision) in &known {
        let delete = TxnOp::delete(key.as_str(), None);
        write(&mut client, key, *revision, delete, &mut answered).await?;
    }
    Ok(answered)
}

async fn write(
    client: &mut Client,
    key: &str,
    expected: i64,
    op: TxnOp,
    answered: &mut Vec<(i64, Instant)>,
) -> Result<i64> {
    let unchanged = Compare::mod_revision(key, CompareOp::Equal, expected);
    let get = TxnOp::get(key, None);
    let answer = client
        .txn(Txn::new().when([unchanged]).and_then([op]).or_else([get]))
        .await?;
    ensure!(answer.succeeded(), "{key} was not at {expected}");
    let revision = answer.header().context("no header")?.revision();
    answered.push((revision, Instant::now()));
    Ok(revision)
}
