//! The `orlop` binary: command line, multi-call names, and the wiring of the parts. Everything that
//! decides anything lives in the crates below it.
#![cfg_attr(test, allow(clippy::unwrap_used))]
#[macro_use]
mod output;

mod cli;
mod commands;
mod delegate;
mod detach;
mod doctor;
mod health;
mod kernel;
mod lock;
mod logging;
mod memory;
mod node_identity;
mod notify;
mod paths;
mod show;
mod signals;

use anyhow::Result;
use cli::{Cli, Command, KubeletArgs, LogArgs};
use lock::AgentLock;
use orlop_kubelet::directories;
use paths::Root;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What threads get that wait for the machine, such as for a mount that hangs: the process ends without them.
const HUNG_THREADS_PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    memory::configure();
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let serves = cli.command.serves();
    match run(cli) {
        // Who is served has not read what was said at the start.
        Ok(()) if serves => ExitCode::SUCCESS,
        Ok(()) => output::outcome(),
        Err(error) => {
            logging::tell_failure(&in_one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// What failed, why, and what to do. Some errors tell their cause themselves.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut cli::command(), "orlop", &mut script);
            print!("{}", String::from_utf8_lossy(&script));
            Ok(())
        }
        Command::Etcd(arguments) => {
            let arguments = arguments.resolved()?;
            run_to_end(&arguments.log(), commands::etcd::etcd(arguments))
        }
        Command::Check(arguments) => run_to_end(&LogArgs::QUIET, commands::check::check(&arguments)),
        Command::Status(arguments) => run_to_end(&LogArgs::QUIET, commands::status::status(&arguments)),
        Command::Wait(arguments) => run_to_end(&LogArgs::QUIET, commands::wait::wait(&arguments)),
        Command::Doctor(arguments) => run_to_end(&LogArgs::QUIET, commands::doctor::doctor(&arguments)),
        Command::Ps(arguments) => run_to_end(&LogArgs::QUIET, commands::listings::ps(&arguments)),
        Command::Pods(arguments) => run_to_end(&LogArgs::QUIET, commands::listings::pods(&arguments)),
        Command::Store(arguments) => run_to_end(&arguments.command.log(), commands::store::store(arguments)),
        Command::Down(arguments) => run_to_end(&LogArgs::QUIET, commands::down::down(arguments)),
        Command::Up(arguments) if arguments.detach => {
            if commands::cluster::is_member(&arguments.root)? {
                commands::cluster::member::mention(&arguments)?;
            }
            detach::detach(&Root::new(arguments.root.root.as_deref())?)
        }
        Command::Init(arguments) => run_to_end(
            &arguments.member.log.clone(),
            commands::cluster::init::init(*arguments),
        ),
        Command::Join(arguments) => run_to_end(
            &arguments.member.log.clone(),
            commands::cluster::join::join(*arguments),
        ),
        Command::Token(arguments) => run_to_end(&LogArgs::QUIET, commands::cluster::token::token(arguments)),
        Command::Certs(arguments) => run_to_end(&LogArgs::QUIET, commands::cluster::certs::certs(arguments)),
        Command::Config(arguments) => {
            run_to_end(&LogArgs::QUIET, commands::cluster::config::config(arguments))
        }
        Command::Kubeconfig(arguments) => run_to_end(
            &LogArgs::QUIET,
            commands::cluster::kubeconfig::kubeconfig(arguments),
        ),
        Command::Upgrade(arguments) => {
            run_to_end(&LogArgs::QUIET, commands::cluster::upgrade::upgrade(arguments))
        }
        Command::Reset(arguments) => run_to_end(&LogArgs::QUIET, commands::cluster::reset::reset(arguments)),
        Command::Up(arguments) if commands::cluster::is_member(&arguments.root)? => {
            let root = Root::new(arguments.root.root.as_deref())?;
            let directory = commands::cluster::member::directory(&root)?;
            let (log, node) = (arguments.log.clone(), commands::cluster::member::run(arguments));
            run_to_end(&log, as_only_node(root, directory, node))
        }
        Command::Up(arguments) => {
            let root = Root::new(arguments.root.root.as_deref())?;
            let directory = root.kubelet();
            let (log, node) = (arguments.log.clone(), commands::up::up(arguments));
            run_to_end(&log, as_only_node(root, directory, node))
        }
        Command::Kubelet(arguments) => run_to_end(&arguments.log.clone(), as_only_agent(arguments)),
        Command::Why(arguments) => run_to_end(&LogArgs::QUIET, commands::insight::why(&arguments)),
        Command::Plan(arguments) => run_to_end(&LogArgs::QUIET, commands::insight::plan(&arguments)),
        Command::Hollow(arguments) => run_to_end(&arguments.log.clone(), commands::hollow::hollow(arguments)),
        Command::Apiserver(arguments) => {
            run_to_end(&arguments.log.clone(), commands::apiserver::apiserver(*arguments))
        }
        Command::ControllerManager(arguments) => run_to_end(
            &arguments.log.clone(),
            commands::led::controller_manager(arguments),
        ),
        Command::Scheduler(arguments) => {
            run_to_end(&arguments.log.clone(), commands::led::scheduler(arguments))
        }
    }
}

/// Runs a whole node, while no other agent works in the directory of its own.
async fn as_only_node(root: Root, directory: PathBuf, node: impl Future<Output = Result<()>>) -> Result<()> {
    directories::make(&directory)?;
    let _lock = AgentLock::take_under(&root, &directory).await?;
    node.await
}

/// Runs a node agent, while no other one works in its directory.
async fn as_only_agent(arguments: KubeletArgs) -> Result<()> {
    let root = Root::new(arguments.root.root.as_deref())?;
    let directory = arguments.root_dir.clone().unwrap_or_else(|| root.kubelet());
    directories::make(&directory)?;
    let _lock = AgentLock::take(&directory).await?;
    commands::kubelet::kubelet(arguments).await
}

/// Runs a command on the one tokio runtime of the process. Two workers: everything here waits far more than it
/// computes, and every worker costs memory.
fn run_to_end(log: &LogArgs, command: impl Future<Output = Result<()>>) -> Result<()> {
    const WORKERS: usize = 2;
    logging::init(log);
    cli::mention_inert_flags();
    allow_many_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .on_thread_park(memory::before_sleep)
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_timeout(HUNG_THREADS_PATIENCE);
    outcome
}

/// A connection is an open file, and the limit that processes are given first is for programs of another time: it is
/// raised to what they may have.
fn allow_many_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the number of files that may be open is not raised");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let disk = anyhow::anyhow!("disk on fire").context("cannot read a: disk on fire");
        let error = disk.context("no start");
        assert_eq!(in_one_line(&error), "no start: cannot read a: disk on fire");
        let error = anyhow::anyhow!("why").context("what");
        assert_eq!(in_one_line(&error), "what: why");
    }
}
