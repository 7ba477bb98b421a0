//! `orlop store compact`: forget history, shorten the file.
use super::directory;
use crate::cli::CompactArgs;
use anyhow::{Result, bail};
use orlop_store::embedded::{EmbeddedStore, Options};
use orlop_store::{Revision, Store, StoreError};

pub async fn compact(arguments: CompactArgs) -> Result<()> {
    let directory = directory(&arguments.store)?;
    if !directory.is_dir() {
        bail!("there is no store in {}", directory.display());
    }
    let store = match EmbeddedStore::open(&directory, Options::default()) {
        Err(error @ StoreError::Locked { .. }) => {
            bail!("{error}. A store in use forgets history and shortens its file by itself");
        }
        store => store?,
    };
    let before = store.status().await?;
    let revision = arguments.revision.map_or(before.revision, Revision);
    store.compact(revision).await?;
    store.defragment().await?;
    let after = store.status().await?;
    println!(
        "revisions before {revision} are forgotten; the file went from {} to {} bytes",
        before.size, after.size
    );
    store.close().await;
    Ok(())
}
