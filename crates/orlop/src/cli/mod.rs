//! The command line: what users type, and nothing of what it does.
mod audit;
mod authentication;
mod cluster;
mod config;
mod controller_manager;
mod dead_containers;
mod etcd;
mod hollow;
mod inert;
mod insight;
mod kubeconfig;
mod kubelet_flags;
mod manifests;
mod parts;
mod store;
mod up;
mod upstream;

pub use cluster::{
    AdminArgs, CertsArgs, CertsCommand, InitArgs, InitPart, InitPhase, JoinArgs, ListOutput, MemberArgs,
    ResetArgs, TokenArgs, TokenCommand, TokenCreateArgs, UpgradeApplyArgs, UpgradeArgs, UpgradeCommand,
    UpgradeStepArgs,
};
pub use config::{ConfigArgs, ConfigCommand, ConfigImages, ConfigImagesArgs, ConfigPrint};
pub use controller_manager::ControllerManagerArgs;
pub use etcd::{EtcdArgs, Retention, ServingTlsArgs, TlsVersion};
pub use hollow::HollowArgs;
pub use insight::{ClusterArgs, PlanArgs, Subject, WhyArgs};
pub use kubeconfig::{KubeconfigArgs, KubeconfigCommand, KubeconfigUserArgs};
pub use manifests::{CheckArgs, DoctorArgs, Goal, Output, StatusArgs, WaitArgs};
pub use parts::{ApiServerArgs, FaceArgs, KubeletArgs, LeaderArgs, SchedulerArgs};
pub use store::{
    BackupArgs, CompactArgs, EtcdTlsArgs, MigrateArgs, RepairArgs, RestoreArgs, ServeArgs, StoreArgs,
    StoreCommand, StoreDirArgs,
};
pub use up::UpArgs;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Kubernetes for what runs on every node: static pods, mirror pods and DaemonSets in one binary.
#[derive(Debug, Parser)]
#[command(name = "orlop", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole node: API server, controllers, scheduler and node agent in one process; on a member of a cluster, its
    /// node agent and runtime.
    Up(UpArgs),
    /// Stop the node that runs under a root, and its pods.
    Down(DownArgs),
    /// Make this machine the first member of a cluster: its control plane as static pods, in kubeadm's layout.
    Init(Box<InitArgs>),
    /// Make this machine a member of a cluster.
    Join(Box<JoinArgs>),
    /// Make, list and delete the tokens with which machines join.
    Token(TokenArgs),
    /// Look after the certificates of a master.
    Certs(CertsArgs),
    /// Print and check configuration files of clusters.
    Config(ConfigArgs),
    /// Make kubeconfigs.
    Kubeconfig(KubeconfigArgs),
    /// Bring the control plane to another version.
    Upgrade(UpgradeArgs),
    /// Take this machine out of its cluster: everything that `init` or `join` made goes. A node of its own keeps its store.
    Reset(ResetArgs),
    /// Run the node agent alone, with or without an API server.
    Kubelet(KubeletArgs),
    /// Run the API server alone.
    Apiserver(Box<ApiServerArgs>),
    /// Run the controllers alone.
    ControllerManager(ControllerManagerArgs),
    /// Run the scheduler alone.
    Scheduler(SchedulerArgs),
    /// Serve the embedded store in etcd's protocol, with etcd's flags.
    Etcd(EtcdArgs),
    /// Say what is wrong with static pod manifests, and what will bite, without running them.
    Check(CheckArgs),
    /// Show every manifest of this node, what became of it, and why.
    Status(StatusArgs),
    /// Wait until the node runs this very version of a manifest.
    Wait(WaitArgs),
    /// Say what is in the way of a node on this machine, and how to mend it.
    Doctor(DoctorArgs),
    /// List containers, in the columns of `crictl ps`.
    Ps(PsArgs),
    /// List pods of the runtime, in the columns of `crictl pods`.
    Pods(PodsArgs),
    /// Look after the store of a node: check it, back it up, restore it.
    Store(StoreArgs),
    /// Say of each node why a DaemonSet has a pod there or not, or of a pod why it is where it is.
    Why(WhyArgs),
    /// Say what applying a DaemonSet would do, on which nodes and in what order, without doing it.
    Plan(PlanArgs),
    /// Register nodes without machines, whose pods run on nothing, to see how a control plane does with thousands.
    Hollow(HollowArgs),
    /// Print a completion script for a shell.
    Completions { shell: clap_complete::Shell },
}

