//! What only the embedded store promises: what it does with its file, its clock and their failures.
#![allow(clippy::unwrap_used)]
#[path = "../common/mod.rs"]
mod common;

mod disk;
mod failing_disk;
mod file;
mod full_disk;
mod idle;
mod journal;
mod model;
mod power;
mod rot;
mod simulation;
mod time;
mod torture;
mod upgrade;
mod waiting;

use orlop_store::Store;
use orlop_store::embedded::{Clock, EmbeddedStore, Options, SystemClock};
use std::sync::Arc;

/// Opens a simulated disk.
fn open(disk: &disk::SimulatedDisk) -> Arc<EmbeddedStore> {
    open_with_clock(disk, Arc::new(SystemClock::default()))
}

fn open_with_clock(disk: &disk::SimulatedDisk, clock: Arc<dyn Clock>) -> Arc<EmbeddedStore> {
    EmbeddedStore::with_disk(Arc::new(disk.clone()), clock, Options::default()).unwrap()
}

/// Everything there is now, as `key=value`.
async fn everything(store: &EmbeddedStore) -> Vec<String> {
    let store: &dyn Store = store;
    common::list_at(store, "", None).await
}
