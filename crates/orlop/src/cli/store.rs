//! Flags of `orlop store`: tools for the store of a node.
use super::{LogArgs, RootArg, ServingTlsArgs};
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct StoreArgs {
    #[command(subcommand)]
    pub command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Serve the store in etcd's protocol.
    Serve(ServeArgs),
    /// Check every page and every record; exit code 1 if anything is wrong.
    Verify(StoreDirArgs),
    /// Put what can be saved of a damaged store into its place; the damaged file is kept beside it.
    Repair(RepairArgs),
    /// Count what the store holds, resource by resource.
    Stats(StoreDirArgs),
    /// Forget history and give the space of the file back.
    Compact(CompactArgs),
    /// Save a snapshot in etcd's format, which `restore` and `etcdctl snapshot restore` read.
    Backup(BackupArgs),
    /// Move what a store has into a running etcd, or what an etcd has into a new store.
    Migrate(MigrateArgs),
    /// Make a store of a snapshot, one of ours or one of etcd's, in a directory that has nothing in it yet.
    Restore(RestoreArgs),
}

impl StoreCommand {
    /// How the command logs.
    pub fn log(&self) -> LogArgs {
        match self {
            Self::Serve(arguments) => arguments.log.clone(),
            _ => LogArgs::QUIET,
        }
    }
}

/// Which store a command is about.
#[derive(Clone, Debug, Args)]
pub struct StoreDirArgs {
    #[command(flatten)]
    pub root: RootArg,
    /// Directory of the store [default: /var/lib/orlop/store].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// How to present oneself to etcd; flags as etcdctl's.
#[derive(Clone, Debug, Args)]
pub struct EtcdTlsArgs {
    /// Authority that signed the server's certificate.
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub store: StoreDirArgs,
    /// URLs to listen on, comma-separated: unix:///PATH, unixs:///PATH, http://HOST:PORT or https://HOST:PORT.
    #[arg(long, value_name = "URLS", required = true, value_delimiter = ',')]
    pub listen: Vec<String>,
    #[command(flatten)]
    pub tls: ServingTlsArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Args)]
pub struct BackupArgs {
    #[command(flatten)]
    pub store: StoreDirArgs,
    /// File to write; one that is there already is replaced when the new one is complete.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Take the snapshot from whoever serves etcd's API here, instead of from a directory.
    #[arg(long, value_name = "URL", conflicts_with_all = ["data_dir", "root"])]
    pub endpoint: Option<String>,
    #[command(flatten)]
    pub tls: EtcdTlsArgs,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    pub store: StoreDirArgs,
    /// Snapshot to read.
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
}

#[derive(Debug, Args)]
pub struct RepairArgs {
    #[command(flatten)]
    pub store: StoreDirArgs,
    /// Agree to lose the keys that cannot be read any more.
    #[arg(long)]
    pub drop_damaged: bool,
}

#[derive(Debug, Args)]
pub struct CompactArgs {
    #[command(flatten)]
    pub store: StoreDirArgs,
    /// Oldest revision that stays readable [default: the last one].
    #[arg(long, value_name = "N")]
    pub revision: Option<u64>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("direction").required(true))]
pub struct MigrateArgs {
    #[command(flatten)]
    pub store: StoreDirArgs,
    /// etcd to write to, which has to be empty. It counts revisions anew: `backup` and then `etcdctl
    /// snapshot restore` keep them.
    #[arg(long, value_name = "URL", group = "direction")]
    pub to: Option<String>,
    /// etcd to read from, into a directory that is new; revisions are kept.
    #[arg(long, value_name = "URL", group = "direction")]
    pub from: Option<String>,
    #[command(flatten)]
    pub tls: EtcdTlsArgs,
}
