//! runc's command lines, and what it says when it fails.

use crate::checkpoint;
use crate::proto::Any;
use crate::proto::options::{CheckpointOptions, Options, RUNC_OPTIONS};
use crate::quick;
use crate::reaper::Reaper;
use crate::spec::Hooks;
use prost::Message;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where runc keeps what it knows of containers, a directory for each namespace below: upstream's place, so that tools
/// and an upstream shim find them.
const ROOT: &str = "/run/containerd/runc";
/// In the bundle: the pid of the container's first process.
pub const PID_FILE: &str = "init.pid";
/// In the bundle: how runc is called for this container, for the `delete` call of another process.
const NOTE: &str = "orlop-shim.json";

/// How runc is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runc {
    program: PathBuf,
    root: PathBuf,
    systemd_cgroup: bool,
    no_pivot_root: bool,
    no_new_keyring: bool,
}

/// Why runc didn't do it.
#[derive(Debug, thiserror::Error)]
pub enum RuncError {
    #[error("{}: {error}", program.display())]
    NotRun { program: PathBuf, error: std::io::Error },
    #[error("{0}")]
    Failed(String),
}

/// What a process's output and input are connected with.
pub enum Ends {
    /// stdin, stdout and stderr.
    Pipes([Stdio; 3]),
    /// A socket that runc sends the terminal to.
    Console(PathBuf),
}

impl Runc {
    /// As containerd's options and the container's cgroup path say. Options of another type, which containerd sends when a
    /// shim is named by its path, say nothing.
    pub fn new(
        options: Option<&Any>,
        namespace: &str,
        has_systemd_cgroup: bool,
    ) -> Result<Self, prost::DecodeError> {
        let options = match options {
            Some(any) if any.is(RUNC_OPTIONS) => Options::decode(&*any.value)?,
            _ => Options::default(),
        };
        let or = |given: String, usual: &str| if given.is_empty() { usual.to_owned() } else { given };
        Ok(Self {
            program: or(options.binary_name, "runc").into(),
            root: Path::new(&or(options.root, ROOT)).join(namespace),
            systemd_cgroup: options.systemd_cgroup || has_systemd_cgroup,
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
        })
    }

    /// As noted in the bundle; the usual way where nothing is, as in bundles of an upstream shim.
    pub fn of_bundle(bundle: &Path, namespace: &str) -> Self {
        let noted = std::fs::read(bundle.join(NOTE)).ok();
        noted
            .and_then(|note| serde_json::from_slice(&note).ok())
            .unwrap_or_else(|| Self {
                program: "runc".into(),
                root: Path::new(ROOT).join(namespace),
                systemd_cgroup: false,
                no_pivot_root: false,
                no_new_keyring: false,
            })
    }

    pub fn note(&self, bundle: &Path) -> std::io::Result<()> {
        std::fs::write(bundle.join(NOTE), serde_json::to_vec(self)?)
    }

    /// A call without input and output.
    fn command(&self, log: &Path, action: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root);
        command.arg("--log").arg(log).args(["--log-format", "json"]);
        if self.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        command
            .arg(action)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// runc for one container.
pub struct Caller {
    runc: Runc,
    pub id: String,
    pub bundle: PathBuf,
    reaper: Reaper,
    hooks: Hooks,
    /// Calls so far: each has a log of its own.
    calls: Cell<u32>,
}

impl Caller {
    pub fn new(runc: Runc, id: &str, bundle: &Path, reaper: Reaper, hooks: Hooks) -> Self {
        Self {
            runc,
            id: id.to_owned(),
            bundle: bundle.to_owned(),
            reaper,
            hooks,
            calls: Cell::new(0),
        }
    }

    /// Makes the container; its first process waits for [`Caller::start`]. `is_made` says whether there is one, also when
    /// its pid isn't known.
    pub async fn create(&self, ends: Ends, is_made: &Cell<bool>) -> Result<i32, RuncError> {
        let pid_file = self.bundle.join(PID_FILE);
        self.run("create", |command| {
            command.arg("--bundle").arg(&self.bundle);
            command.arg("--pid-file").arg(&pid_file);
            if self.runc.no_pivot_root {
                command.arg("--no-pivot");
            }
            if self.runc.no_new_keyring {
                command.arg("--no-new-keyring");
            }
            connect(command, ends);
            command.arg(&self.id);
        })
        .await?;
        is_made.set(true);
        read_pid(&pid_file)
    }

    /// Lets the first process go, which is `pid` unless it has ended already or is frozen.
    pub async fn start(&self, pid: Option<i32>) -> Result<(), RuncError> {
        if let Some(pid) = pid.filter(|_| !self.hooks.after_start)
            && quick::start(&self.state(), pid).await
        {
            return Ok(());
        }
        self.simple("start", []).await
    }

