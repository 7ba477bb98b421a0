//! containerd as a process: found by its socket, started apart from us, watched, ended.

use super::{ContainerdConfig, ContainerdError, log_file};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

/// Open files containerd (and, through it, every container) may have: what its own service file sets.
const OPEN_FILES: u64 = 1_048_576;
/// The kernel's room for a socket's path, with its end mark.
const SOCKET_PATH_MAX: usize = 107;
/// containerd appends this to its socket's path for a second one.
const SECOND_SOCKET_SUFFIX: &str = ".ttrpc";
/// Directories that hold what containerd runs (runc, its shim, iptables), also when our own search path is short.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who listens on a socket, or is about to.
pub(super) struct Listener {
    pub(super) pid: i32,
    pub(super) command: Vec<Vec<u8>>,
}

impl Listener {
    /// Asks the kernel who listens; `None` when nobody does. The kernel's answer can't be stale as a pid file can.
    pub(super) async fn of(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).await.ok()?;
        let pid = stream.peer_cred().ok()?.pid()?;
        Self::of_pid(pid)
    }

    fn of_pid(pid: i32) -> Option<Self> {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some(Self {
            pid,
            command: command
                .split(|byte| *byte == 0)
                .filter(|word| !word.is_empty())
                .map(<[u8]>::to_vec)
                .collect(),
        })
    }

    /// Whether it was started with this configuration file, that is by us.
    pub(super) fn is_ours(&self, config: &ContainerdConfig) -> bool {
        let file = config.config_file.as_os_str().as_bytes();
        self.command
            .windows(2)
            .any(|pair| pair[0] == b"--config" && pair[1] == file)
    }

    /// The configuration file that it was started with, unless that is its usual one.
    pub(super) fn config_file(&self) -> Option<&[u8]> {
        let mut words = self.command.iter();
        while let Some(word) = words.next() {
            match word.as_slice() {
                b"--config" | b"-config" | b"-c" => return words.next().map(Vec::as_slice),
                word => {
                    if let Some(file) = word.strip_prefix(b"--config=") {
                        return Some(file);
                    }
                }
            }
        }
        None
    }

    pub(super) fn command_line(&self) -> String {
        let words: Vec<_> = self
            .command
            .iter()
            .map(|word| String::from_utf8_lossy(word))
            .collect();
        words.join(" ")
    }
}

/// The process a start noted down, if it lives and is ours: one that has not come as far as its socket.
pub(super) fn starting(config: &ContainerdConfig) -> Option<Listener> {
    let pid = std::fs::read_to_string(pid_file(config))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let listener = Listener::of_pid(pid)?;
    listener.is_ours(config).then_some(listener)
}

/// Beside the socket; gone with a reboot.
fn pid_file(config: &ContainerdConfig) -> PathBuf {
    config.socket.with_extension("pid")
}

/// A process watched through a file descriptor: no polling, and no mistaking a reused pid for it.
pub(super) struct Process {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
}

impl Process {
    /// Watches a process; `None` when it is gone already.
    pub(super) fn watch(pid: i32) -> std::io::Result<Option<Self>> {
        // SAFETY: the call takes two integers and gives a new descriptor or -1.
        let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return match Errno::last() {
                Errno::ESRCH => Ok(None),
                error => Err(error.into()),
            };
        }
        let fd = i32::try_from(fd).map_err(std::io::Error::other)?;
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: an `OwnedFd` keeps one descriptor open until it is dropped, which `AsyncFd` does after deregistering it.
        let pidfd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? };
        Ok(Some(Self {
            pid: Pid::from_raw(pid),
            pidfd,
        }))
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Waits for its end; how it ended, as far as its parent may know.
    pub(super) async fn ended(&self) -> String {
        // A pidfd becomes readable when the process ends and stays so.
        let _ = self.pidfd.readable().await;
        // Only of a child of ours it is known, which is also let go by this.
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => format!("exit code {code}"),
            Ok(WaitStatus::Signaled(_, signal, _)) => format!("killed by {signal}"),
            _ => "ended".to_owned(),
        }
    }

    /// SIGTERM, and SIGKILL when it isn't gone after `patience`.
    pub(super) async fn stop(&self, patience: Duration) {
        self.signal(Signal::SIGTERM);
        if tokio::time::timeout(patience, self.ended()).await.is_err() {
            self.signal(Signal::SIGKILL);
            self.ended().await;
        }
    }

    fn signal(&self, signal: Signal) {
        let (fd, number) = (self.pidfd.get_ref().as_raw_fd(), signal as i32);
        // SAFETY: the descriptor is open as long as `self`; no signal information is passed.
        let sent = unsafe {
            nix::libc::syscall(
                nix::libc::SYS_pidfd_send_signal,
                fd,
                number,
                std::ptr::null::<nix::libc::siginfo_t>(),
                0,
            )
        };
        if sent < 0 && Errno::last() == Errno::ENOSYS {
            let _ = kill(self.pid, signal);
        }
    }
}

