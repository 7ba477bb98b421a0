//! The API server in a process of its own: this test program, started again. It keeps its port, as a server that is
//! restarted does.
use http::Request;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig as ClientConfig};
use orlop_apiserver::{ApiServer, Config, TrustedAuthorities};
use orlop_pki::{Authority, Identity, Kubeconfig, LeafRequest, Usage};
use orlop_store::embedded::{EmbeddedStore, Options};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Names the directory and the address to the process.
const DIRECTORY: &str = "ORLOP_API_KILL_DIRECTORY";
const ADDRESS: &str = "ORLOP_API_KILL_ADDRESS";
const START_MAX: Duration = Duration::from_secs(60);

/// Where a server lives, over all its lives.
pub struct Home {
    directory: PathBuf,
    address: SocketAddr,
    authority: Authority,
}

impl Home {
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, orlop_ports::free_port())),
            authority: Authority::ensure(directory, "ca", "kubernetes").unwrap(),
        }
    }

    /// An administrator with connections of its own.
    pub async fn client(&self) -> Client {
        let path = self.directory.join("admin.conf");
        let url = format!("https://{}", self.address);
        let kubeconfig = Kubeconfig {
            server: &url,
            cluster: "kubernetes",
            identity: Identity::new("admin", &["system:masters"]),
        };
        kubeconfig.ensure(&path, &self.authority).unwrap();
        let read = ClientConfig::read_from(&path).unwrap();
        let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
        Client::try_from(config.unwrap()).unwrap()
    }

    /// Starts the server on what its predecessor has left, and waits until it is ready.
    pub async fn start(&self) -> Process {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process", "--nocapture"])
            .env(DIRECTORY, &self.directory)
            .env(ADDRESS, self.address.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Process(child);
        let client = self.client().await;
        let deadline = Instant::now() + START_MAX;
        let ready = || Request::get("/readyz").body(Vec::new()).unwrap();
        while client.request_text(ready()).await.is_err() {
            assert!(Instant::now() < deadline, "the server does not come back");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        process
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What a dead server has left.
    pub fn store(&self) -> std::sync::Arc<EmbeddedStore> {
        EmbeddedStore::open(&self.directory.join("store"), options()).unwrap()
    }
}

pub struct Process(Child);

impl Process {
    /// Resident memory, in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().unwrap();
        kib << 10
    }

    /// SIGKILL, now.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn options() -> Options {
    Options {
        // All of it is compared with what clients were told.
        history: Duration::MAX,
        // Short, so that many are killed in a checkpoint.
        journal_bytes: 256 << 10,
        ..Options::default()
    }
}

/// In the process: serves until it is killed.
pub fn serve_if_asked() {
    let (Some(directory), Ok(address)) = (std::env::var_os(DIRECTORY), std::env::var(ADDRESS)) else {
        return;
    };
    let directory = PathBuf::from(directory);
    let address: SocketAddr = address.parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let authority = Authority::ensure(&directory, "ca", "kubernetes").unwrap();
        let leaf = authority.sign(&LeafRequest {
            identity: Identity::new("kube-apiserver", &[]),
            usage: Usage::Server,
            dns_names: vec!["localhost".to_owned()],
            addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        });
        let leaf = leaf.unwrap();
        let tls = orlop_pki::server_config(&leaf.certificate, &leaf.key, authority.certificate()).unwrap();
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let store = EmbeddedStore::open(&directory.join("store"), options()).unwrap();
        let mut config = Config::new(address);
        let client_ca = TrustedAuthorities::of_clients(authority.certificate()).unwrap();
        config.authentication.client_ca = Some(client_ca);
        let shutdown = config.shutdown.clone();
        let server = ApiServer::start(config, store).await.unwrap();
        let _ = server.serve(listener, tls, shutdown).await;
    });
}
