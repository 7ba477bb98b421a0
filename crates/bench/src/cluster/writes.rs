//! Writes through three API servers on three members of etcd, beside what the same members take of the same values from
//! etcd's own clients. All clients are in the network of the machines.
use super::straight::{Write, connect, straight};
use super::{MASTERS, Machines};
use crate::api::load::{creates, together};
use crate::api::target::Target;
use crate::report;
use anyhow::{Context, Result};
use etcd_client::Client;
use nix::sched::{CloneFlags, setns};
use serde_json::json;
use std::fs::File;
use std::time::Instant;

/// Clients at a time, shared out to the members.
pub const CLIENTS: usize = 48;
/// Loads alternate so many times.
const ROUNDS: usize = 3;
/// Bytes of an object's data.
const DATA_BYTES: usize = 1024;
const SHARE_MIN: f64 = 0.9;
const PATH: &str = "/api/v1/namespaces/default/configmaps";

/// `writes`: objects of each load.
pub fn measure(machines: &Machines, writes: usize) -> Result<()> {
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            // Of this thread, and of those that it starts.
            setns(File::open(machines.lab.network()?)?, CloneFlags::CLONE_NEWNET)?;
            inside(machines, writes)
        });
        measuring.join().ok().context("the measurement panicked")?
    })
}

fn inside(machines: &Machines, writes: usize) -> Result<()> {
    let admin = std::fs::read_to_string(machines.lab.path(MASTERS[0], "/etc/kubernetes/admin.conf")?)?;
    let mut targets = Vec::new();
    let mut members = Vec::new();
    for master in MASTERS {
        let address = machines.lab.machine(master)?.address;
        let path = machines.directory.path().join(format!("{master}.conf"));
        std::fs::write(
            &path,
            admin.replace(&orlop_lab::GATEWAY.to_string(), &address.to_string()),
        )?;
        targets.push(Target::of_kubeconfig(&path)?);
        members.push(format!("https://{address}:2379"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let clients = runtime.block_on(connect(machines, &members))?;
    let (mut ours, mut theirs, mut guarded) = (0.0, 0.0, 0.0);
    let mut bytes = 0;
    for round in 0..ROUNDS {
        ours += through_servers(&targets, round, writes)?;
        if bytes == 0 {
            bytes = runtime.block_on(stored_bytes(clients[0].clone()))?;
        }
        theirs += runtime.block_on(straight(&clients, bytes, round, writes, Write::Put))?;
        guarded += runtime.block_on(straight(&clients, bytes, round, writes, Write::Guarded))?;
    }
    report::rate(
        &format!("writes of {bytes} B through three members"),
        ours,
        theirs,
        ROUNDS,
        SHARE_MIN,
    );
    report::share(
        "  etcd's clients, when they write as API servers do",
        guarded,
        theirs,
        ROUNDS,
    );
    Ok(())
}

/// ConfigMaps created per second, by clients of each API server.
fn through_servers(targets: &[Target], round: usize, writes: usize) -> Result<f64> {
    let began = Instant::now();
    let each = targets.len();
    let parts: Vec<(usize, &Target)> = targets.iter().enumerate().collect();
    together(parts, |(server, target)| {
        creates(target, CLIENTS / each, writes / each, PATH, |number| {
            let map = json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": format!("bench-{round}-{server}-{number:05}")},
                "data": {"value": "x".repeat(DATA_BYTES)},
            });
            map.to_string().into()
        })
    })?;
    Ok(writes as f64 / began.elapsed().as_secs_f64())
}

/// How long a ConfigMap is as it is stored.
async fn stored_bytes(mut client: Client) -> Result<usize> {
    let found = client
        .get("/registry/configmaps/default/bench-0-0-00000", None)
        .await?;
    Ok(found.kvs().first().context("nothing is stored")?.value().len())
}
