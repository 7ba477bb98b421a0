//! One client that waits for each of its puts.
use super::disk::Syncs;
use super::wire::{Wire, field};
use super::{Server, VALUE_BYTES};
use crate::report;
use anyhow::Result;
use std::time::{Duration, Instant};

const ROUNDS: usize = 500;
/// Rounds that are not counted.
const WARM_UP: usize = 50;
/// What a put may cost above one data sync.
pub const BAR: Duration = Duration::from_micros(150);

/// Syncs, our puts and etcd's in turn, so that all three see the same disk.
pub fn measure(face: &Server, etcd: &Server) -> Result<()> {
    let open = |server: &Server| Wire::open(server.address(), "/etcdserverpb.KV/Put");
    let (mut ours, mut theirs) = (open(face)?, open(etcd)?);
    let mut disk = Syncs::new()?;
    let (mut syncs, mut our_puts, mut their_puts) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..WARM_UP + ROUNDS {
        let mut message = Vec::new();
        field(1, format!("latency/{}", round % 50).as_bytes(), &mut message);
        field(2, &[7; VALUE_BYTES], &mut message);
        let sync = disk.once()?;
        if round >= WARM_UP {
            syncs.push(sync);
        }
        for (wire, puts) in [(&mut ours, &mut our_puts), (&mut theirs, &mut their_puts)] {
            let start = Instant::now();
            wire.call(&message)?;
            wire.answered()?;
            if round >= WARM_UP {
                puts.push(start.elapsed());
            }
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
