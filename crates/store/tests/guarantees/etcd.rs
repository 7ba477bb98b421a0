//! A real etcd, of one member, for one test.
use orlop_store::Store;
use orlop_store::etcd::{EtcdStore, EtcdTls};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
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

/// A port below those that the kernel gives to connections: nobody gets it by chance before it is listened on.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        // Processes begin in different places, and none tries one twice.
        let next = std::process::id()
            .wrapping_mul(613)
            .wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = (FIRST + next % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
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
