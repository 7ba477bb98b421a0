//! Load on a server: so many connections, each on a thread of its own, asking again as soon as it is answered.
use super::connection::Connection;
use super::cpu::{PerRequest, Spent};
use super::target::Target;
use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a rate is measured.
const LOAD_TIME: Duration = Duration::from_secs(4);

/// What came of a load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Answers per second.
    pub rate: f64,
    pub cpu: PerRequest,
}

/// Answers per second to the same GET.
pub fn gets(target: &Target, connections: usize, path: &str) -> Result<Load> {
    let request = target.request(&Method::GET, path, None);
    let mut open = opened(target, connections)?;
    // Whatever is done once is done before the clock runs.
    for connection in &mut open {
        connection.count(&request)?;
    }
    let (start, before) = (Instant::now(), Spent::now(target.server)?);
    let ask = |mut connection: Connection| {
        let mut answers = 0;
        while start.elapsed() < LOAD_TIME {
            connection.count(&request)?;
            answers += 1;
        }
        Ok(answers)
    };
    let answers = together(open, ask)?.iter().sum();
    load(target, start, before, answers)
}

/// POSTs `count` bodies; how many are stored per second.
pub fn creates<F>(target: &Target, connections: usize, count: usize, path: &str, body: F) -> Result<Load>
where
    F: Fn(usize) -> Bytes + Sync,
{
    let next = AtomicUsize::new(0);
    let open = opened(target, connections)?;
    let (start, before) = (Instant::now(), Spent::now(target.server)?);
    let create = |mut connection: Connection| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            connection.count(&target.request(&Method::POST, path, Some(&body(number))))?;
        }
    };
    together(open, create)?;
    load(target, start, before, count)
}

fn opened(target: &Target, connections: usize) -> Result<Vec<Connection>> {
    (0..connections).map(|_| Connection::open(target)).collect()
}

/// Does `work` with each of `parts`, all at the same time.
pub fn together<P: Send, R: Send>(parts: Vec<P>, work: impl Fn(P) -> Result<R> + Sync) -> Result<Vec<R>> {
    thread::scope(|scope| {
        let running: Vec<_> = parts.into_iter().map(|part| scope.spawn(|| work(part))).collect();
        let ended = running
            .into_iter()
            .map(|thread| thread.join().ok().context("a client panicked")?);
        ended.collect()
    })
}

fn load(target: &Target, start: Instant, before: Spent, requests: usize) -> Result<Load> {
    let lasted = start.elapsed();
    Ok(Load {
        rate: requests as f64 / lasted.as_secs_f64(),
        cpu: Spent::now(target.server)?.since(before, requests),
    })
}
