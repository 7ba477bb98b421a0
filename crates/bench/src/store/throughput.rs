//! Many clients at once.
use super::wire::{Wire, field};
use super::{Server, VALUE_BYTES};
use crate::api::cpu::{PerRequest, Spent};
use crate::report;
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

/// How long each load runs.
const LOAD_TIME: Duration = Duration::from_secs(4);
const PUT_CLIENTS: usize = 1000;
const RANGE_CLIENTS: usize = 8;
/// Connections that the clients share.
const CONNECTIONS: usize = 10;
const RANGE_KEYS: usize = 1000;
/// Loads alternate between the two servers so many times.
const ROUNDS: usize = 3;

/// What clients ask, each again as soon as it is answered.
struct Asking {
    clients: usize,
    path: &'static str,
    /// By a client's number, and how often it has asked.
    message: fn(usize, usize) -> Vec<u8>,
    /// Bytes that an answer has at the least.
    bytes_min: usize,
}

pub fn puts(face: &Server, etcd: &Server) -> Result<()> {
    let asking = Asking {
        clients: PUT_CLIENTS,
        path: "/etcdserverpb.KV/Put",
        message: put,
        bytes_min: 1,
    };
    in_turn(face, etcd, &asking, "1,000 clients, durable puts", 1.5)
}

pub async fn ranges(face: &Server, etcd: &Server) -> Result<()> {
    for server in [face, etcd] {
        let mut client = server.client().await?;
        for number in 0..RANGE_KEYS {
            client
                .put(format!("range/{number:06}"), vec![7; VALUE_BYTES], None)
                .await?;
        }
    }
    let asking = Asking {
        clients: RANGE_CLIENTS,
        path: "/etcdserverpb.KV/Range",
        message: range,
        bytes_min: RANGE_KEYS * VALUE_BYTES,
    };
    in_turn(face, etcd, &asking, "ranges of 1,000 keys", 3.0)
}

fn put(who: usize, round: usize) -> Vec<u8> {
    let mut message = Vec::new();
    field(
        1,
        format!("load/{who:04}/{}", round % 10).as_bytes(),
        &mut message,
    );
    field(2, &[7; VALUE_BYTES], &mut message);
    message
}

fn range(_: usize, _: usize) -> Vec<u8> {
    let mut message = Vec::new();
    field(1, b"range/", &mut message);
    field(2, b"range0", &mut message);
    message
}

/// The same load on both, in turn.
fn in_turn(face: &Server, etcd: &Server, asking: &Asking, what: &str, bar: f64) -> Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(load(face, asking)?);
        theirs.push(load(etcd, asking)?);
    }
    let sum = |loads: &[Load]| loads.iter().map(|load| load.per_second).sum::<f64>();
    report::rate(what, sum(&ours), sum(&theirs), ROUNDS, bar);
    for loads in [&ours, &theirs] {
        if let Some(last) = loads.last() {
            report::cpu(&last.cpu);
        }
    }
    Ok(())
}

/// What a load came to.
struct Load {
    per_second: f64,
    cpu: PerRequest,
}

fn load(server: &Server, asking: &Asking) -> Result<Load> {
    let connections = CONNECTIONS.min(asking.clients);
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Wire::open(server.address(), asking.path)?);
    }
    let (start, before) = (Instant::now(), Spent::now(Some(server.id()))?);
    let done = thread::scope(|scope| {
        let running: Vec<_> = open
            .into_iter()
            .enumerate()
            .map(|(first, wire)| {
                let clients = (first..asking.clients).step_by(connections);
                scope.spawn(move || ask(wire, clients, asking, start))
            })
            .collect();
        let mut done = 0;
        for thread in running {
            done += thread.join().ok().context("a client panicked")??;
        }
        anyhow::Ok(done)
    })?;
    Ok(Load {
        per_second: done as f64 / start.elapsed().as_secs_f64(),
        cpu: Spent::now(Some(server.id()))?.since(before, done),
    })
}

/// Those clients that share a connection; answers how many answers they got.
fn ask(
    mut wire: Wire,
    clients: impl Iterator<Item = usize>,
    asking: &Asking,
    start: Instant,
) -> Result<usize> {
    let mut waiting = HashMap::new();
    for who in clients {
        waiting.insert(wire.call(&(asking.message)(who, 0))?, (who, 0));
    }
    let mut done = 0;
    while !waiting.is_empty() {
        for call in wire.answered()? {
            let (who, round) = waiting.remove(&call.stream).context("an answer to nobody")?;
            ensure!(call.bytes >= asking.bytes_min, "an answer is not whole");
            done += 1;
            if start.elapsed() < LOAD_TIME {
                let stream = wire.call(&(asking.message)(who, round + 1))?;
                waiting.insert(stream, (who, round + 1));
            }
        }
    }
    Ok(done)
}
