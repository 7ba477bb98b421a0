//! Start of a node with its state present, and the memory of the single process.
use crate::machine::Node;
use crate::report;
use anyhow::Result;
use k8s_openapi::jiff::Timestamp;
use std::time::{Duration, Instant};

/// Idle time before memory is read: long enough for start-up's allocations to be given back.
const SETTLE: Duration = Duration::from_secs(15);

/// Plays the example, restarts the node `rounds` times beside it, then reads the process's memory.
pub async fn measure(node: &mut Node, rounds: usize) -> Result<()> {
    node.play_example()?;
    let (mut answered, mut ready) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        node.kill()?;
        let (started, start) = (Instant::now(), Timestamp::now());
        node.launch()?;
        let client = node.client_when_answering().await?;
        answered.push(started.elapsed());
        node.wait_ready(&client, start).await?;
        ready.push(started.elapsed());
    }
    let seconds = |samples: &[Duration]| report::median(samples).as_secs_f64();
    report::bar(
        "start with state present -> first API answer",
        seconds(&answered) * 1e3,
        "ms",
        "-",
        300.0,
    );
    report::bar(
        "start with state present -> node Ready",
        seconds(&ready) * 1e3,
        "ms",
        "-",
        2000.0,
    );
    tokio::time::sleep(SETTLE).await;
    report::bar(
        "memory of the single process, idle",
        node.resident_mb()?,
        "MB",
        "~600 MB",
        40.0,
    );
    Ok(())
}
