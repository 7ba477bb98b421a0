//! The shim itself: one thread, which sleeps until somebody calls, writes, or ends.

use crate::args::Arguments;
use crate::events::{self, Publisher};
use crate::reaper::Reaper;
use crate::task::Tasks;
use crate::{address, log, ttrpc};
use rustix::process::set_child_subreaper;
use std::io::Result;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};

/// How long the last events may take when there is nothing more to do.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// Answers calls on the socket that is standard input until containerd needs no more answers.
pub fn serve(arguments: &Arguments) -> Result<()> {
    let bundle = std::env::current_dir()?;
    log::open(&bundle.join("log"), &arguments.id);
    set_child_subreaper(Some(rustix::process::getpid()))?;
    // SAFETY: standard input is the socket that `start` left there; nothing else in this process uses it.
    let socket = unsafe { OwnedFd::from_raw_fd(0) };
    let listener = std::os::unix::net::UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    let path = listener
        .local_addr()?
        .as_pathname()
        .map(Path::to_owned)
        .unwrap_or_default();
    // Bundles come and go; nobody should be in one.
    std::env::set_current_dir("/")?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let outcome = LocalSet::new().block_on(&runtime, run(arguments, listener));
    let _ = std::fs::remove_file(path);
    outcome
}

async fn run(arguments: &Arguments, listener: std::os::unix::net::UnixListener) -> Result<()> {
    let listener = UnixListener::from_std(listener)?;
    // A handler, not "ignore": that is what containers would inherit.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let reaper = Reaper::default();
    spawn_local({
        let (reaper, mut ended) = (reaper.clone(), signal(SignalKind::child())?);
        async move {
            while ended.recv().await.is_some() {
                reaper.reap();
            }
        }
    });
    let (publisher, waiting) = Publisher::new(&arguments.namespace);
    let socket = events::socket(std::env::var("TTRPC_ADDRESS").ok(), &arguments.address);
    let forwarded = spawn_local(events::forward(socket, waiting));
    let tasks = Tasks::new(
        &arguments.namespace,
        address::directory(&arguments.address),
        reaper,
        publisher,
    );
    let served = spawn_local(ttrpc::serve(listener, tasks.clone()));
    loop {
        tokio::select! {
            () = tasks.over() => break,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if tasks.is_empty() {
            break;
        }
        log::warn("a signal to end is passed over: containers run");
    }
    served.abort();
    tasks.stop_publishing();
    let _ = tokio::time::timeout(LAST_EVENTS, forwarded).await;
    Ok(())
}
