//! The API server under load: one of ours, started for this, or whatever a kubeconfig names.
use super::cpu;
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use kube::config::{AuthInfo, Cluster, Kubeconfig};
use orlop_pki::{Authority, Identity};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CipherSuite, ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to answer on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);
/// Between two looks whether it answers; short, since it is timed.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Where and how to ask.
#[derive(Clone)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    pub host: String,
    /// `Bearer …`, where the kubeconfig names a token.
    pub authorization: Option<String>,
    /// The server's process, where it is ours.
    pub server: Option<u32>,
    tls: Arc<ClientConfig>,
}

impl Target {
    /// The server, authority and user of the current context.
    pub fn of_kubeconfig(path: &Path) -> Result<Self> {
        let file = Kubeconfig::read_from(path)
            .with_context(|| format!("cannot use kubeconfig {}", path.display()))?;
        let context_name = file.current_context.as_deref().context("no current-context")?;
        let context = file.contexts.iter().find(|c| c.name == context_name);
        let context = context
            .and_then(|c| c.context.as_ref())
            .context("no such context")?;
        let cluster = file.clusters.iter().find(|c| c.name == context.cluster);
        let cluster = cluster
            .and_then(|c| c.cluster.as_ref())
            .context("no such cluster")?;
        let user = file
            .auth_infos
            .iter()
            .find(|u| Some(&u.name) == context.user.as_ref());
        let user = user.and_then(|u| u.auth_info.as_ref()).context("no such user")?;
        Self::new(cluster, user)
    }

    fn new(cluster: &Cluster, user: &AuthInfo) -> Result<Self> {
        let url: http::Uri = cluster.server.as_deref().context("no server")?.parse()?;
        ensure!(url.scheme_str() == Some("https"), "{url}: only https is measured");
        let host = url.host().context("no host")?.to_owned();
        let address = format!("{host}:{}", url.port_u16().unwrap_or(443));
        let data = cluster.certificate_authority_data.as_deref();
        let authority = part(data, cluster.certificate_authority.as_deref())?.context("no authority")?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&authority) {
            roots.add(certificate?)?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let certificate = part(
            user.client_certificate_data.as_deref(),
            user.client_certificate.as_deref(),
        )?;
        let key_data = user.client_key_data.as_ref().map(ExposeSecret::expose_secret);
        let key = part(key_data, user.client_key.as_deref())?;
        let mut tls = match (certificate, key) {
            (Some(certificate), Some(key)) => {
                let chain = CertificateDer::pem_slice_iter(&certificate).collect::<Result<_, _>>()?;
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&key)?)?
            }
            _ => builder.with_no_client_auth(),
        };
        tls.enable_secret_extraction = true;
        let bearer = |token: &SecretString| format!("Bearer {}", token.expose_secret());
        Ok(Self {
            address,
            host,
            authorization: user.token.as_ref().map(bearer),
            server: None,
            tls: Arc::new(tls),
        })
    }

    /// A request's bytes, HTTP/1.1.
    pub fn request(&self, method: &Method, path: &str, body: Option<&[u8]>) -> Vec<u8> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n",
            self.address
        );
        if let Some(authorization) = &self.authorization {
            request.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        if let Some(body) = body {
            request.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            ));
        }
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        request.extend_from_slice(body.unwrap_or_default());
        request
    }

    /// The TLS side for a connection that offers one protocol.
    pub fn tls(&self, protocol: &[u8]) -> Arc<ClientConfig> {
        let mut tls = (*self.tls).clone();
        tls.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(tls)
    }
}

/// Offers the one cipher that Go's clients prefer where the processor has instructions for it.
pub fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    let only = CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider.cipher_suites.retain(|suite| suite.suite() == only);
    provider
}

/// A kubeconfig's PEM, inline in base64 or in a file.
fn part(data: Option<&str>, file: Option<&str>) -> Result<Option<Vec<u8>>> {
    match (data, file) {
        (Some(data), _) => Ok(Some(STANDARD.decode(data)?)),
        (None, Some(path)) => Ok(Some(
            std::fs::read(path).with_context(|| format!("cannot read {path}"))?,
        )),
        (None, None) => Ok(None),
    }
}

/// A start on existing state, until it is ready.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    pub lasted: Duration,
    /// Processor time that the server needed for it.
    pub cpu: Duration,
}

/// An API server of ours with state of its own; stopped when dropped.
pub struct Own {
    program: PathBuf,
    process: Child,
    port: u16,
    root: TempDir,
}

impl Own {
    /// Starts on an empty directory beside the current one's build.
    pub async fn start(program: &Path) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("orlop-bench-").tempdir_in(".")?;
        let port = orlop_ports::free_port();
        let program = program.canonicalize()?;
        let process = spawn(&program, root.path(), port)?;
        let own = Self {
            program,
            process,
            port,
            root,
        };
        own.wait().await?;
        let pki = own.root.path().canonicalize()?.join("etc/kubernetes/pki");
        let kubeconfig = orlop_pki::Kubeconfig {
            server: &format!("https://127.0.0.1:{port}"),
            cluster: "bench",
            identity: Identity::new("kubernetes-admin", &["system:masters"]),
        };
        kubeconfig.ensure(&own.kubeconfig(), &Authority::ensure(&pki, "ca", "kubernetes")?)?;
        Ok(own)
    }

    /// For its administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.path().join("admin.conf")
    }

    pub fn target(&self) -> Result<Target> {
        Ok(Target {
            server: Some(self.process.id()),
            ..Target::of_kubeconfig(&self.kubeconfig())?
        })
    }

    /// Processor time until now.
    pub fn cpu(&self) -> Result<Duration> {
        cpu::of_process(&self.process.id().to_string())
    }

    /// Stops it with its state on disk and starts it again.
    pub async fn restart(&mut self) -> Result<Start> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        self.process.wait()?;
        let start = Instant::now();
        self.process = spawn(&self.program, self.root.path(), self.port)?;
        self.wait().await?;
        Ok(Start {
            lasted: start.elapsed(),
            cpu: cpu::of_process(&self.process.id().to_string())?,
        })
    }

    /// Until a connection is accepted: the server listens before it has its state, and answers after.
    async fn wait(&self) -> Result<()> {
        let deadline = Instant::now() + START_MAX;
        while !super::connection::answers(self.port) {
            ensure!(Instant::now() < deadline, "the API server does not answer");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// A line of `/proc/PID/status` in bytes: `VmRSS` now, `VmHWM` at its highest.
    pub fn memory(&self, line: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let found = status
            .lines()
            .find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
        let kilobytes: u64 = found
            .and_then(|value| value.split_whitespace().next())
            .with_context(|| format!("no {line}"))?
            .parse()?;
        Ok(kilobytes * 1024)
    }

    /// Lets the highest mark of memory begin anew from what is resident now.
    pub fn reset_peak(&self) -> Result<()> {
        Ok(std::fs::write(
            format!("/proc/{}/clear_refs", self.process.id()),
            "5",
        )?)
    }
}

fn spawn(program: &Path, root: &Path, port: u16) -> Result<Child> {
    Command::new(program)
        .args(["apiserver", "--bind-address=127.0.0.1", "--v=0"])
        .arg(format!("--secure-port={port}"))
        .arg("--root")
        .arg(root)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
