//! DaemonSets on hollow nodes: API server, controllers and scheduler as processes of their own, the store on disk.
mod cluster;
mod exchange;
mod joining;
mod pods;
mod rolling;
mod sets;

use crate::report;
use anyhow::Result;
use cluster::Cluster;
use pods::Pods;
use std::path::Path;
use std::time::{Duration, Instant};

/// Sizes of the fleet, what upstream needs there, and the bar.
const SIZES: [(usize, &str, Option<f64>); 5] = [
    (500, "-", None),
    (1000, "5.5 - 98 s", Some(1.0)),
    (2500, "-", None),
    (5000, "-", Some(6.0)),
    (15_000, "-", Some(15.0)),
];

/// The parts of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Figures {
    /// A DaemonSet on more and more nodes.
    Place,
    /// A node joins 5,000.
    Join,
    /// A rolling update.
    Roll,
    /// Resident memory.
    Resident,
}

/// Measures. `nodes_max` leaves larger fleets out; no `figures`: all of them.
pub async fn measure(program: &Path, figures: &[Figures], nodes_max: usize) -> Result<()> {
    let wanted = |part| figures.is_empty() || figures.contains(&part);
    if wanted(Figures::Resident) {
        resident(program, nodes_max.min(5000)).await?;
    }
    if wanted(Figures::Place) {
        place(program, nodes_max).await?;
    }
    if wanted(Figures::Roll) {
        rolling::measure(program, nodes_max.min(1000)).await?;
    }
    if wanted(Figures::Join) {
        joining::measure(program, nodes_max.min(5000)).await?;
    }
    Ok(())
}

/// Longer than any of this takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// After so long the parts have given back what was only needed to start, or for a burst of work.
const SETTLING: Duration = Duration::from_secs(75);

async fn place(program: &Path, nodes_max: usize) -> Result<()> {
    let mut cluster = Cluster::start(program).await?;
    let pods = Pods::watch(&cluster.client).await;
    let mut nodes = 0;
    for (size, reference, bar) in SIZES.into_iter().filter(|(size, ..)| *size <= nodes_max) {
        // Pods stay as they are bound: what they do then is no part of this.
        cluster.more_nodes(size - nodes, &["--start-delay=1h"]).await?;
        nodes = size;
        sets::untainted(&cluster.client, nodes, PATIENCE).await?;
        let before = cluster.spent()?;
        let began = Instant::now();
        sets::create(&cluster.client, &sets::daemon_set("place", "1")).await?;
        pods.bound("place", nodes, PATIENCE).await?;
        let lasted = began.elapsed();
        let [server, controllers, scheduler] = cluster.spent()?.each(before, nodes);
        let what = format!("DaemonSet applied -> {nodes} pods created and bound");
        match bar {
            Some(bar) => report::bar(&what, lasted.as_secs_f64(), "s", reference, bar),
            None => report::figure(&what, lasted.as_secs_f64(), "s"),
        }
        println!(
            "  {:.2} ms a node; processor time of each pod: server {server} us, controllers {controllers} us, \
             scheduler {scheduler} us",
            lasted.as_secs_f64() * 1e3 / nodes as f64
        );
        sets::delete(&cluster.client, "place").await?;
        pods.gone("place", PATIENCE).await?;
    }
    Ok(())
}

async fn resident(program: &Path, nodes: usize) -> Result<()> {
    let mut cluster = Cluster::start(program).await?;
    tokio::time::sleep(SETTLING).await;
    let sum = |cluster: &Cluster, line: &str| -> Result<f64> {
        let bytes = cluster.controllers.memory(line)? + cluster.scheduler.memory(line)?;
        Ok(bytes as f64 / 1e6)
    };
    let tell = |cluster: &Cluster, what: &str, reference, bar| -> Result<()> {
        report::bar(what, sum(cluster, "Rss")?, "MB", reference, bar);
        println!(
            "  of that shared with each other and the API server: counted once {:.1} MB; not of the program's file: {:.1} MB",
            sum(cluster, "Pss")?,
            sum(cluster, "Anonymous")?
        );
        Ok(())
    };
    tell(&cluster, "controllers + scheduler idle: resident", "-", 30.0)?;
    let pods = Pods::watch(&cluster.client).await;
    cluster.more_nodes(nodes, &["--start-delay=1s"]).await?;
    for set in ["one", "two"] {
        sets::create(&cluster.client, &sets::daemon_set(set, "1")).await?;
    }
    for set in ["one", "two"] {
        sets::available(&cluster.client, set, nodes, PATIENCE).await?;
        pods.bound(set, nodes, PATIENCE).await?;
    }
    tokio::time::sleep(SETTLING).await;
    let what = format!("  with {nodes} nodes, {} pods", 2 * nodes);
    tell(&cluster, &what, "330 MB at 1000", 100.0)
}
