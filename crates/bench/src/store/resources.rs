//! Memory of a full store, and what an idle one writes.
use super::Server;
use crate::report;
use anyhow::Result;
use etcd_client::{Txn, TxnOp};
use std::path::Path;
use std::time::Duration;

const KEYS: usize = 100_000;
const VALUE_BYTES: usize = 1000;
const KEYS_PER_TXN: usize = 100;
/// How long an idle store is looked at.
const IDLE_TIME: Duration = Duration::from_secs(5);
/// Time for what was under way, such as the file system's own writes, to end.
const SETTLE: Duration = Duration::from_secs(8);

pub async fn measure(ours: &Path) -> Result<()> {
    let mut face = filled(ours).await?;
    tokio::time::sleep(SETTLE).await;
    let resident = face.resident()?;
    let before = face.written()?;
    tokio::time::sleep(IDLE_TIME).await;
    let after = face.written()?;
    let ours = face.kill_and_start().await?;
    drop(face);
    let mut etcd = filled(Path::new("etcd")).await?;
    let reference = etcd.resident()?;
    let theirs = etcd.kill_and_start().await?;
    drop(etcd);
    let milliseconds = |took: Duration| took.as_secs_f64() * 1e3;
    report::bar(
        "start on 100,000 keys after kill -9, until it answers",
        milliseconds(ours),
        "ms",
        &format!("{:.1} ms", milliseconds(theirs)),
        300.0,
    );
    let bytes = (KEYS * VALUE_BYTES) as f64;
    report::bar(
        "memory with 100,000 keys of 1 kB, per byte of value",
        resident as f64 / bytes,
        "x",
        &format!("{:.1} x", reference as f64 / bytes),
        1.3,
    );
    report::bar(
        "idle: bytes written in 5 s",
        (after.0 - before.0) as f64,
        "B",
        "-",
        0.0,
    );
    report::bar(
        "idle: writing system calls in 5 s",
        (after.1 - before.1) as f64,
        "",
        "-",
        0.0,
    );
    Ok(())
}

async fn filled(program: &Path) -> Result<Server> {
    let server = Server::start(program).await?;
    let mut client = server.client().await?;
    for first in (0..KEYS).step_by(KEYS_PER_TXN) {
        let puts: Vec<_> = (first..first + KEYS_PER_TXN)
            .map(|number| TxnOp::put(format!("/registry/keys/{number:06}"), vec![7; VALUE_BYTES], None))
            .collect();
        client.txn(Txn::new().and_then(puts)).await?;
    }
    Ok(server)
}
