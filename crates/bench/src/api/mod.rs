//! The API server over TLS, beside a second server where a kubeconfig names one, and beside upstream's
//! figures on a machine of this kind (two cores for server and client together) where none does.
mod connection;
mod load;
mod memory;
mod objects;
mod reads;
mod target;
mod watching;

use crate::report;
use anyhow::Result;
use std::path::Path;
use std::time::Duration;
use target::{Own, Target};

/// Answers per second.
struct Rates {
    get: f64,
    list: f64,
    labelled: f64,
    create: f64,
}

/// Upstream's, measured with server and client sharing two cores.
const UPSTREAM: Rates = Rates {
    get: 2470.0,
    list: 38.0,
    labelled: 1270.0,
    create: 1840.0,
};

/// Watches whose memory is measured; each connection carries a hundred.
const WATCHES: usize = 20_000;

/// Measures the server of `program`, and with `reference` the one of that kubeconfig under the same load.
pub async fn measure(program: &Path, reference: Option<&Path>) -> Result<()> {
    let (own, rates, lags) = {
        let own = ready(program).await?;
        let rates = reads::measure(&own.target()?).await?;
        let lags = watching::lags(&own.target()?).await?;
        (own, rates, lags)
    };
    let (theirs, their_lags) = match reference {
        None => (UPSTREAM, Vec::new()),
        Some(kubeconfig) => {
            let target = Target::of_kubeconfig(kubeconfig)?;
            (reads::measure(&target).await?, watching::lags(&target).await?)
        }
    };
    report::rate("GET one pod, 4 connections", rates.get, theirs.get, 1, 10.0);
    report::rate("LIST 1,000 pods, 4 connections", rates.list, theirs.list, 1, 8.0);
    report::rate(
        "LIST by label, 20 of 1,000 pods",
        rates.labelled,
        theirs.labelled,
        1,
        8.0,
    );
    report::rate(
        "create ConfigMap 500 B, 16 connections, durable",
        rates.create,
        theirs.create,
        1,
        4.0,
    );
    report::percentile(
        "create -> seen, p99, 1,000 watchers, 1,000 writes/s",
        &lags,
        &their_lags,
        Duration::from_millis(5),
    );
    drop(own);

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
    let (pods, restart) = memory::per_object(program).await?;
    report::bar(
        "memory of 10,000 pods, per byte of JSON",
        pods,
        "x",
        "5 - 7 x",
        1.3,
    );
    report::bar(
        "start on 10,000 objects -> ready",
        restart.as_secs_f64() * 1e3,
        "ms",
        "4700 ms",
        300.0,
    );
    let large = memory::per_large_object(program).await?;
    report::bar(
        "memory of 1,000 objects of 100 KiB, per byte",
        large,
        "x",
        "5 - 7 x",
        1.3,
    );
    let own = ready(program).await?;
    let watch = watching::memory(&own, WATCHES).await?;
    report::bar(
        "memory per idle watch, 20,000 over HTTP/2",
        watch / 1024.0,
        "KiB",
        "50 - 100",
        4.0,
    );
    drop(own);
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
    let selected = memory::selected_of_many(program).await?;
    report::bar(
        "LIST by label, 10 of 300,000 ConfigMaps",
        report::median(&selected).as_secs_f64() * 1e3,
        "ms",
        "500 ms",
        20.0,
    );
    Ok(())
}

/// A server of ours in which pods can be created.
async fn ready(program: &Path) -> Result<Own> {
    let own = Own::start(program).await?;
    let mut connection = connection::Connection::open(&own.target()?).await?;
    let path = "/api/v1/namespaces/default/serviceaccounts";
    connection
        .count(http::Method::POST, path, Some(objects::service_account()))
        .await?;
    Ok(own)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
