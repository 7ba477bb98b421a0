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

use anyhow::Result;
use server::Server;
use std::path::Path;

/// Bytes of a value where nothing else is said: an etcd benchmark's usual one.
const VALUE_BYTES: usize = 256;

/// Measures everything: `ours` is a program that takes etcd's flags.
pub async fn measure(ours: &Path) -> Result<()> {
    let (face, etcd) = (
        Server::start(ours).await?,
        Server::start(Path::new("etcd")).await?,
    );
    latency::measure(&face, &etcd).await?;
    throughput::puts(&face, &etcd).await?;
    throughput::ranges(&face, &etcd).await?;
    watching::measure(&face, &etcd).await?;
    churn::measure(&face, &etcd).await?;
    drop((face, etcd));
    resources::measure(ours).await?;
    in_process::measure().await
}
