//! A real etcd, and the face: each of one member, with data of its own, ended when dropped.
#![allow(dead_code)]
use orlop_etcd::{Endpoint, Face as Served, Listener, Member};
use orlop_ports::free_port;
use orlop_store::embedded::{EmbeddedStore, Options};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// How long Debian's etcd may take to elect itself on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);

pub trait Server {
    fn port(&self) -> u16;
    fn peer_port(&self) -> u16;

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }
}

pub struct Etcd {
    process: Child,
    port: u16,
    peer_port: u16,
    _data: TempDir,
}

impl Etcd {
    pub fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let (port, peer_port) = (free_port(), free_port());
        let url = format!("http://127.0.0.1:{port}");
        let peer = format!("http://127.0.0.1:{peer_port}");
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(data.path())
            .arg(format!("--listen-client-urls={url}"))
            .arg(format!("--advertise-client-urls={url}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=default={peer}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd runs: is the package etcd-server installed?");
        let etcd = Self {
            process,
            port,
            peer_port,
            _data: data,
        };
        let deadline = Instant::now() + START_MAX;
        while !etcd.answers() {
            assert!(Instant::now() < deadline, "etcd does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        etcd
    }

    fn answers(&self) -> bool {
        Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args([&format!("--endpoints={}", self.url()), "get", "x"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

impl Server for Etcd {
    fn port(&self) -> u16 {
        self.port
    }

    fn peer_port(&self) -> u16 {
        self.peer_port
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub struct Face {
    port: u16,
    peer_port: u16,
    shutdown: CancellationToken,
    runtime: Option<Runtime>,
    _data: TempDir,
}

impl Face {
    pub fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let (port, peer_port) = (free_port(), free_port());
        let url = format!("http://127.0.0.1:{port}");
        let options = Options {
            history: Duration::MAX,
            ..Options::default()
        };
        let store = EmbeddedStore::open(data.path(), options).unwrap();
        let member = Member {
            client_urls: vec![url.clone()],
            peer_urls: vec![format!("http://127.0.0.1:{peer_port}")],
            ..Member::named("default")
        };
        let runtime = Runtime::new().unwrap();
        let endpoint: Endpoint = url.parse().unwrap();
        let listener = runtime.block_on(Listener::bind(endpoint, None)).unwrap();
        let shutdown = CancellationToken::new();
        let (face, stop) = (Served::new(store, member), shutdown.clone());
        runtime.spawn(async move { face.serve(vec![listener], stop).await });
        Self {
            port,
            peer_port,
            shutdown,
            runtime: Some(runtime),
            _data: data,
        }
    }

    /// Runs a client of the face.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(future)
    }
}

impl Server for Face {
    fn port(&self) -> u16 {
        self.port
    }

    fn peer_port(&self) -> u16 {
        self.peer_port
    }
}

impl Drop for Face {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}