/// Where a program is; an absolute path must exist.
pub(super) fn find_program(program: &Path, package: &'static str) -> Result<PathBuf, ContainerdError> {
    let path = search_path();
    let found = if program.is_absolute() {
        program.is_file().then(|| program.to_owned())
    } else {
        path.split(':')
            .map(|dir| Path::new(dir).join(program))
            .find(|candidate| candidate.is_file())
    };
    found.ok_or_else(|| ContainerdError::ProgramMissing {
        program: program.display().to_string(),
        path,
        package,
    })
}

/// Refuses socket paths the kernel can't take, before containerd fails at it with less to say.
pub(super) fn check_socket_path(socket: &Path) -> Result<(), ContainerdError> {
    let max = SOCKET_PATH_MAX - SECOND_SOCKET_SUFFIX.len();
    if socket.as_os_str().len() <= max {
        Ok(())
    } else {
        Err(ContainerdError::SocketPathTooLong {
            socket: socket.to_owned(),
            max,
        })
    }
}

/// Starts containerd in a session of its own, so that neither our end nor a terminal's reaches it.
pub(super) fn start(config: &ContainerdConfig) -> Result<i32, ContainerdError> {
    let program = find_program(&config.program, "containerd")?;
    find_program(Path::new("runc"), "runc")?;
    let log = log_file::open(&config.log_file).map_err(ContainerdError::file("opening", &config.log_file))?;
    let errors = log
        .try_clone()
        .map_err(ContainerdError::file("opening", &config.log_file))?;
    let mut command = Command::new(&program);
    command
        .arg(OsStr::new("--config"))
        .arg(&config.config_file)
        .env("PATH", search_path())
        // Meant for us, if a service manager started us.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_PID")
        .env_remove("WATCHDOG_USEC")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    // SAFETY: only calls that are allowed between fork and exec: setsid, umask, getrlimit and setrlimit.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            umask(Mode::from_bits_truncate(0o022));
            raise_limits();
            Ok(())
        });
    }
    let child = command
        .spawn()
        .map_err(ContainerdError::file("starting", program))?;
    let pid_file = pid_file(config);
    // It runs all the same, and another one beside it would be worse.
    if let Err(error) = std::fs::write(&pid_file, format!("{}\n", child.id())) {
        tracing::warn!(file = %pid_file.display(), %error, "cannot note that containerd is being started");
    }
    // The pid is a pid_t in the kernel; the standard library widens it.
    Ok(i32::try_from(child.id()).unwrap_or_default())
}

/// Containers inherit these. Where the hard limit can't be raised, the soft one goes as far as it allows.
fn raise_limits() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && setrlimit(
            Resource::RLIMIT_NOFILE,
            OPEN_FILES,
            OPEN_FILES.max(hard.min(OPEN_FILES)),
        )
        .is_err()
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    for resource in [Resource::RLIMIT_NPROC, Resource::RLIMIT_CORE] {
        let unlimited = nix::libc::RLIM_INFINITY;
        if setrlimit(resource, unlimited, unlimited).is_err()
            && let Ok((_, hard)) = getrlimit(resource)
        {
            let _ = setrlimit(resource, hard, hard);
        }
    }
}

fn search_path() -> String {
    match std::env::var("PATH") {
        Ok(path) if !path.is_empty() => format!("{path}:{SYSTEM_PATH}"),
        _ => SYSTEM_PATH.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_is_named_with_its_package() {
        let error = find_program(Path::new("no-such-containerd"), "containerd").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("no-such-containerd is not installed"));
        assert!(text.ends_with("apt-get install containerd"), "{text}");
    }

    #[test]
    fn configuration_file_is_read_of_the_command_line() {
        for (line, expected) in [
            ("containerd --config /a.toml", Some("/a.toml")),
            ("ld.so /usr/bin/containerd -c /a.toml -l debug", Some("/a.toml")),
            ("containerd --config=/a.toml", Some("/a.toml")),
            ("containerd", None),
            ("containerd -c", None),
        ] {
            let command = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            let listener = Listener { pid: 1, command };
            assert_eq!(listener.config_file(), expected.map(str::as_bytes), "{line}");
        }
    }

    #[test]
    fn overlong_socket_path_is_refused_before_the_start() {
        let long = PathBuf::from(format!("/{}", "x".repeat(120)));
        assert!(check_socket_path(&long).is_err());
        assert!(check_socket_path(Path::new("/run/orlop/containerd.sock")).is_ok());
    }

    #[tokio::test]
    #[allow(clippy::zombie_processes, reason = "reaped by what is tested")]
    async fn end_of_a_child_is_told_without_polling() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = Process::watch(pid).unwrap().unwrap();
        process.signal(Signal::SIGKILL);
        assert_eq!(process.ended().await, "killed by SIGKILL");
        assert!(Process::watch(pid).unwrap().is_none());
    }
}
