//! containerd's task service, beside CRI: for terminals and what CRI has no call for.

use crate::node::Node;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::tonic::Request;
use containerd_client::tonic::transport::Channel;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A call in CRI's namespace.
pub fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("containerd-namespace", "k8s.io".parse().unwrap());
    request
}

pub async fn tasks(node: &Node) -> TasksClient<Channel> {
    let socket = &node.managed.config().socket;
    TasksClient::new(containerd_client::connect(socket).await.unwrap())
}

/// Fifos as a client of containerd makes them.
pub struct Fifos {
    directory: tempfile::TempDir,
}

impl Fifos {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["in", "out"] {
            nix::unistd::mkfifo(&directory.path().join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        Self { directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Open at once, whether the shim is there or not.
    pub fn reader(&self) -> File {
        File::options()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(self.path("out"))
            .unwrap()
    }

    pub fn write(&self, text: &str) {
        let mut writer = File::options().write(true).open(self.path("in")).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
}

/// Reads until the text is there.
pub async fn read_until(reader: &mut File, wanted: &str) -> String {
    let mut text = String::new();
    let give_up = Instant::now() + PATIENCE;
    while !text.contains(wanted) {
        let mut buffer = [0; 1024];
        match reader.read(&mut buffer) {
            Ok(read) => text.push_str(&String::from_utf8_lossy(&buffer[..read])),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        assert!(Instant::now() < give_up, "no {wanted:?} in {text:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    text
}

/// Until something is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < give_up, "not in {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The shims of a node's pods: their pids.
pub fn shims(node: &Node) -> Vec<i32> {
    let root = node.dir.path().display().to_string();
    let mut pids: Vec<i32> = crate::node::processes_with(&root)
        .into_iter()
        .filter(|(_, line)| line.contains("containerd-shim") && !line.ends_with(" start "))
        .map(|(pid, _)| pid)
        .collect();
    pids.sort_unstable();
    pids
}

/// Which program a process runs.
pub fn program(pid: i32) -> String {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    Path::new(&path)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// What is shown of a process in kB.
pub fn status_kb(pid: i32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}
