//! Many clients at once.
use super::{Server, VALUE_BYTES};
use crate::report;
use anyhow::Result;
use etcd_client::{Client, GetOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long each load runs.
const LOAD_TIME: Duration = Duration::from_secs(4);
const PUT_CLIENTS: usize = 1000;
const RANGE_CLIENTS: usize = 8;
/// Connections that the clients share.
const CONNECTIONS: usize = 10;
const RANGE_KEYS: usize = 1000;
/// Loads alternate between the two servers so many times.
const ROUNDS: usize = 2;

pub async fn puts(face: &Server, etcd: &Server) -> Result<()> {
    let (mut ours, mut theirs) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        ours += load(face, PUT_CLIENTS, put).await?;
        theirs += load(etcd, PUT_CLIENTS, put).await?;
    }
    report::rate("1,000 clients, durable puts", ours, theirs, ROUNDS, 1.5);
    Ok(())
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
    let (mut ours, mut theirs) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        ours += load(face, RANGE_CLIENTS, range).await?;
        theirs += load(etcd, RANGE_CLIENTS, range).await?;
    }
    report::rate("ranges of 1,000 keys", ours, theirs, ROUNDS, 3.0);
    Ok(())
}

async fn put(mut client: Client, who: usize, round: u64) -> Result<()> {
    let key = format!("load/{who:04}/{}", round % 10);
    client.put(key, vec![7; VALUE_BYTES], None).await?;
    Ok(())
}

async fn range(mut client: Client, _: usize, _: u64) -> Result<()> {
    let answer = client
        .get("range/", Some(GetOptions::new().with_prefix()))
        .await?;
    anyhow::ensure!(answer.kvs().len() == RANGE_KEYS, "a range is not whole");
    Ok(())
}

/// Calls per second of `clients` that each wait for their own.
async fn load<F>(server: &Server, clients: usize, call: fn(Client, usize, u64) -> F) -> Result<f64>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let connections = server.clients(CONNECTIONS.min(clients)).await?;
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let work: Vec<_> = (0..clients)
        .map(|who| {
            let (client, done) = (connections[who % connections.len()].clone(), done.clone());
            tokio::spawn(async move {
                let mut round = 0;
                while start.elapsed() < LOAD_TIME {
                    call(client.clone(), who, round).await?;
                    round += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for one in work {
        one.await??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}
