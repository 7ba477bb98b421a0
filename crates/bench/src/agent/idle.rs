//! What an agent takes while nothing happens: memory, processor, wake-ups, writes.
use super::ground::Ground;
use super::pods::BenchPod;
use super::process::{self, Program, Used};
use super::start::Arena;
use crate::report;
use anyhow::{Context, Result};
use std::time::Duration;

const MANY: usize = 40;
/// After a start: longer than what only starting needs is kept.
const SETTLE: Duration = Duration::from_secs(65);
/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(60);

/// Of an agent without pods, then with forty.
pub async fn measure(ground: &Ground, agent: &Program, client: &kube::Client) -> Result<()> {
    tokio::time::sleep(SETTLE).await;
    let memory = process::resident_mb(agent.id())?;
    report::bar("memory of the agent, no pods", memory, "MB", "71 MB", 15.0);
    let manifests = ground.manifests();
    let arena = Arena::new(ground.remote(), &manifests)?;
    let pods: Vec<BenchPod<'_>> = (0..MANY)
        .map(|number| BenchPod::patient(format!("idle-{number}"), arena.markers.path()))
        .collect();
    arena.through_manifests(&pods).await?;
    tokio::time::sleep(SETTLE).await;

    let (before, writes_before) = (Used::by(agent.id())?, writes(client).await?);
    tokio::time::sleep(WATCHED).await;
    let used = Used::by(agent.id())?.since(before);
    let writes = writes(client).await? - writes_before;
    let share = 100.0 * used.processor.as_secs_f64() / WATCHED.as_secs_f64();
    report::bar("processor, idle with 40 pods", share, "%", "-", 0.1);
    let wakeups = used.wakeups as f64 / WATCHED.as_secs_f64();
    report::bar("wake-ups, idle with 40 pods", wakeups, "/s", "-", 2.0);
    let written = used.written as f64 / 1e3;
    report::bar("written to disk, idle with 40 pods", written, "kB", "-", 0.0);
    report::bar(
        "API writes but the lease, idle with 40 pods",
        writes,
        "writes",
        "-",
        0.0,
    );
    let memory = process::resident_mb(agent.id())?;
    report::bar("memory of the agent, 40 pods", memory, "MB", "87 MB", 25.0);

    let (directory, daemon) = ground.runtime();
    let (daemons, shims) = process::of_runtime(&directory, daemon)?;
    let sum = |ids: &[u32]| -> f64 {
        ids.iter()
            .filter_map(|id| process::proportional_mb(*id).ok())
            .sum()
    };
    let of_shims = sum(&shims);
    report::bar(
        "memory of shims, a pod",
        of_shims / MANY as f64,
        "MB",
        "11-14 MB",
        4.0,
    );
    report::figure(
        "memory of agent, runtime and shims, 40 pods",
        sum(&[agent.id()]) + sum(&daemons) + of_shims,
        "MB",
    );
    arena.end_manifests(&pods).await?;
    Ok(())
}

/// Requests that changed something, but those for leases.
async fn writes(client: &kube::Client) -> Result<f64> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let metrics = client.request_text(request).await?;
    let mut sum = 0.0;
    for line in metrics.lines() {
        let Some(labels) = line.strip_prefix("apiserver_request_total{") else {
            continue;
        };
        let changes = ["POST", "PUT", "PATCH", "DELETE", "APPLY"]
            .iter()
            .any(|verb| labels.contains(&format!("verb=\"{verb}\"")));
        if changes && !labels.contains("resource=\"leases\"") {
            let value = line.rsplit(' ').next().context("a metric has a value")?;
            sum += value.parse::<f64>()?;
        }
    }
    Ok(sum)
}
