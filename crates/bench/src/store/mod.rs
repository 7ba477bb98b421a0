//! The embedded store beside Debian's etcd on the same disk, first by a client of etcd for both, then
//! in the process.
mod churn;
mod disk;
mod in_process;
mod latency;
mod resources;
mod server;
mod throughput;
mod watching;
mod wire;

use anyhow::Result;
use server::Server;
use std::path::Path;

/// Bytes of a value where nothing else is said: an etcd benchmark's usual one.
const VALUE_BYTES: usize = 256;

/// The parts of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Figures {
    /// One client that waits for each of its puts.
    Latency,
    /// A thousand clients.
    Puts,
    Ranges,
    Watching,
    Churn,
    /// Memory, and what an idle store writes.
    Resources,
    InProcess,
}

/// Measures everything, or the given parts: `ours` is a program that takes etcd's flags.
pub async fn measure(ours: &Path, figures: &[Figures]) -> Result<()> {
    let wanted = |figure| figures.is_empty() || figures.contains(&figure);
    let (face, etcd) = (
        Server::start(ours).await?,
        Server::start(Path::new("etcd")).await?,
    );
    if wanted(Figures::Latency) {
        latency::measure(&face, &etcd)?;
    }
    if wanted(Figures::Puts) {
        throughput::puts(&face, &etcd)?;
    }
    if wanted(Figures::Ranges) {
        throughput::ranges(&face, &etcd).await?;
    }
    if wanted(Figures::Watching) {
        watching::measure(&face, &etcd).await?;
    }
    if wanted(Figures::Churn) {
        churn::measure(&face, &etcd).await?;
    }
    drop((face, etcd));
    if wanted(Figures::Resources) {
        resources::measure(ours).await?;
    }
    if wanted(Figures::InProcess) {
        in_process::measure().await?;
    }
    Ok(())
}
