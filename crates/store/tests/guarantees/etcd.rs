//! A real etcd, of one member, for one test.
use orlop_store::Store;
use orlop_store::etcd::{EtcdStore, EtcdTls};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long Debian's etcd may take to elect itself on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);

/// Ended, and its data removed, when dropped.
pub struct Etcd {
    process: Child,
    url: String,
    _data: Option<tempfile::TempDir>,
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Etcd {
    pub fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut etcd = Self::start_on(data.path());
        etcd._data = Some(data);
        etcd
    }

    /// Starts on a data directory, which may hold something already, and leaves it there.
    pub fn start_on(data: &Path) -> Self {
        let (url, peer) = (
            format!("http://127.0.0.1:{}", free_port()),
            format!("http://127.0.0.1:{}", free_port()),
        );
        let process = Command::new("etcd")
            .arg("--max-request-bytes=2097152")
            // One member elects itself as soon as it has waited for others.
            .args(["--heartbeat-interval=10", "--election-timeout=100"])
            .arg("--data-dir")
            .arg(data)
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
        Self {
            process,
            url,
            _data: None,
        }
    }

    #[allow(
        dead_code,
        reason = "not every test that starts an etcd talks to it otherwise"
    )]
    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn store(&self) -> Arc<dyn Store> {
        let deadline = Instant::now() + START_MAX;
        loop {
            match EtcdStore::connect(std::slice::from_ref(&self.url), EtcdTls::default()).await {
                Ok(store) => return Arc::new(store),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
