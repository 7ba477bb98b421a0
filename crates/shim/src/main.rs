//! `containerd-shim-orlop-v2`: what stands between containerd and the containers of one pod, in a fraction of the memory
//! that containerd's own takes. containerd calls it by its path (`runtime_type = "/…/containerd-shim-orlop-v2"`).
//!
//! One process for each pod, on one thread, without a timer while nothing happens:
//!
//! | task | listens to | emits |
//! |---|---|---|
//! | `ttrpc::serve` | calls of containerd (`task`) | answers; runc processes |
//! | reaper (`serve`) | SIGCHLD | the end of each process to who follows it |
//! | `Tasks::follow`, one a process | the reaper | TaskExit |
//! | `cgroups::Watch`, one a container | the kernel's word on memory | TaskOOM |
//! | `stdio` relays, one a stream | a pipe or terminal, a fifo | the same bytes on the other side |
//! | `events::forward` | what happened | containerd's event service, with patience |
//!
//! `start`, `delete` and `-info` are calls of the program by containerd. What it doesn't do: containers from checkpoints,
//! logging binaries (`binary://`), images, networks; it keeps nothing on disk but notes in containerd's bundles.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod args;
mod cgroups;
mod checkpoint;
mod delete;
mod events;
mod id_mapped;
mod info;
mod log;
mod mounts;
mod proto;
mod quick;
mod ready;
mod reaper;
mod runc;
mod seccomp;
mod serve;
mod spec;
mod start;
mod stdio;
mod task;
mod ttrpc;

use args::{Action, Arguments};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let outcome = match arguments.action {
        Action::Version => {
            println!("containerd-shim-orlop-v2 {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Action::Start => start::start(&arguments),
        Action::Delete => delete::delete(&arguments),
        Action::Serve => serve::serve(&arguments),
        Action::Info => info::info(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::warn(&format!("the shim ends: {error}"));
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
