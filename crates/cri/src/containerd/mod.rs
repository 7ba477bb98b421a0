//! The managed containerd: Orlop writes its configuration, starts it so that it outlives Orlop, adopts the one it finds
//! running, and starts it again when it dies. Containers live on in all of these: their shims don't depend on it.
//!
//! `config` is what the caller decides, `facts` what the machine allows, `version` which containerd is installed; `file`
//! makes the configuration of them.

mod config;
mod dump;
mod facts;
mod file;
mod log_file;
mod process;
mod ready;
mod shim;
mod supervise;
mod version;

pub use config::{CgroupDriver, ContainerdConfig};
pub(crate) use dump::sandbox_image;
pub use facts::Facts;
pub use shim::{Shim, UnknownShim};
pub use supervise::{Managed, stop};

use crate::cni::CniError;
use crate::images::ImportError;
use crate::{ConnectError, Endpoint};
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no managed containerd.
#[derive(Debug, thiserror::Error)]
pub enum ContainerdError {
    /// Not installed.
    #[error("{program} is not installed (looked in {path}): on Debian, apt-get install {package}")]
    ProgramMissing {
        /// The program.
        program: String,
        /// The search path.
        path: String,
        /// Debian's package.
        package: &'static str,
    },
    /// A file or directory.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It ended before it served.
    #[error("containerd ended at once ({status}); its log {} says: {log}", path.display())]
    Ended {
        /// Its exit.
        status: String,
        /// Its log file.
        path: PathBuf,
        /// The last line.
        log: String,
    },
    /// It runs but doesn't serve.
    #[error("containerd does not answer on {endpoint} within {within:?}: {reason}; see its log {}", path.display())]
    NotReady {
        /// Where.
        endpoint: Endpoint,
        /// How long it was waited for.
        within: Duration,
        /// The last answer.
        reason: String,
        /// Its log file.
        path: PathBuf,
    },
    /// It runs, but its CRI half failed to start.
    #[error("containerd runs without its CRI plugin ({reason}); its log {} says: {log}", path.display())]
    NoCri {
        /// What it answered.
        reason: String,
        /// Its log file.
        path: PathBuf,
        /// The last line about it.
        log: String,
    },
    /// Something else has our socket.
    #[error(
        "socket {} belongs to process {pid} ({command}), which is not the containerd managed for this root: stop it, or use it with --container-runtime-endpoint",
        socket.display()
    )]
    Foreign {
        /// Our socket.
        socket: PathBuf,
        /// Who has it.
        pid: i32,
        /// Its command line.
        command: String,
    },
    /// The socket's path doesn't fit the kernel's limit.
    #[error("socket path {} is longer than the {max} bytes the kernel allows: choose a shorter --root", socket.display())]
    SocketPathTooLong {
        /// The path.
        socket: PathBuf,
        /// The limit.
        max: usize,
    },
    /// The pod network.
    #[error(transparent)]
    Cni(#[from] CniError),
    /// The connection to it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The sandbox image.
    #[error("sandbox image: {0}")]
    Pause(#[source] ImportError),
}

impl ContainerdError {
    fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| ContainerdError::File { action, path, source }
    }
}