    /// Another process in the container, described by JSON of an OCI process.
    pub async fn exec(&self, exec_id: &str, process: &[u8], ends: Ends) -> Result<i32, RuncError> {
        let pid_file = self.bundle.join(format!("{exec_id}.pid"));
        let process_file = self.bundle.join(format!("{exec_id}.json"));
        let written = write_private(&process_file, process).map_err(failed(&process_file));
        let outcome = match written {
            Ok(()) => {
                self.run("exec", |command| {
                    command.arg("--process").arg(&process_file);
                    command.arg("--pid-file").arg(&pid_file).arg("--detach");
                    connect(command, ends);
                    command.arg(&self.id);
                })
                .await
            }
            Err(error) => Err(error),
        };
        let pid = outcome.and_then(|()| read_pid(&pid_file));
        for file in [process_file, pid_file] {
            let _ = std::fs::remove_file(file);
        }
        pid
    }

    /// A signal to the first process, or to all.
    pub async fn kill(&self, signal: u32, all: bool) -> Result<(), RuncError> {
        self.run("kill", |command| {
            if all {
                command.arg("--all");
            }
            command.arg(&self.id).arg(signal.to_string());
        })
        .await
    }

    /// Forgets the container and its cgroup; fine if runc doesn't know it any more. `has_ended`: its first process has,
    /// and what it leaves behind was killed.
    pub async fn delete(&self, has_ended: bool) -> Result<(), RuncError> {
        let is_plain = has_ended && !self.hooks.after_end && !self.runc.systemd_cgroup;
        if is_plain && quick::forget(&self.state()) {
            return Ok(());
        }
        match self.simple("delete", ["--force"]).await {
            Err(RuncError::Failed(message)) if message.contains("does not exist") => Ok(()),
            outcome => outcome,
        }
    }

    pub async fn pause(&self) -> Result<(), RuncError> {
        self.simple("pause", []).await
    }

    pub async fn resume(&self) -> Result<(), RuncError> {
        self.simple("resume", []).await
    }

    /// New limits: JSON of OCI resources.
    pub async fn update(&self, resources: &[u8]) -> Result<(), RuncError> {
        let file = self.bundle.join(format!("resources-{}.json", self.calls.get()));
        write_private(&file, resources).map_err(failed(&file))?;
        let outcome = self
            .run("update", |command| {
                command.arg("--resources").arg(&file).arg(&self.id);
            })
            .await;
        let _ = std::fs::remove_file(&file);
        outcome
    }

    /// What the container is at, written to `images`. CRIU's notes of a failure stay in the bundle.
    pub async fn checkpoint(&self, images: &Path, options: &CheckpointOptions) -> Result<(), RuncError> {
        let notes = self.bundle.join("criu");
        let work = match options.work_path.as_str() {
            "" => &*notes,
            own => Path::new(own),
        };
        let flags = checkpoint::flags(images, work, options);
        self.run("checkpoint", |command| {
            command.args(flags).arg(&self.id);
        })
        .await?;
        let _ = std::fs::remove_dir_all(&notes);
        Ok(())
    }

    /// Where runc keeps what it knows of the container.
    fn state(&self) -> PathBuf {
        self.runc.root.join(&self.id)
    }

    async fn simple<const N: usize>(&self, action: &str, flags: [&str; N]) -> Result<(), RuncError> {
        self.run(action, |command| {
            command.args(flags).arg(&self.id);
        })
        .await
    }

    #[allow(clippy::zombie_processes, reason = "the reaper waits for it")]
    async fn run(&self, action: &str, complete: impl FnOnce(&mut Command)) -> Result<(), RuncError> {
        let call = self.calls.get().wrapping_add(1);
        self.calls.set(call);
        let log = self.bundle.join(format!("runc-{call}.log"));
        let ended = {
            let mut command = self.runc.command(&log, action);
            complete(&mut command);
            let child = command.spawn().map_err(|error| RuncError::NotRun {
                program: self.runc.program.clone(),
                error,
            })?;
            self.reaper.wait_for(child.id().cast_signed())
        };
        let status = ended.await.map_or(u32::MAX, |exit| exit.status);
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let _ = std::fs::remove_file(&log);
        match status {
            0 => Ok(()),
            status => Err(RuncError::Failed(last_error(&said).unwrap_or_else(|| {
                format!("{} {action} ended with {status}", self.runc.program.display())
            }))),
        }
    }
}

/// What the runtime can do, as it says itself (JSON); `None` for one that is too old to say.
pub fn features(runc: &Runc) -> Option<Vec<u8>> {
    let mut command = Command::new(&runc.program);
    command.arg("features").stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok()?;
    output.status.success().then_some(output.stdout)
}

/// `runc delete --force` from a process that has nothing else to do.
pub fn delete_and_wait(runc: &Runc, id: &str) -> std::io::Result<()> {
    runc.command(Path::new("/dev/null"), "delete")
        .arg("--force")
        .arg(id)
        .status()
        .map(drop)
}

fn connect(command: &mut Command, ends: Ends) {
    match ends {
        Ends::Pipes([stdin, stdout, stderr]) => {
            command.stdin(stdin).stdout(stdout).stderr(stderr);
        }
        Ends::Console(socket) => {
            command.arg(OsStr::new("--console-socket")).arg(socket);
        }
    }
}

/// Readable by root alone, from its beginning on: it has the container's environment. What an interrupted shim has left
/// there may be others' to read, and goes first.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::{ErrorKind, Write};
    use std::os::unix::fs::OpenOptionsExt;
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error);
    }
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(content)
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> RuncError {
    let path = path.display().to_string();
    move |error| RuncError::Failed(format!("{path}: {error}"))
}

