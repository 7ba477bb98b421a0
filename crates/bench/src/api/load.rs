//! Load on a server: so many connections, each asking again as soon as it is answered.
use super::connection::Connection;
use super::target::Target;
use anyhow::Result;
use bytes::Bytes;
use http::Method;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a rate is measured.
const LOAD_TIME: Duration = Duration::from_secs(4);

/// Answers per second to the same GET.
pub async fn gets(target: &Target, connections: usize, path: &str) -> Result<f64> {
    let mut tasks = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut connection = Connection::open(target).await?;
        // Whatever is done once is done before the clock runs.
        connection.count(Method::GET, path, None).await?;
        let path = path.to_owned();
        tasks.push(async move {
            let start = Instant::now();
            let mut answers = 0_u64;
            while start.elapsed() < LOAD_TIME {
                connection.count(Method::GET, &path, None).await?;
                answers += 1;
            }
            anyhow::Ok(answers as f64 / start.elapsed().as_secs_f64())
        });
    }
    let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    let mut rate = 0.0;
    for task in tasks {
        rate += task.await??;
    }
    Ok(rate)
}

/// POSTs `count` bodies; how many are stored per second.
pub async fn creates<F>(target: &Target, connections: usize, count: usize, path: &str, body: F) -> Result<f64>
where
    F: Fn(usize) -> Bytes + Send + Sync + 'static,
{
    let (next, body) = (Arc::new(AtomicUsize::new(0)), Arc::new(body));
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Connection::open(target).await?);
    }
    let start = Instant::now();
    let mut tasks = Vec::with_capacity(connections);
    for mut connection in open {
        let (next, body, path) = (next.clone(), body.clone(), path.to_owned());
        tasks.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(());
                }
                connection.count(Method::POST, &path, Some(body(number))).await?;
            }
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}
