//! `orlop up`: a whole node in one process. Composition only: every part talks to the API server
//! through the same client type that otherwise goes over HTTPS.
//!
//! The API server comes first and answers before the runtime is looked at; the agent begins when
//! both are there.
use crate::cli::UpArgs;
use crate::commands::agent::{self, AgentOptions};
use crate::commands::apiserver::authorities;
use crate::commands::{in_process, root_ca};
use crate::delegate::Delegate;
use crate::doctor::{Ask, warn_at_start};
use crate::health::{self, Face};
use crate::lock::NodeLock;
use crate::memory;
use crate::node_identity::{NodeIdentity, SERVICE_ACCOUNT_ISSUER};
use crate::paths::Root;
use crate::signals;
use anyhow::{Context, Result, bail};
use orlop_apiserver::{
    ADDRESSES_FIRST, ApiServer, AuthenticationConfig, Config, FrontProxyConfig, GIT_VERSION,
    KubeletClientTls, TokenConfig, TrustedAuthorities, UserInfo,
};
use orlop_client::Readiness;
use orlop_client::leader::NAMESPACE;
use orlop_controllers::{Accounts, CertificateSigning, ControllersConfig};
use orlop_cri::containerd::{ContainerdConfig, Managed, Shim};
use orlop_cri::images::{Archives, Directory, Importer};
use orlop_cri::{Endpoint, Remote};
use orlop_kubelet::metrics::Metrics;
use orlop_metrics::PartMetrics;
use orlop_pki::TokenSigner;
use orlop_store::Store;
use orlop_store::embedded::{EmbeddedStore, Options};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long the certificates of node agents that join are valid at most.
const LEAF_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// A runtime that somebody else runs must be there: the node says so rather than wait in silence.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(3);
/// How long the parts may take to end in order.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

pub async fn up(arguments: UpArgs) -> Result<()> {
    let root = Root::new(arguments.root.root.as_deref())?;
    let _lock = NodeLock::take(&root.pid_file())?;
    let shutdown = signals::shutdown_token()?;
    let address = SocketAddr::new(arguments.bind_address, arguments.secure_port);
    // A port that is taken is found out before anything is written.
    let listener = orlop_sockets::listen(address).await.with_context(|| {
        format!("cannot listen on {address}: stop what has the port, or choose another --secure-port or --bind-address")
    })?;
    let mut configuration = agent::configuration(&root, &agent::Given::file(arguments.config.as_deref()))?;
    agent::prepare_machine(&root, &configuration)?;
    agent::use_static_objects(&root, &mut configuration, arguments.static_objects.as_deref());
    let shim: Shim = configuration
        .shim
        .parse()
        .context("the kubelet configuration's orlop.dev/shim")?;
    let endpoint = arguments.container_runtime_endpoint.as_deref();
    // The ports are this node's own by now.
    let ask = Ask {
        ports: &[],
        runtime_endpoint: endpoint,
    };
    warn_at_start(&root, ask).await;
    let node_name = agent::node_name(arguments.node_name.as_deref());
    let identity = NodeIdentity::ensure(&root, &node_name, address)?;

    let mut parts = JoinSet::new();
    let advertise = advertised_to_pods(address, &node_name);
    // On loopback alone, pods with a network of their own cannot reach it.
    let reachable = !advertise.ip().is_loopback();
    let authentication = authentication(&root)?;
    let tls = identity.apiserver_tls(authentication.trusted())?;
    let (server, store) = start_api_server(&root, &identity, advertise, authentication, &shutdown).await?;
    parts.spawn({
        let (server, shutdown) = (server.clone(), shutdown.clone());
        async move {
            server
                .serve(listener, tls, shutdown)
                .await
                .context("the API server stopped")
        }
    });
    tracing::info!(%address, "API server answers");
    tokio::spawn(memory::follow(server.revisions()));

    // Each part under the name that its program has, which owns the fields it writes.
    let part = |program: &'static str| {
        let user = UserInfo::new(format!("system:{program}"), Vec::<String>::new());
        let metrics = Arc::new(PartMetrics::new(GIT_VERSION));
        let client = in_process::client(&server, user, program, &metrics.calls, advertise);
        (client, metrics)
    };
    let controllers = part("kube-controller-manager");
    let scheduler = part("kube-scheduler");
    let readiness = Readiness::default();
    let scheduling = orlop_scheduler::Options::default();
    for (program, port, (client, metrics), readiness, pages) in [
        (
            "kube-controller-manager",
            arguments.controller_manager_port,
            &controllers,
            Readiness::default(),
            Vec::new(),
        ),
        (
            "kube-scheduler",
            arguments.scheduler_port,
            &scheduler,
            readiness.clone(),
            vec![health::of_resources(&scheduling)],
        ),
    ] {
        let face = Face {
            part: program,
            metrics: metrics.clone(),
            readiness,
            delegate: Delegate::new(client.clone()),
            open: Vec::new(),
            certificate: None,
            configz: None,
            pages,
        };
        show(
            face,
            SocketAddr::new(arguments.bind_address, port),
            &mut parts,
            &shutdown,
        )
        .await;
    }
    parts.spawn({
        let (client, metrics) = controllers;
        let config = ControllersConfig {
            root_ca: Some(root_ca::of_file(root.pki().join("ca.crt"))?),
            signing: Some(CertificateSigning {
                authority: identity.signing_authority()?,
                lifetime_max: LEAF_LIFETIME,
            }),
            token_signer: Some(Arc::new(TokenSigner::ensure(&root.pki())?)),
            accounts: Some(accounts(&server, &metrics, advertise)),
            ..ControllersConfig::default()
        };
        let shutdown = shutdown.clone();
        async move {
            orlop_controllers::run_measured(client, config, metrics, shutdown)
                .await
                .context("the controllers stopped")
        }
    });
    parts.spawn({
        let ((client, metrics), shutdown) = (scheduler, shutdown.clone());
        async move {
            orlop_scheduler::run_measured(client, &scheduling, metrics, &readiness, shutdown)
                .await
                .context("the scheduler stopped")
        }
    });

    let images = arguments.images.clone().unwrap_or_else(|| root.images());
    let (remote, archives) = start_runtime(
        &root,
        arguments.container_runtime_endpoint.as_deref().map_or(
            Runtime::Managed(Box::new(ContainerdConfig {
                shim,
                ..ContainerdConfig::of_root(root.as_path())
            })),
            Runtime::Given,
        ),
        &images,
        &mut parts,
        &shutdown,
    )
    .await?;
    let tls = identity.kubelet_tls(&root, agent::tls_limits(&configuration)?)?;
    let metrics = Metrics::default();
    let agent = UserInfo::node(&node_name);
    let options = AgentOptions {
        node_name: node_name.clone(),
        configuration,
        client: Some(in_process::client(
            &server,
            agent,
            "kubelet",
            &metrics.calls,
            advertise,
        )),
        metrics,
        remote,
        tls: Some(Arc::new(tls)),
        node_ips: Vec::new(),
        node_labels: Vec::new(),
        api_server_port: reachable.then_some(address.port()),
        credential_providers: None,
        archives,
        kubelet_root: root.kubelet(),
        container_logs: root.container_logs(),
        control_socket: root.agent_socket(),
        addresses: ContainerdConfig::of_root(root.as_path())
            .network
            .map(|network| network.data_dir.join(network.bridge)),
    };
    parts.spawn(agent::run(options, shutdown.clone()));
    tokio::spawn(memory::settle());

    let outcome = first_failure(&mut parts, &shutdown).await;
    shutdown.cancel();
    let ending = async { while parts.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_TIMEOUT, ending).await.is_err() {
        tracing::warn!("not every part ended within {STOP_TIMEOUT:?}");
    }
    store.close().await;
    outcome
}

