//! `orlop store migrate`: from a node's own store to an etcd, and back.
use super::{connect, directory};
use crate::cli::MigrateArgs;
use anyhow::{Context, Result, bail};
use orlop_store::embedded::{EmbeddedStore, Image, Options};
use orlop_store::migrate::{check_empty, to_etcd};
use orlop_store::snapshot::SnapshotFile;
use std::path::Path;

pub async fn migrate(arguments: MigrateArgs) -> Result<()> {
    let directory = directory(&arguments.store)?;
    match (&arguments.to, &arguments.from) {
        (Some(url), _) => to(&arguments, &directory, url).await,
        (None, Some(url)) => from(&arguments, &directory, url).await,
        (None, None) => bail!("give --to or --from"),
    }
}

async fn to(arguments: &MigrateArgs, directory: &Path, url: &str) -> Result<()> {
    let image = Image::take(directory)?;
    if image.in_use {
        bail!(
            "the store at {} is in use, and what is written to it meanwhile would stay behind: stop it first",
            directory.display()
        );
    }
    let etcd = connect(url, &arguments.tls).await?;
    check_empty(&etcd).await?;
    let moved = to_etcd(&image, &etcd)
        .await
        .with_context(|| format!("{url} may have a part of the keys now: empty it before another try"))?;
    println!("{url} has {} keys and {} leases", moved.keys, moved.leases);
    println!("it counts revisions anew; {} is as it was", directory.display());
    Ok(())
}

/// By way of a snapshot, which keeps revisions.
async fn from(arguments: &MigrateArgs, directory: &Path, url: &str) -> Result<()> {
    let etcd = connect(url, &arguments.tls).await?;
    let mut name = directory.as_os_str().to_owned();
    name.push(format!(".snapshot-{}", std::process::id()));
    let path = Path::new(&name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    let mut file = SnapshotFile::create(path)?;
    etcd.snapshot(&mut file).await?;
    file.keep()?;
    let restored = EmbeddedStore::restore(path, directory, &Options::default());
    let removed = std::fs::remove_file(path);
    let restored = restored?;
    removed.with_context(|| format!("cannot remove {}", path.display()))?;
    println!(
        "{} has revision {}, {} keys, {} leases of {url}",
        directory.display(),
        restored.revision,
        restored.keys,
        restored.leases
    );
    Ok(())
}
