//! The `orlop` binary: command line, multi-call names, and the wiring of the parts. Everything that
//! decides anything lives in the crates below it.
#![cfg_attr(test, allow(clippy::unwrap_used))]
mod cli;
mod commands;
mod delegate;
mod detach;
mod doctor;
mod health;
mod lock;
mod logging;
mod memory;
mod node_identity;
mod paths;
mod show;
mod signals;

use anyhow::Result;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    memory::configure();
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("orlop: {}", in_one_line(&error));
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
            clap_complete::generate(shell, &mut cli::command(), "orlop", &mut std::io::stdout());
            Ok(())
        }
        Command::Etcd(arguments) => {
            runtime(arguments.log.verbosity)?.block_on(commands::etcd::etcd(arguments))
        }
        Command::Check(arguments) => runtime(0)?.block_on(commands::check::check(&arguments)),
        Command::Status(arguments) => runtime(0)?.block_on(commands::status::status(&arguments)),
        Command::Wait(arguments) => runtime(0)?.block_on(commands::wait::wait(&arguments)),
        Command::Doctor(arguments) => runtime(0)?.block_on(commands::doctor::doctor(&arguments)),
        Command::Ps(arguments) => runtime(0)?.block_on(commands::listings::ps(&arguments)),
        Command::Pods(arguments) => runtime(0)?.block_on(commands::listings::pods(&arguments)),
        Command::Store(arguments) => {
            runtime(arguments.command.verbosity())?.block_on(commands::store::store(arguments))
        }
        Command::Down(arguments) => runtime(0)?.block_on(commands::down::down(arguments)),
        Command::Up(arguments) if arguments.detach => {
            detach::detach(&paths::Root::new(arguments.root.root.as_deref())?)
        }
        Command::Up(arguments) => runtime(arguments.log.verbosity)?.block_on(commands::up::up(arguments)),
        Command::Kubelet(arguments) => {
            runtime(arguments.log.verbosity)?.block_on(commands::kubelet::kubelet(arguments))
        }
        Command::Apiserver(arguments) => {
            runtime(arguments.log.verbosity)?.block_on(commands::apiserver::apiserver(*arguments))
        }
        Command::ControllerManager(arguments) => {
            runtime(arguments.log.verbosity)?.block_on(commands::led::controller_manager(arguments))
        }
        Command::Hollow(arguments) => {
            runtime(arguments.log.verbosity)?.block_on(commands::hollow::hollow(arguments))
        }
        Command::Scheduler(arguments) => {
            runtime(arguments.log.verbosity)?.block_on(commands::led::scheduler(arguments))
        }
    }
}

/// The one tokio runtime of the process. Two workers: everything here waits far more than it
/// computes, and every worker costs memory.
fn runtime(verbosity: u8) -> Result<tokio::runtime::Runtime> {
    const WORKERS: usize = 2;
    logging::init(verbosity);
    allow_many_files();
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?)
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