/// Who is recognised. The authorities are those of the PKI directory, as its files say from now on.
fn authentication(root: &Root) -> Result<AuthenticationConfig> {
    let file = |name: &str| root.pki().join(name);
    let proxies = authorities::of_file(file("front-proxy-ca.crt"), TrustedAuthorities::of_front_proxies)?;
    Ok(AuthenticationConfig {
        client_ca: Some(authorities::of_file(
            file("ca.crt"),
            TrustedAuthorities::of_clients,
        )?),
        front_proxy: Some(FrontProxyConfig::usual(proxies)),
        bootstrap_tokens: true,
        ..AuthenticationConfig::default()
    })
}

/// The service accounts as which the controllers write.
fn accounts(server: &Arc<ApiServer>, metrics: &Arc<PartMetrics>, host: SocketAddr) -> Accounts {
    let (server, metrics) = (server.clone(), metrics.clone());
    Accounts::new(move |name| {
        let user = UserInfo::service_account(NAMESPACE, name);
        in_process::client(&server, user, "kube-controller-manager", &metrics.calls, host)
    })
}

/// Serves what a part shows of itself. A port that another node of this machine has is done without.
async fn show(
    face: Face,
    address: SocketAddr,
    parts: &mut JoinSet<Result<()>>,
    shutdown: &CancellationToken,
) {
    if address.port() == 0 {
        return;
    }
    match health::listen(face.part, address).await {
        Ok(listener) => {
            parts.spawn(health::serve(face, listener, shutdown.clone()));
        }
        Err(error) => {
            tracing::warn!(part = face.part, %error, "its health and metrics are not served");
        }
    }
}

/// Waits for shutdown, or for a part that ends before.
pub(super) async fn first_failure(
    parts: &mut JoinSet<Result<()>>,
    shutdown: &CancellationToken,
) -> Result<()> {
    loop {
        let ended = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            ended = parts.join_next() => ended,
        };
        match ended {
            None => return Ok(()),
            Some(Ok(Ok(()))) if shutdown.is_cancelled() => return Ok(()),
            // A part that has nothing (more) to do.
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => return Err(error),
            Some(Err(panic)) => bail!("a part of orlop panicked: {panic}"),
        }
    }
}

