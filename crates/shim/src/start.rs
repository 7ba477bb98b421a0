//! The `start` call: the pod's shim, or a new one, and its address.

use crate::address;
use crate::args::Arguments;
use crate::spec::Spec;
use std::fs::DirBuilder;
use std::io::{Error, ErrorKind, Result, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";
const OOM_SCORE_MAX: i32 = 1000;

/// Prints the address of the shim for the container whose bundle is the working directory.
pub fn start(arguments: &Arguments) -> Result<()> {
    let bundle = std::env::current_dir()?;
    let spec = Spec::of_bundle(&bundle).map_err(address::at(&bundle.join("config.json")))?;
    let of_pod = spec
        .group()
        .filter(|group| *group != arguments.id)
        .and_then(|group| address::of_group(&bundle, group));
    let socket = match of_pod {
        Some(socket) => socket,
        None => new_shim(arguments, &bundle)?,
    };
    address::note(&bundle, &socket).map_err(address::at(&bundle))?;
    let mut out = std::io::stdout();
    out.write_all(address::of(&socket).as_bytes())?;
    out.flush()
}

#[allow(clippy::zombie_processes, reason = "it outlives this process")]
fn new_shim(arguments: &Arguments, bundle: &Path) -> Result<PathBuf> {
    let socket = address::socket(&arguments.address, bundle);
    let directory = address::directory(&arguments.address);
    DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(&directory)
        .map_err(address::at(&directory))?;
    let listener = match UnixListener::bind(&socket) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            if address::is_alive(&socket) {
                return Ok(socket);
            }
            std::fs::remove_file(&socket)?;
            UnixListener::bind(&socket)
        }
        outcome => outcome,
    }
    .map_err(address::at(&socket))?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
    yield_to_containerd();
    let spawned = Command::new(std::env::current_exe()?)
        .args([
            "-namespace",
            &arguments.namespace,
            "-id",
            &arguments.id,
            "-address",
        ])
        .arg(&arguments.address)
        // It listens on its standard input. Its other streams would keep containerd waiting for this call's end.
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A signal to containerd's group isn't meant for it.
        .process_group(0)
        .spawn();
    match spawned {
        Ok(_) => Ok(socket),
        Err(error) => {
            let _ = std::fs::remove_file(&socket);
            Err(Error::new(error.kind(), format!("starting the shim: {error}")))
        }
    }
}

/// The kernel's choice falls on shims before containerd; the shim inherits this process's score.
fn yield_to_containerd() {
    let own = std::fs::read_to_string(OOM_SCORE_ADJ).ok();
    if let Some(own) = own.and_then(|text| text.trim().parse().ok()) {
        let _ = std::fs::write(OOM_SCORE_ADJ, shim_score(own).to_string());
    }
}

fn shim_score(containerd: i32) -> i32 {
    (containerd + 1).min(OOM_SCORE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shims_go_before_containerd() {
        assert_eq!(shim_score(-999), -998);
        assert_eq!(shim_score(0), 1);
        assert_eq!(shim_score(1000), 1000);
    }
}
