//! `orlop store backup`: save a snapshot, of a running store or of one that rests.
use super::{connect, directory};
use crate::cli::BackupArgs;
use anyhow::Result;
use orlop_store::embedded::Image;
use orlop_store::snapshot::SnapshotFile;

pub async fn backup(arguments: BackupArgs) -> Result<()> {
    let mut file = SnapshotFile::create(&arguments.to)?;
    let from = match &arguments.endpoint {
        Some(endpoint) => {
            connect(endpoint, &arguments.tls)
                .await?
                .snapshot(&mut file)
                .await?;
            endpoint.clone()
        }
        None => {
            let directory = directory(&arguments.store)?;
            Image::take(&directory)?.backup(&mut file)?;
            directory.display().to_string()
        }
    };
    let bytes = file.keep()?;
    println!("saved {from} to {} ({bytes} bytes)", arguments.to.display());
    Ok(())
}
