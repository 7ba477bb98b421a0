//! One client that waits for each of its puts.
use super::disk::Syncs;
use super::{Server, VALUE_BYTES};
use crate::report;
use anyhow::Result;
use std::time::{Duration, Instant};

const ROUNDS: usize = 300;
/// What a put may cost above one data sync.
pub const BAR: Duration = Duration::from_micros(150);

/// Syncs, our puts and etcd's in turn, so that all three see the same disk.
pub async fn measure(face: &Server, etcd: &Server) -> Result<()> {
    let (mut ours, mut theirs) = (face.client().await?, etcd.client().await?);
    let mut disk = Syncs::new()?;
    let (mut syncs, mut our_puts, mut their_puts) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let key = format!("latency/{}", round % 50);
        syncs.push(disk.once()?);
        for (client, puts) in [(&mut ours, &mut our_puts), (&mut theirs, &mut their_puts)] {
            let start = Instant::now();
            client.put(key.as_str(), vec![7; VALUE_BYTES], None).await?;
            puts.push(start.elapsed());
        }
    }
    report::above(
        "1 client, durable put, above one data sync",
        &our_puts,
        &syncs,
        BAR,
    );
    report::ratio("1 client, durable put (vs etcd)", &our_puts, &their_puts, 1.0);
    Ok(())
}
