//! Waiting for a containerd that was just started.

use super::process::Process;
use super::{ContainerdConfig, ContainerdError, log_file};
use crate::{ConnectError, Remote, RuntimeService};
use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use std::time::Duration;
use tokio::net::UnixStream;

/// How long a start may take. With many containers it looks at each before it serves.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Between questions, once its socket is there: its CRI half is ready a little later and nothing tells.
const ASK_AGAIN: Duration = Duration::from_millis(5);
/// One read of inotify.
const EVENT_BUFFER_SIZE: usize = 1024;

/// The watch on the socket's directory; made before the start, so that the socket can't be missed.
pub(super) struct SocketWatch(inotify::EventStream<[u8; EVENT_BUFFER_SIZE]>);

impl SocketWatch {
    pub(super) fn new(config: &ContainerdConfig) -> Result<Self, ContainerdError> {
        let directory = config.socket.parent().unwrap_or(&config.socket);
        let failed = || ContainerdError::file("watching", directory);
        let inotify = Inotify::init().map_err(failed())?;
        inotify
            .watches()
            .add(directory, WatchMask::CREATE | WatchMask::ATTRIB)
            .map_err(failed())?;
        Ok(Self(
            inotify
                .into_event_stream([0; EVENT_BUFFER_SIZE])
                .map_err(failed())?,
        ))
    }
}

/// A connection to the containerd that was just started, when it serves CRI. Its early end is an error at once.
pub(super) async fn wait(
    config: &ContainerdConfig,
    process: &Process,
    socket: SocketWatch,
) -> Result<Remote, ContainerdError> {
    let mut reason = "its socket is not there".to_owned();
    let serving = async {
        listening(config, socket).await;
        loop {
            match serving(config).await {
                Ok(remote) => return Some(remote),
                Err(refusal) => {
                    reason = refusal.reason;
                    if refusal.is_final {
                        return None;
                    }
                }
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    };
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(READY_WITHIN, serving) => outcome,
        status = process.ended() => {
            return Err(ContainerdError::Ended {
                status,
                path: config.log_file.clone(),
                log: log_file::last_words(&config.log_file),
            });
        }
    };
    match outcome {
        Ok(Some(remote)) => Ok(remote),
        Ok(None) => Err(ContainerdError::NoCri {
            reason,
            path: config.log_file.clone(),
            log: log_file::last_words(&config.log_file),
        }),
        Err(_) => Err(ContainerdError::NotReady {
            endpoint: config.endpoint(),
            within: READY_WITHIN,
            reason,
            path: config.log_file.clone(),
        }),
    }
}

/// Until somebody listens on the socket. One left behind by a killed containerd refuses, and is made anew.
async fn listening(config: &ContainerdConfig, mut socket: SocketWatch) {
    while UnixStream::connect(&config.socket).await.is_err() {
        if socket.0.next().await.is_none() {
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

struct Refusal {
    reason: String,
    /// It runs without its CRI half and will go on so.
    is_final: bool,
}

/// One question. `Version` is answered before the CRI half is up; `Status` isn't.
async fn serving(config: &ContainerdConfig) -> Result<Remote, Refusal> {
    let remote = Remote::connect_within(&config.endpoint(), Duration::ZERO)
        .await
        .map_err(|error| Refusal {
            is_final: matches!(&error, ConnectError::NotCri { error, .. } if error.is_unimplemented()),
            reason: error.to_string(),
        })?;
    remote.status(false).await.map_err(|error| Refusal {
        reason: error.to_string(),
        is_final: false,
    })?;
    Ok(remote)
}