/// The address under which pods reach the API server: the one it is bound to, or the node's first.
fn advertised_to_pods(bound: SocketAddr, node_name: &str) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    match orlop_kubelet::node::addresses(&[], node_name).first() {
        Some(address) => SocketAddr::new(*address, bound.port()),
        None => crate::node_identity::advertised(bound),
    }
}

async fn start_api_server(
    root: &Root,
    identity: &NodeIdentity,
    advertise: SocketAddr,
    authentication: AuthenticationConfig,
    shutdown: &CancellationToken,
) -> Result<(Arc<ApiServer>, Arc<EmbeddedStore>)> {
    let path = root.store();
    let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(&path, Options::default())).await??;
    let mut config = Config::new(advertise);
    config.shutdown = shutdown.clone();
    config.authentication = authentication;
    config.proxy_identity = Some(identity.front_proxy_client()?);
    config.kubelet_client = KubeletClientTls {
        ca: Some(identity.authority().to_owned()),
        identity: Some(identity.kubelet_client()?),
    };
    config.hostname = Some(gethostname::gethostname().to_string_lossy().into_owned());
    config.kubelet_address_types = ADDRESSES_FIRST.map(str::to_owned).to_vec();
    config.tokens = Some(TokenConfig::new(
        SERVICE_ACCOUNT_ISSUER,
        TokenSigner::ensure(&root.pki())?,
    ));
    let as_store: Arc<dyn Store> = store.clone();
    Ok((ApiServer::start(config, as_store).await?, store))
}

/// Whose the runtime is.
pub(super) enum Runtime<'a> {
    /// Somebody else's, at this endpoint.
    Given(&'a str),
    Managed(Box<ContainerdConfig>),
}

/// Connects to the given runtime, or brings the managed containerd up, and imports images; with them, where they lie.
pub(super) async fn start_runtime(
    root: &Root,
    runtime: Runtime<'_>,
    images: &Path,
    parts: &mut JoinSet<Result<()>>,
    shutdown: &CancellationToken,
) -> Result<(Remote, Option<Arc<dyn Archives>>)> {
    let remote = match runtime {
        Runtime::Given(text) => Remote::connect_within(&Endpoint::parse(text)?, RUNTIME_PATIENCE).await?,
        Runtime::Managed(config) => {
            let managed = Managed::ensure(*config).await?;
            tracing::info!(
                pid = managed.pid(),
                adopted = managed.was_adopted(),
                "containerd runs"
            );
            let remote = managed.remote().clone();
            let shutdown = shutdown.clone();
            parts.spawn(async move {
                managed.supervise(shutdown).await;
                Ok(())
            });
            remote
        }
    };
    let record = root.runtime_endpoint_file();
    std::fs::write(&record, remote.endpoint().to_string())
        .with_context(|| format!("cannot write {}", record.display()))?;
    let archives = import_images(&remote, images.to_path_buf(), parts, shutdown).await;
    Ok((remote, archives))
}

/// Imports the sandbox image and what lies in the directory, then watches it.
async fn import_images(
    remote: &Remote,
    directory: PathBuf,
    parts: &mut JoinSet<Result<()>>,
    shutdown: &CancellationToken,
) -> Option<Arc<dyn Archives>> {
    let importer = match Importer::new(remote) {
        Ok(importer) => Arc::new(importer),
        Err(error) => {
            tracing::warn!(%error, "images are not imported: the runtime must have them");
            return None;
        }
    };
    if let Err(error) = importer.ensure_sandbox_image().await {
        tracing::warn!(%error, "the sandbox image is not imported: the runtime must have its own");
    }
    let watched = match Directory::open(importer, &directory) {
        Ok(watched) => watched,
        Err(error) => {
            tracing::warn!(directory = %directory.display(), %error, "no images are imported");
            return None;
        }
    };
    // Before pods start: one that came too early would wait out its pull back-off.
    watched.import_existing().await;
    let archives = watched.archives();
    let shutdown = shutdown.clone();
    parts.spawn(async move {
        watched.watch(shutdown).await;
        Ok(())
    });
    Some(archives)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_pki::Authority;

    #[tokio::test]
    async fn authorities_that_are_put_in_place_of_the_nodes_own_count_without_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(Some(dir.path())).unwrap();
        let identity = NodeIdentity::ensure(&root, "n1", "127.0.0.1:6443".parse().unwrap()).unwrap();
        let authentication = authentication(&root).unwrap();
        let mut tls = identity.apiserver_tls(authentication.trusted()).unwrap();
        for (file, trusted) in ["ca.crt", "front-proxy-ca.crt"]
            .into_iter()
            .zip(authentication.trusted())
        {
            tls.borrow_and_update();
            let pem = Authority::ephemeral(file).unwrap().certificate().to_owned();
            let fresh = root.pki().join("fresh");
            std::fs::write(&fresh, &pem).unwrap();
            std::fs::rename(&fresh, root.pki().join(file)).unwrap();
            let told = tls.wait_for(|_| trusted.pem() == pem);
            tokio::time::timeout(Duration::from_secs(20), told)
                .await
                .unwrap()
                .unwrap();
        }
    }
}
