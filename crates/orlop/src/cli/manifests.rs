//! Commands about a node and its static pod manifests.
use super::RootArg;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// How findings are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: a line or a row each.
    #[default]
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub root: RootArg,
    /// Manifests, or directories of them as the agent would read them.
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Name of the node they are for [default: the host name in lower case].
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Directory of ConfigMaps and Secrets that static pods may use on the node (orlop.dev/staticObjectsPath); manifests
    /// may hold some as well then.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = crate::paths::STATIC_OBJECTS)]
    pub static_objects: Option<PathBuf>,
    /// Fail on warnings too.
    #[arg(long)]
    pub strict: bool,
    /// The manifests are for another machine: don't look at this one's paths and images.
    #[arg(long)]
    pub elsewhere: bool,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub root: RootArg,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub root: RootArg,
    /// CRI socket of a runtime to use instead of the managed containerd.
    #[arg(long, value_name = "ENDPOINT")]
    pub container_runtime_endpoint: Option<String>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Goal {
    /// Its containers run.
    Running,
    /// It is ready.
    Ready,
}

#[derive(Debug, Args)]
pub struct WaitArgs {
    #[command(flatten)]
    pub root: RootArg,
    /// The manifest.
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    #[arg(long = "for", value_name = "GOAL", value_enum, default_value_t = Goal::Running)]
    pub goal: Goal,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    pub timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches('s').parse::<u64>();
    number.map(Duration::from_secs).map_err(|error| error.to_string())
}
