//! How long a stored change takes to a thousand watchers of everything, and what a watch costs.
use super::connection::{Connection, Shared};
use super::cpu::{PerRequest, Spent};
use super::target::Target;
use super::{Own, load, objects};
use anyhow::{Context, Result};
use http::Method;
use http_body_util::BodyExt;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const WATCHERS: usize = 1000;
/// Streams that share a connection, below every server's limit.
const STREAMS: usize = 100;
const WRITES_PER_SECOND: u64 = 1000;
const LOAD_TIME: Duration = Duration::from_secs(4);
const WRITERS: usize = 50;
const PATH: &str = "/api/v1/namespaces/watched/configmaps";

/// From a create's answer to the arrival at the watcher that watches this name, of a thousand.
/// Also what a write and its watchers cost.
pub async fn lags(target: &Target) -> Result<(Vec<Duration>, PerRequest)> {
    let (seen, mut arrivals) = mpsc::unbounded_channel::<(usize, Instant)>();
    create_namespace(target)?;
    let total = (WRITES_PER_SECOND * LOAD_TIME.as_secs()) as usize;
    let mut watching = Vec::with_capacity(WATCHERS);
    let mut connection = Shared::open(target).await?;
    for watcher in 0..WATCHERS {
        if watcher % STREAMS == 0 {
            connection = Shared::open(target).await?;
        }
        let path = format!("{PATH}?watch=1&labelSelector=watcher%3Dw{watcher}");
        let mut events = connection.stream(&path).await?;
        let seen = seen.clone();
        watching.push(tokio::spawn(async move {
            while let Some(Ok(frame)) = events.frame().await {
                let now = Instant::now();
                for number in frame.data_ref().into_iter().flat_map(|data| names(data)) {
                    let _ = seen.send((number, now));
                }
            }
        }));
    }
    let before = Spent::now(target.server)?;
    let answered = tokio::task::spawn_blocking({
        let target = target.clone();
        move || write(&target, total)
    })
    .await??;
    let mut lags = Vec::with_capacity(total);
    while lags.len() < total {
        let (number, at) = arrivals.recv().await.context("the watchers have gone")?;
        let answered = answered
            .get(number)
            .copied()
            .flatten()
            .context("an event of no write")?;
        lags.push(at.saturating_duration_since(answered));
    }
    let cpu = Spent::now(target.server)?.since(before, total);
    watching.iter().for_each(tokio::task::JoinHandle::abort);
    Ok((lags, cpu))
}

/// Creates so many ConfigMaps at the measured pace; when each was answered.
fn write(target: &Target, total: usize) -> Result<Vec<Option<Instant>>> {
    let open = (0..WRITERS).map(|writer| Ok((writer, Connection::open(target)?)));
    let open = open.collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    let written = load::together(open, |(writer, mut connection)| {
        let mut answered = Vec::new();
        for number in (writer..total).step_by(WRITERS) {
            let labels = json!({"watcher": format!("w{}", number % WATCHERS)});
            let body = objects::config_map(number, 100, &labels);
            let request = target.request(&Method::POST, PATH, Some(&body));
            let due = start + Duration::from_micros(number as u64 * 1_000_000 / WRITES_PER_SECOND);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            connection.count(&request)?;
            answered.push((number, Instant::now()));
        }
        Ok(answered)
    })?;
    let mut answered = vec![None; total];
    for (number, at) in written.into_iter().flatten() {
        answered[number] = Some(at);
    }
    Ok(answered)
}

/// The numbers of the ConfigMaps that events in these bytes are about. A name split between two frames
/// would be missed, and the wait for it would show; events here are one frame each.
fn names(data: &[u8]) -> Vec<usize> {
    let text = String::from_utf8_lossy(data);
    text.split("\"name\":\"map-")
        .skip(1)
        .filter_map(|rest| rest.get(..6)?.parse().ok())
        .collect()
}

fn create_namespace(target: &Target) -> Result<()> {
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "watched"}}).to_string();
    let request = target.request(&Method::POST, "/api/v1/namespaces", Some(body.as_bytes()));
    Connection::open(target)?.count(&request)?;
    Ok(())
}

/// Bytes of the server's memory per idle watch, with so many on shared connections, and all that is resident.
pub async fn memory(own: &Own, watches: usize) -> Result<(f64, u64)> {
    let target = own.target()?;
    let before = own.memory("RssAnon")?;
    let mut open = Vec::with_capacity(watches);
    let mut connection = Shared::open(&target).await?;
    for number in 0..watches {
        if number % STREAMS == 0 {
            connection = Shared::open(&target).await?;
        }
        let path = format!("/api/v1/pods?watch=1&resourceVersion=0&fieldSelector=spec.nodeName%3Dn{number}");
        open.push(connection.stream(&path).await?);
    }
    let (after, resident) = (own.memory("RssAnon")?, own.memory("VmRSS")?);
    drop(open);
    Ok((after.saturating_sub(before) as f64 / watches as f64, resident))
}
