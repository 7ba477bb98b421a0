//! The API server over TLS, beside a second server where a kubeconfig names one, and beside upstream's
//! figures on a machine of this kind (two cores for server and client together) where none does.
mod answer;
mod connection;
pub mod cpu;
pub mod load;
mod memory;
mod objects;
mod reads;
mod records;
pub mod target;
mod watching;

use crate::report;
use anyhow::Result;
pub use cpu::PerRequest;
use load::Load;
use std::path::Path;
use std::time::Duration;
pub use target::Own;
use target::Target;

/// What each load came to.
struct Rates<L = Load> {
    get: L,
    list: L,
    labelled: L,
    create: L,
}

impl<L> Rates<L> {
    fn map<M>(self, with: impl Fn(L) -> M) -> Rates<M> {
        Rates {
            get: with(self.get),
            list: with(self.list),
            labelled: with(self.labelled),
            create: with(self.create),
        }
    }
}

/// Upstream's, measured with server and client sharing two cores.
const UPSTREAM: Rates<f64> = Rates {
    get: 2470.0,
    list: 38.0,
    labelled: 1270.0,
    create: 1840.0,
};

/// Watches whose memory is measured; each connection carries a hundred.
const WATCHES: usize = 100_000;

/// The parts of the table, each on servers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Figures {
    /// Reads and creates per second.
    Rates,
    /// From a write to its watchers.
    Fanout,
    /// Idle and with a small cluster.
    Resident,
    /// Per object, and the start on them.
    Objects,
    /// Per watch.
    Watches,
    /// Everybody lists large objects.
    Large,
    /// A few of very many.
    Selected,
}

/// Measures the server of `program`, and with `reference` the one of that kubeconfig under the same load.
/// No `figures`: all of them.
pub async fn measure(program: &Path, reference: Option<&Path>, figures: &[Figures]) -> Result<()> {
    let reference = reference.map(Target::of_kubeconfig).transpose()?;
    let wanted = |part| figures.is_empty() || figures.contains(&part);
    if wanted(Figures::Rates) {
        rates(program, reference.as_ref()).await?;
    }
    if wanted(Figures::Fanout) {
        fanout(program, reference.as_ref()).await?;
    }
    if wanted(Figures::Resident) {
        resident(program).await?;
    }
    if wanted(Figures::Objects) {
        of_objects(program).await?;
    }
    if wanted(Figures::Watches) {
        let own = ready(program).await?;
        let (watch, resident) = watching::memory(&own, WATCHES).await?;
        report::bar(
            "memory per idle watch, 100,000 over HTTP/2",
            watch / 1024.0,
            "KiB",
            "50 - 100",
            4.0,
        );
        report::bar("  resident with them", mebibytes(resident), "MiB", "-", 572.0);
    }
    if wanted(Figures::Large) {
        large(program).await?;
    }
    if wanted(Figures::Selected) {
        let selected = memory::selected_of_many(program).await?;
        report::bar(
            "LIST by label, 10 of 300,000 ConfigMaps",
            report::median(&selected).as_secs_f64() * 1e3,
            "ms",
            "500 ms",
            20.0,
        );
    }
    Ok(())
}

async fn rates(program: &Path, reference: Option<&Target>) -> Result<()> {
    let own = ready(program).await?;
    let ours = reads::measure(&own.target()?)?;
    drop(own);
    let theirs = match reference {
        None => UPSTREAM,
        Some(target) => reads::measure(target)?.map(|load| load.rate),
    };
    let report = |what, ours: Load, theirs, bar| {
        report::rate(what, ours.rate, theirs, 1, bar);
        report::cpu(&ours.cpu);
    };
    report("GET one pod, 4 connections", ours.get, theirs.get, 10.0);
    report("LIST 1,000 pods, 4 connections", ours.list, theirs.list, 8.0);
    report(
        "LIST by label, 20 of 1,000 pods",
        ours.labelled,
        theirs.labelled,
        8.0,
    );
    report(
        "create ConfigMap 500 B, 16 connections, durable",
        ours.create,
        theirs.create,
        4.0,
    );
    Ok(())
}

async fn fanout(program: &Path, reference: Option<&Target>) -> Result<()> {
    let own = ready(program).await?;
    let ours = watching::lags(&own.target()?).await?;
    drop(own);
    let theirs = match reference {
        None => Vec::new(),
        Some(target) => watching::lags(target).await?.0,
    };
    report::percentile(
        "create -> seen, p99, 1,000 watchers, 1,000 writes/s",
        &ours.0,
        &theirs,
        Duration::from_millis(5),
    );
    report::cpu(&ours.1);
    Ok(())
}

async fn resident(program: &Path) -> Result<()> {
    let (idle, cluster) = memory::of_a_cluster(program).await?;
    report::bar(
        "API server idle: resident",
        mebibytes(idle),
        "MiB",
        "292 MiB",
        25.0,
    );
    report::bar(
        "  with 1,000 nodes, 1,000 pods",
        mebibytes(cluster),
        "MiB",
        "540 MiB",
        60.0,
    );
    Ok(())
}

async fn of_objects(program: &Path) -> Result<()> {
    let pods = memory::per_object(program).await?;
    report::bar(
        "memory of 10,000 pods, per byte of JSON",
        pods.per_byte,
        "x",
        "5 - 7 x",
        1.3,
    );
    report::bar(
        "start on 10,000 objects -> ready",
        pods.start.lasted.as_secs_f64() * 1e3,
        "ms",
        "4700 ms",
        300.0,
    );
    println!("  processor time of it: {} ms", pods.start.cpu.as_millis());
    println!(
        "  then until a watch of before goes on: {} ms",
        pods.history.as_millis()
    );
    let large = memory::per_large_object(program).await?;
    report::bar(
        "memory of 1,000 objects of 100 KiB, per byte",
        large,
        "x",
        "5 - 7 x",
        1.3,
    );
    Ok(())
}

async fn large(program: &Path) -> Result<()> {
    let (peak, others) = memory::of_large_lists(program).await?;
    report::bar(
        "16 x LIST 400 Secrets of 1 MB: peak over data",
        mebibytes(peak),
        "MiB",
        "-",
        64.0,
    );
    report::percentile(
        "  p99 of other calls meanwhile",
        &others,
        &[],
        Duration::from_millis(50),
    );
    Ok(())
}

/// A server of ours in which pods can be created.
async fn ready(program: &Path) -> Result<Own> {
    let own = Own::start(program).await?;
    let target = own.target()?;
    let path = "/api/v1/namespaces/default/serviceaccounts";
    let request = target.request(&http::Method::POST, path, Some(&objects::service_account()));
    connection::Connection::open(&target)?.count(&request)?;
    Ok(own)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