fn read_pid(file: &Path) -> Result<i32, RuncError> {
    let text = std::fs::read_to_string(file).map_err(failed(file))?;
    match text.trim().parse() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(RuncError::Failed(format!(
            "{}: no pid in {text:?}",
            file.display()
        ))),
    }
}

/// The last error of runc's log: a line of JSON each, or with crun several.
fn last_error(log: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Entry {
        level: String,
        msg: String,
    }
    let (mut rest, mut last) = (log, None);
    loop {
        let mut entries = serde_json::Deserializer::from_str(rest).into_iter::<Entry>();
        match entries.next()? {
            Ok(entry) => {
                rest = &rest[entries.byte_offset()..];
                if matches!(&*entry.level, "error" | "fatal" | "panic") {
                    last = Some(entry.msg.trim().to_owned());
                }
            }
            Err(_) => match rest.trim_start().split_once('\n') {
                Some((_, next)) => rest = next,
                None => return last,
            },
        }
        if rest.trim().is_empty() {
            return last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> String {
        let words: Vec<_> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_string_lossy())
            .collect();
        words.join(" ")
    }

    #[test]
    fn options_of_containerd_shape_the_command_line() {
        let given = Options {
            binary_name: "/opt/crun".to_owned(),
            root: "/run/own".to_owned(),
            systemd_cgroup: true,
            ..Options::default()
        };
        let log = Path::new("/b/log");
        for (options, expected) in [
            (
                None,
                "runc --root /run/containerd/runc/ns --log /b/log --log-format json create",
            ),
            (
                Some(Any::of(RUNC_OPTIONS, &given)),
                "/opt/crun --root /run/own/ns --log /b/log --log-format json --systemd-cgroup create",
            ),
            (
                Some(Any::of("of.some.other.Type", &given)),
                "runc --root /run/containerd/runc/ns --log /b/log --log-format json create",
            ),
        ] {
            let runc = Runc::new(options.as_ref(), "ns", false).unwrap();
            assert_eq!(words(&runc.command(log, "create")), expected);
        }
    }

    #[test]
    fn what_is_noted_in_the_bundle_is_used_by_the_delete_call() {
        let bundle = tempfile::tempdir().unwrap();
        let usual = Runc::new(None, "ns", false).unwrap();
        assert_eq!(Runc::of_bundle(bundle.path(), "ns"), usual);
        let own = Runc {
            root: "/run/own/ns".into(),
            systemd_cgroup: true,
            ..usual
        };
        own.note(bundle.path()).unwrap();
        assert_eq!(Runc::of_bundle(bundle.path(), "ns"), own);
    }

    #[test]
    fn reason_is_the_last_error_of_the_log() {
        let log = concat!(
            r#"{"level":"warning","msg":"odd","time":"t"}"#,
            "\n",
            r#"{"level":"error","msg":"first","time":"t"}"#,
            "\n",
            r#"{"level":"error","msg":"exec: \"nope\": not found\n","time":"t"}"#,
            "\nnot JSON\n",
            r#"{"level":"info","msg":"later","time":"t"}"#,
        );
        assert_eq!(last_error(log).as_deref(), Some("exec: \"nope\": not found"));
        assert_eq!(last_error(""), None);
        let several_lines = "{\n  \"msg\": \"first\",\n  \"level\": \"error\"\n}{\n  \"msg\": \"second\",\n  \"level\": \"error\"\n}\n";
        assert_eq!(last_error(several_lines).as_deref(), Some("second"));
        assert_eq!(last_error("{\"msg\": \"cut").as_deref(), None);
    }
}
