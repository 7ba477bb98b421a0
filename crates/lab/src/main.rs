//! `orlop-lab`: machines for a cluster on one machine.
#![cfg_attr(test, allow(clippy::unwrap_used))]
mod up;

use anyhow::Result;
use clap::{Parser, Subcommand};
use orlop_lab::{Lab, LabOptions};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

/// Where files of the machines are kept.
const DIRECTORY: &str = "/var/lib/orlop-lab";

/// Machines for a cluster on one machine.
#[derive(Parser)]
#[command(name = "orlop-lab")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Be process 1 of a machine.
    #[command(hide = true)]
    Machine {
        #[arg(long)]
        directory: PathBuf,
        #[arg(long)]
        name: String,
        #[arg(long)]
        hosts: String,
        #[arg(long)]
        orlop: PathBuf,
    },
    /// Be the switch between the machines.
    #[command(hide = true)]
    Switch {
        #[arg(long)]
        outside: Option<SocketAddr>,
        #[arg(long)]
        gateway: String,
        #[arg(long)]
        inside: SocketAddr,
        #[arg(long = "master")]
        masters: Vec<SocketAddr>,
    },
    /// Make a cluster and leave it running.
    Up(up::Up),
    /// Run a command on a machine.
    Exec {
        #[arg(long, default_value = DIRECTORY)]
        directory: PathBuf,
        machine: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<String>,
    },
    /// Do something to a machine: cut its power, switch it on again (`orlop up --detach` on it starts its node), stop all its
    /// processes where they are, let them go on, pull its plug, put it back.
    Fault {
        #[arg(long, default_value = DIRECTORY)]
        directory: PathBuf,
        /// The binary that a machine is switched on with.
        #[arg(long)]
        orlop: Option<PathBuf>,
        #[arg(value_enum)]
        what: Fault,
        machine: String,
    },
    /// Stop all machines; with --remove, their files too.
    Down {
        #[arg(long, default_value = DIRECTORY)]
        directory: PathBuf,
        #[arg(long)]
        remove: bool,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Fault {
    Kill,
    Boot,
    Freeze,
    Thaw,
    CutOff,
    Reconnect,
}

fn open(directory: PathBuf, orlop: PathBuf) -> Result<Lab> {
    Lab::open(LabOptions {
        directory,
        program: std::env::current_exe()?,
        orlop,
        machines: Vec::new(),
        api_port: None,
    })
}

fn main() -> std::process::ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("orlop-lab: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Machine {
            directory,
            name,
            hosts,
            orlop,
        } => orlop_lab::machine::run(&directory, &name, &hosts, &orlop),
        Command::Switch {
            outside,
            gateway,
            inside,
            masters,
        } => orlop_lab::switch::run(outside, &gateway, inside, masters),
        Command::Up(up) => up.run(),
        Command::Exec {
            directory,
            machine,
            words,
        } => {
            let lab = open(directory, PathBuf::new())?;
            let mut command = lab.command(&machine, &words[0])?;
            Err(command.args(&words[1..]).exec().into())
        }
        Command::Fault {
            directory,
            orlop,
            what,
            machine,
        } => {
            let mut lab = open(directory, orlop.unwrap_or_default())?;
            match what {
                Fault::Kill => lab.kill(&machine),
                Fault::Boot => lab.boot(&machine),
                Fault::Freeze => lab.freeze(&machine),
                Fault::Thaw => lab.thaw(&machine),
                Fault::CutOff => lab.cut_off(&machine),
                Fault::Reconnect => lab.reconnect(&machine),
            }
        }
        Command::Down { directory, remove } => {
            // Files of machines that run must not go.
            if directory.join(orlop_lab::RECORD).is_file() {
                open(directory.clone(), PathBuf::new())?.stop();
            }
            if remove {
                std::fs::remove_dir_all(&directory)?;
            }
            Ok(())
        }
    }
}
