//! What objects cost in memory, and what happens when everybody lists them at once.
use super::connection::Connection;
use super::target::Start;
use super::{load, objects};
use anyhow::Result;
use http::Method;
use serde_json::json;
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

/// Bytes of memory per byte of JSON, for 10,000 pods; and the time to start on them again. Pages of the program, which
/// come and go with what runs, are no part of an object.
pub async fn per_object(program: &Path) -> Result<(f64, Start)> {
    let mut own = super::ready(program).await?;
    let target = own.target()?;
    let before = own.memory("RssAnon")?;
    load::creates(&target, WRITERS, 10_000, PODS_PATH, objects::pod)?;
    let list = target.request(&Method::GET, PODS_PATH, None);
    let json = Connection::open(&target)?.count(&list)?;
    tokio::time::sleep(SETTLE).await;
    let more = own.memory("RssAnon")?.saturating_sub(before);
    let restart = own.restart().await?;
    Ok((more as f64 / json as f64, restart))
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
