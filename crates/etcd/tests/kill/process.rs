//! The store in a process of its own: this test program, started again.
use etcd_client::Client;
use orlop_etcd::{Endpoint, Face, Listener, Member};
use orlop_store::embedded::{EmbeddedStore, Options};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Names the directory and the URL to the process.
const DIRECTORY: &str = "ORLOP_KILL_DIRECTORY";
const URL: &str = "ORLOP_KILL_URL";
const START_MAX: Duration = Duration::from_secs(30);

pub struct Process {
    child: Child,
    pub url: String,
}

impl Process {
    /// Starts it on what its predecessor has left, and waits until it answers.
    pub async fn start(directory: &Path) -> Self {
        let port = orlop_ports::free_port();
        let url = format!("http://127.0.0.1:{port}");
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process", "--nocapture"])
            .env(DIRECTORY, directory)
            .env(URL, &url)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self { child, url };
        let deadline = Instant::now() + START_MAX;
        while !process.answers().await {
            assert!(Instant::now() < deadline, "the store does not come back");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        process
    }

    async fn answers(&self) -> bool {
        match Client::connect([&self.url], None).await {
            Ok(mut client) => client.get("x", None).await.is_ok(),
            Err(_) => false,
        }
    }

    /// SIGKILL, now.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the process: serves until it is killed.
pub fn serve_if_asked() {
    let (Some(directory), Ok(url)) = (std::env::var_os(DIRECTORY), std::env::var(URL)) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let options = Options {
            history: Duration::MAX,
            // Short, so that many are killed in a checkpoint.
            journal_bytes: 64 << 10,
            ..Options::default()
        };
        let store = EmbeddedStore::open(directory.as_ref(), options).unwrap();
        let endpoint: Endpoint = url.parse().unwrap();
        let listener = Listener::bind(endpoint, None).await.unwrap();
        let member = Member {
            client_urls: vec![url],
            ..Member::named("default")
        };
        Face::new(store, member)
            .serve(vec![listener], CancellationToken::new())
            .await;
    });
}
