//! A real etcd, of one member, for one test.
use orlop_ports::free_port;
use orlop_store::Store;
use orlop_store::etcd::{EtcdStore, EtcdTls};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long Debian's etcd may take to elect itself on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);

/// Ended, and its data removed, when dropped.
pub struct Etcd {
    process: Child,
    arguments: Vec<String>,
    url: String,
    _data: Option<tempfile::TempDir>,
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
        let arguments = vec![
            "--max-request-bytes=2097152".to_owned(),
            // One member elects itself as soon as it has waited for others.
            "--heartbeat-interval=10".to_owned(),
            "--election-timeout=100".to_owned(),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ];
        Self {
            process: Self::run(&arguments),
            arguments,
            url,
            _data: None,
        }
    }

    fn run(arguments: &[String]) -> Child {
        Command::new("etcd")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd runs: is the package etcd-server installed?")
    }

    /// SIGKILL, now.
    #[allow(dead_code, reason = "not every test that starts an etcd kills it")]
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts again what was killed, in the same place.
    #[allow(dead_code, reason = "not every test that starts an etcd kills it")]
    pub fn start_again(&mut self) {
        self.process = Self::run(&self.arguments);
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
