//! `orlop store`: tools for the store of a node. One file a verb.
mod backup;
mod compact;
mod migrate;
mod repair;
mod restore;
mod serve;
mod stats;
mod verify;

use crate::cli::{EtcdTlsArgs, StoreArgs, StoreCommand, StoreDirArgs};
use crate::paths::Root;
use anyhow::{Context, Result};
use orlop_store::etcd::{EtcdStore, EtcdTls};
use std::path::{Path, PathBuf};

pub async fn store(arguments: StoreArgs) -> Result<()> {
    match arguments.command {
        StoreCommand::Serve(arguments) => serve::serve(arguments).await,
        StoreCommand::Verify(arguments) => verify::verify(&arguments),
        StoreCommand::Repair(arguments) => repair::repair(&arguments),
        StoreCommand::Stats(arguments) => stats::stats(&arguments),
        StoreCommand::Compact(arguments) => compact::compact(arguments).await,
        StoreCommand::Backup(arguments) => backup::backup(arguments).await,
        StoreCommand::Migrate(arguments) => migrate::migrate(arguments).await,
        StoreCommand::Restore(arguments) => restore::restore(&arguments),
    }
}

fn directory(arguments: &StoreDirArgs) -> Result<PathBuf> {
    match &arguments.data_dir {
        Some(directory) => Ok(directory.clone()),
        None => Ok(Root::new(arguments.root.root.as_deref())?.store()),
    }
}

async fn connect(endpoint: &str, tls: &EtcdTlsArgs) -> Result<EtcdStore> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let given = |path: &Option<PathBuf>| path.as_deref().map(read).transpose();
    let tls = EtcdTls {
        authority: given(&tls.cacert)?,
        identity: given(&tls.cert)?.zip(given(&tls.key)?),
    };
    Ok(EtcdStore::connect(&[endpoint.to_owned()], tls).await?)
}
