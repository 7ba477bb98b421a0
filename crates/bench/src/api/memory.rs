//! What objects cost in memory, and what happens when everybody lists them at once.
use super::connection::{Connection, Shared};
use super::target::{Start, Target};
use super::{load, objects};
use anyhow::{Context, Result, ensure};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const WRITERS: usize = 32;
const MAPS_PATH: &str = "/api/v1/namespaces/default/configmaps";
const PODS_PATH: &str = "/api/v1/namespaces/default/pods";
const SECRETS_PATH: &str = "/api/v1/namespaces/default/secrets";
const SECRETS: usize = 400;
const SECRET_BYTES: usize = 1 << 20;
const LISTERS: usize = 16;
/// Changes that a watch of before a restart has not seen.
const HISTORY: u64 = 500;

/// Time for freed memory to be given back.
const SETTLE: Duration = Duration::from_secs(2);

/// Resident bytes, idle and with 1,000 nodes and 1,000 pods.
pub async fn of_a_cluster(program: &Path) -> Result<(u64, u64)> {
    let own = super::ready(program).await?;
    let idle = own.memory("VmRSS")?;
    let target = own.target()?;
    load::creates(&target, WRITERS, 1000, "/api/v1/nodes", objects::node)?;
    load::creates(&target, WRITERS, 1000, PODS_PATH, objects::pod)?;
    tokio::time::sleep(SETTLE).await;
    Ok((idle, own.memory("VmRSS")?))
}

/// What 10,000 pods come to.
pub struct Pods {
    /// Bytes of memory per byte of JSON. Pages of the program, which come and go with what runs, are no part of it.
    pub per_byte: f64,
    /// The start on them.
    pub start: Start,
    /// After that, until a watch from before the restart goes on: the cache has its history again.
    pub history: Duration,
}

pub async fn per_object(program: &Path) -> Result<Pods> {
    let mut own = super::ready(program).await?;
    let target = own.target()?;
    let before = own.memory("RssAnon")?;
    load::creates(&target, WRITERS, 10_000, PODS_PATH, objects::pod)?;
    let list = target.request(&Method::GET, PODS_PATH, None);
    let json = Connection::open(&target)?.count(&list)?;
    tokio::time::sleep(SETTLE).await;
    let more = own.memory("RssAnon")?.saturating_sub(before);
    let version = version(&target).await?;
    let start = own.restart().await?;
    Ok(Pods {
        per_byte: more as f64 / json as f64,
        start,
        history: goes_on(&own.target()?, version.saturating_sub(HISTORY)).await?,
    })
}

/// The version that the pods are in.
async fn version(target: &Target) -> Result<u64> {
    let mut connection = Shared::open(target).await?;
    let list = connection.stream(&format!("{PODS_PATH}?limit=1")).await?;
    let list: Value = serde_json::from_slice(&list.collect().await?.to_bytes())?;
    let version = list["metadata"]["resourceVersion"].as_str();
    Ok(version.context("a list without a version")?.parse()?)
}

/// How long a watch from this version waits for its first event.
async fn goes_on(target: &Target, version: u64) -> Result<Duration> {
    let start = Instant::now();
    let mut connection = Shared::open(target).await?;
    let path = format!("{PODS_PATH}?watch=1&resourceVersion={version}&timeoutSeconds=60");
    let mut events = connection.stream(&path).await?;
    let first = events
        .frame()
        .await
        .context("the watch has ended without an event")??;
    let lasted = start.elapsed();
    let is_gone = first
        .data_ref()
        .is_some_and(|data| data.starts_with(br#"{"type":"ERROR""#));
    ensure!(!is_gone, "the history is lost over a restart");
    Ok(lasted)
}

/// The same for 1,000 objects of 100 KiB.
pub async fn per_large_object(program: &Path) -> Result<f64> {
    let own = super::ready(program).await?;
    let target = own.target()?;
    let before = own.memory("RssAnon")?;
    load::creates(&target, WRITERS, 1000, MAPS_PATH, |number| {
        objects::config_map(number, 100 << 10, &json!({}))
    })?;
    tokio::time::sleep(SETTLE).await;
    let more = own.memory("RssAnon")?.saturating_sub(before);
    Ok(more as f64 / f64::from(1000 * (100 << 10)))
}

/// Sixteen clients list 400 Secrets of 1 MB at once: peak memory beyond the data, and how long other
/// calls take meanwhile.
pub async fn of_large_lists(program: &Path) -> Result<(u64, Vec<Duration>)> {
    let own = super::ready(program).await?;
    let target = own.target()?;
    load::creates(&target, 4, SECRETS, SECRETS_PATH, |number| {
        objects::secret(number, SECRET_BYTES)
    })?;
    tokio::time::sleep(SETTLE).await;
    own.reset_peak()?;
    let list = target.request(&Method::GET, SECRETS_PATH, None);
    let small = target.request(&Method::GET, "/api/v1/namespaces/default", None);
    let listing = AtomicUsize::new(LISTERS);
    let lasted = load::together((0..=LISTERS).collect(), |client| {
        let mut connection = Connection::open(&target)?;
        let mut lasted = Vec::new();
        if client < LISTERS {
            let listed = connection.count(&list);
            listing.fetch_sub(1, Ordering::Relaxed);
            listed?;
            return Ok(lasted);
        }
        while listing.load(Ordering::Relaxed) > 0 {
            let start = Instant::now();
            connection.count(&small)?;
            lasted.push(start.elapsed());
            // A bystander, not a load of its own.
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(lasted)
    })?
    .concat();
    let data = (SECRETS * SECRET_BYTES) as u64;
    Ok((own.memory("VmHWM")?.saturating_sub(data), lasted))
}

/// How long it takes to list 10 of 300,000 ConfigMaps by a label.
pub async fn selected_of_many(program: &Path) -> Result<Vec<Duration>> {
    let own = super::ready(program).await?;
    let target = own.target()?;
    load::creates(&target, 64, 300_000, MAPS_PATH, |number| {
        let pick = if number.is_multiple_of(30_000) {
            "yes"
        } else {
            "no"
        };
        objects::config_map(number, 100, &json!({"pick": pick}))
    })?;
    let path = format!("{MAPS_PATH}?labelSelector=pick%3Dyes");
    let list = target.request(&Method::GET, &path, None);
    let mut connection = Connection::open(&target)?;
    let mut lasted = Vec::new();
    for _ in 0..11 {
        let start = Instant::now();
        connection.count(&list)?;
        lasted.push(start.elapsed());
    }
    Ok(lasted)
}
