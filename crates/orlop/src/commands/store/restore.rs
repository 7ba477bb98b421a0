//! `orlop store restore`: make a new store of a snapshot.
use super::directory;
use crate::cli::RestoreArgs;
use anyhow::Result;
use orlop_store::embedded::{EmbeddedStore, Options};

pub fn restore(arguments: &RestoreArgs) -> Result<()> {
    let directory = directory(&arguments.store)?;
    let restored = EmbeddedStore::restore(&arguments.from, &directory, &Options::default())?;
    if !restored.verified {
        println!(
            "{} has no checksum: it was copied from a data directory, not saved as a snapshot",
            arguments.from.display()
        );
    }
    println!(
        "restored {} to {}: revision {}, {} keys, {} leases",
        arguments.from.display(),
        directory.display(),
        restored.revision,
        restored.keys,
        restored.leases
    );
    Ok(())
}