impl Command {
    /// Whether it runs until somebody stops it.
    pub fn serves(&self) -> bool {
        match self {
            Self::Up(arguments) => !arguments.detach,
            Self::Store(arguments) => matches!(arguments.command, StoreCommand::Serve(_)),
            Self::Kubelet(_)
            | Self::Apiserver(_)
            | Self::ControllerManager(_)
            | Self::Scheduler(_)
            | Self::Etcd(_)
            | Self::Hollow(_) => true,
            _ => false,
        }
    }
}

/// Which node of this machine a command is about.
#[derive(Clone, Debug, Args)]
pub struct RootArg {
    /// Directory that prefixes every default path, so that several nodes live side by side.
    #[arg(long, value_name = "DIR", env = "ORLOP_ROOT")]
    pub root: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DownArgs {
    #[command(flatten)]
    pub root: RootArg,
    /// Leave the pods and the runtime running; stop only orlop itself.
    #[arg(long)]
    pub keep_pods: bool,
}

#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// Log verbosity, as upstream's: 0 warnings, 2 decisions, 4 details, 6 everything.
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 2)]
    pub verbosity: u8,
    /// What a line of the log looks like.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub logging_format: LogFormat,
}

impl LogArgs {
    /// Of a command that a person waits for: nothing but warnings.
    pub const QUIET: Self = Self {
        verbosity: 0,
        logging_format: LogFormat::Text,
    };
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line, for programs.
    Json,
    /// The same as etcd writes it.
    #[value(skip)]
    Etcd,
}

#[derive(Debug, Args)]
pub struct RuntimeArgs {
    #[command(flatten)]
    pub root: RootArg,
    /// CRI socket to ask [default: that of the node under --root].
    #[arg(
        short = 'r',
        long,
        value_name = "ENDPOINT",
        env = "CONTAINER_RUNTIME_ENDPOINT"
    )]
    pub runtime_endpoint: Option<String>,
}

#[derive(Debug, Args)]
pub struct PsArgs {
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Show all containers, not only running ones.
    #[arg(short, long)]
    pub all: bool,
    /// Print container ids only.
    #[arg(short, long)]
    pub quiet: bool,
    /// Don't shorten ids.
    #[arg(long)]
    pub no_trunc: bool,
}

#[derive(Debug, Args)]
pub struct PodsArgs {
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Print pod ids only.
    #[arg(short, long)]
    pub quiet: bool,
    /// Don't shorten ids.
    #[arg(long)]
    pub no_trunc: bool,
}

/// Why a command line gives nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum Unparsed {
    /// One of upstream's programs was asked what it is.
    #[error("{0}")]
    Version(String),
    /// It is wrong, or asks for help.
    #[error(transparent)]
    Clap(#[from] clap::Error),
}

impl Unparsed {
    /// Says it, and ends the process.
    pub fn exit(self) -> ! {
        match self {
            Self::Version(text) => {
                print!("{text}");
                std::process::exit(0)
            }
            Self::Clap(error) => error.exit(),
        }
    }
}

/// The name that this binary answers to as one of upstream's programs, if `program` is one.
fn part_of(program: &str) -> Option<&'static str> {
    match program {
        "kubelet" => Some("kubelet"),
        "kube-apiserver" => Some("apiserver"),
        "kube-controller-manager" => Some("controller-manager"),
        "kube-scheduler" => Some("scheduler"),
        "etcd" => Some("etcd"),
        _ => None,
    }
}

/// The command with every accepted flag, for parsing and completions.
pub fn command() -> clap::Command {
    inert::accept(Cli::command()).mut_subcommand("etcd", |etcd| {
        let is_empty = |variable: &OsStr| std::env::var_os(variable).is_some_and(|value| value.is_empty());
        etcd.mut_args(|flag| etcd::without_empty_variable(flag, is_empty))
    })
}

/// Parses a command line. Through a link named like one of upstream's programs, the rest of the
/// line are that program's flags.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Unparsed> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = command();
    let program = arguments
        .first()
        .map(Path::new)
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    if let Some(part) = part_of(&program).and_then(|part| command.find_subcommand(part)) {
        let words = arguments.split_off(1);
        match upstream::read(part, words) {
            upstream::Asked::Version(text) => return Err(Unparsed::Version(text)),
            upstream::Asked::Run(words) => {
                arguments.push(part.get_name().into());
                arguments.extend(words);
            }
        }
    }
    let matches = command.try_get_matches_from(arguments)?;
    inert::note(&matches);
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let (Command::Up(up), Some(given)) = (&mut cli.command, matches.subcommand_matches("up")) {
        up.note(given);
    }
    Ok(cli)
}

/// Says which flags were given that have no effect.
pub fn mention_inert_flags() {
    inert::mention();
}

#[cfg(test)]
mod tests;
