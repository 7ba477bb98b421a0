//! `orlop up --detach`: start in the background, return when the node serves.
//!
//! The child tells its readiness as it would tell systemd (see `notify`).
use crate::lock::NodeLock;
use crate::paths::Root;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the node may take to serve before the start counts as failed.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the parent looks whether the child is still there while it waits for its word.
const CHILD_CHECK: Duration = Duration::from_millis(200);

/// Starts this same command without `--detach` in a session of its own and waits until it serves.
/// A node that runs already is left as it is.
pub fn detach(root: &Root) -> Result<()> {
    if let Some(pid) = NodeLock::holder(&root.pid_file())? {
        println!(
            "orlop already runs under {} (pid {pid})",
            root.as_path().display()
        );
        return Ok(());
    }
    let arguments = std::env::args_os()
        .skip(1)
        .filter(|argument| argument != "--detach");
    let started = background(root, arguments)?;
    println!(
        "orlop runs (pid {}), log in {}",
        started.pid,
        started.log.display()
    );
    println!("export KUBECONFIG={}", root.kubeconfig("admin").display());
    Ok(())
}

/// A node that was started in the background.
pub struct Started {
    pub pid: u32,
    pub log: PathBuf,
}

/// Starts orlop with other arguments in a session of its own and waits until it serves.
pub fn background(root: &Root, arguments: impl IntoIterator<Item = OsString>) -> Result<Started> {
    std::fs::create_dir_all(root.run()).with_context(|| format!("cannot create {}", root.run().display()))?;
    let socket_path = root.run().join("ready.sock");
    let _ = std::fs::remove_file(&socket_path);
    let socket = UnixDatagram::bind(&socket_path)
        .with_context(|| format!("cannot listen on {}", socket_path.display()))?;
    socket.set_read_timeout(Some(CHILD_CHECK))?;

    let log_path = root.run().join("orlop.log");
    let log = std::fs::File::create(&log_path)
        .with_context(|| format!("cannot write the log {}", log_path.display()))?;
    let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
    command
        .args(arguments)
        .env("NOTIFY_SOCKET", &socket_path)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // A process group of its own: the terminal's Ctrl-C is not meant for the node.
    command.process_group(0);
    let mut child = command.spawn().context("cannot start orlop in the background")?;

    let deadline = Instant::now() + READY_TIMEOUT;
    let mut message = [0_u8; 256];
    let outcome = loop {
        if let Ok(length) = socket.recv(&mut message)
            && message[..length]
                .split(|b| *b == b'\n')
                .any(|line| line == b"READY=1")
        {
            break Ok(());
        }
        if let Some(status) = child.try_wait()? {
            break Err(format!("orlop ended with {status}"));
        }
        if Instant::now() > deadline {
            break Err(format!(
                "orlop does not serve after {READY_TIMEOUT:?}; it goes on trying"
            ));
        }
    };
    let _ = std::fs::remove_file(&socket_path);
    if let Err(what) = outcome {
        let text = std::fs::read_to_string(&log_path).unwrap_or_default();
        let tail: Vec<&str> = text.lines().rev().take(10).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!(
            "{what}. Its last words, from {}:\n{}",
            log_path.display(),
            tail.join("\n")
        );
    }
    Ok(Started {
        pid: child.id(),
        log: log_path,
    })
}
