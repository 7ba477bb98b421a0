//! `orlop apiserver`: the API server alone, on the embedded store, in memory, or on etcd.
pub(crate) mod authorities;
mod follow;

use crate::cli::ApiServerArgs;
use crate::memory;
use crate::node_identity::{SERVICE_ACCOUNT_ISSUER, advertised};
use crate::notify;
use crate::paths::Root;
use crate::signals;
use anyhow::{Context, Result, bail};
use orlop_apiserver::{
    AdmissionSettings, ApiServer, AuthenticationConfig, BadRanges, Config, Cors, Encryption,
    EndpointReconciler, FlowConfig, KubeletClientTls, RequestTimes, RuntimeConfig, STORAGE_ROOT,
    ServiceNetwork, TokenConfig,
};
use orlop_client::Followed;
use orlop_pki::{
    Authority, ClientAuthorities, Identity, Kubeconfig, LeafRequest, Named, Pair, Presented, TlsLimits,
    TokenPublicKey, TokenSigner, Usage, server_config_presenting,
};
use orlop_store::embedded::{EmbeddedStore, Options};
use orlop_store::etcd::{EtcdStore, EtcdTls};
use orlop_store::{Prefixed, Store};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long an etcd that does not answer is waited for, as upstream's server waits.
const ETCD_PATIENCE: Duration = Duration::from_secs(20);
/// Between two tries: nothing tells when another process is ready.
const ETCD_PAUSE: Duration = Duration::from_millis(100);
pub async fn apiserver(arguments: ApiServerArgs) -> Result<()> {
    // What keeps nothing must not touch the machine's own files either.
    let place = (arguments.ephemeral && arguments.root.root.is_none())
        .then(|| tempfile::Builder::new().prefix("orlop-apiserver-").tempdir())
        .transpose()
        .context("cannot make a directory for certificates")?;
    let root = place.as_ref().map(tempfile::TempDir::path);
    let root = Root::new(root.or(arguments.root.root.as_deref()))?;
    let leaving = signals::shutdown_token()?;
    let shutdown = later(leaving.clone(), arguments.shutdown_delay_duration);
    let address = SocketAddr::new(arguments.bind_address, arguments.secure_port);
    let listener = orlop_sockets::listen(address).await.with_context(|| {
        format!("cannot listen on {address}: stop what has the port, or choose another --secure-port or --bind-address")
    })?;
    // The port may have been left to the system; the address of a socket for both families is not the one that was given.
    let address = SocketAddr::new(address.ip(), listener.local_addr()?.port());
    let advertise = match arguments.advertise_address {
        Some(ip) => SocketAddr::new(ip, address.port()),
        // Nobody else is meant to find this one.
        None if arguments.ephemeral => advertised(address),
        None => advertised_to_others(address),
    };
    let client_ca = authorities::of_clients(&arguments, &root)?;
    let tokens = tokens(&arguments, &root)?;
    let own_issuers: Vec<String> = std::iter::once(&tokens.issuer)
        .chain(&tokens.other_issuers)
        .cloned()
        .collect();
    let followed_authentication = follow::file(&arguments.authentication.authentication_config);
    let followed_proxies = follow::file(
        &arguments
            .authentication
            .request_header
            .requestheader_client_ca_file,
    );
    let authentication = arguments.authentication.config(client_ca, &own_issuers)?;
    if let (Some(followed), Some(proxies)) = (followed_proxies, &authentication.front_proxy) {
        tokio::spawn(authorities::follow(followed, proxies.ca.clone()));
    }
    let tls = serving_tls(&arguments, &root, advertise.ip(), &authentication)?;
    let store = open_store(&arguments, &root).await?;
    let mut config = Config::new(advertise);
    config.shutdown = shutdown.clone();
    config.leaving = Some(leaving);
    config.runtime = runtime(&arguments)?;
    config.turns_away_at_shutdown = arguments.shutdown_send_retry_after;
    config.watch_farewell = arguments.shutdown_watch_termination_grace_period;
    config.kubelet_client = kubelet_client(&arguments)?;
    config.kubelet_address_types = arguments.kubelet_preferred_address_types.clone();
    config.tokens = Some(tokens);
    config.enabled_admission = arguments.enable_admission_plugins.clone();
    if let (Some(followed), Some(structured)) = (followed_authentication, authentication.structured.clone()) {
        tokio::spawn(follow::settings(followed, move |text| structured.replace(text)));
    }
    config.authentication = authentication;
    config.authorization = arguments.authentication.authorization_mode.clone();
    config.access_webhook = arguments.authentication.access_webhook()?;
    let followed_authorization = follow::file(&arguments.authentication.authorization_config);
    config.structured_authorization = arguments.authentication.structured_authorization()?;
    if let (Some(followed), Some(structured)) =
        (followed_authorization, config.structured_authorization.clone())
    {
        tokio::spawn(follow::settings(followed, move |text| structured.replace(text)));
    }
    config.proxy_identity = arguments.authentication.proxy_identity()?;
    config.audit = arguments.audit.config()?;
    config.traces = arguments.tracing.config()?;
    config.flow = FlowConfig {
        reads: arguments.max_requests_inflight,
        writes: arguments.max_mutating_requests_inflight,
        fair: arguments.enable_priority_and_fairness,
    };
    config.request_times = RequestTimes {
        answer_max: arguments.request_timeout,
        watch_min: Duration::from_secs(arguments.min_request_timeout.into()),
    };
    config.cors = cors(&arguments)?;
    config.connections.goaway_chance = arguments.goaway_chance;
    if let Some(path) = &arguments.admission_control_config_file {
        let settings = AdmissionSettings::read(path);
        config.admission = settings.with_context(|| path.display().to_string())?;
    }
    config.admission.not_ready_toleration = Some(arguments.default_not_ready_toleration_seconds);
    config.admission.unreachable_toleration = Some(arguments.default_unreachable_toleration_seconds);
    config.event_ttl = arguments.event_ttl;
    config.transport_security = transport_security(&arguments)?;
    config.disabled_admission = arguments.disable_admission_plugins.clone();
    config.encryption = encryption(&arguments)?;
    config.endpoint_reconciler = match arguments.endpoint_reconciler_type.as_deref() {
        Some("none") => EndpointReconciler::None,
        Some(_) => EndpointReconciler::Lease,
        // Another server can be on the same store then.
        None if !arguments.etcd_servers.is_empty() => EndpointReconciler::Lease,
        None => EndpointReconciler::Alone,
    };
    // The embedded store forgets by itself.
    let forgets = arguments.etcd_servers.is_empty() || arguments.etcd_compaction_interval.is_zero();
    config.compaction = (!forgets).then_some(arguments.etcd_compaction_interval);
    config.hostname = Some(gethostname::gethostname().to_string_lossy().into_owned());
    config.services = service_network(&arguments)?;
    let server = ApiServer::start(config, store).await?;
    tracing::info!(%address, "API server answers");
    if let Some(path) = admin_kubeconfig(&arguments, &root, address)? {
        println!("export KUBECONFIG={}", path.display());
    }
    notify::ready_and_alive();
    tokio::spawn(memory::settle());
    tokio::spawn(memory::follow(server.revisions()));
    server
        .serve(listener, tls, shutdown)
        .await
        .context("the API server stopped")
}

/// Cancelled so long after another one.
fn later(first: CancellationToken, delay: Duration) -> CancellationToken {
    if delay.is_zero() {
        return first;
    }
    let last = CancellationToken::new();
    let ended = last.clone();
    tokio::spawn(async move {
        first.cancelled().await;
        tokio::time::sleep(delay).await;
        ended.cancel();
    });
    last
}

/// How objects are sealed, by a file that may be followed.
fn encryption(arguments: &ApiServerArgs) -> Result<Option<Encryption>> {
    let Some(path) = &arguments.encryption_provider_config else {
        return Ok(None);
    };
    let text = read(path)?;
    let encryption = Encryption::new(&text).with_context(|| path.display().to_string())?;
    if arguments.encryption_provider_config_automatic_reload {
        encryption.will_be_replaced();
        tokio::spawn(follow::encryption(path.clone(), text, encryption.clone()));
    }
    Ok(Some(encryption))
}

/// Which of the built-in APIs are served.
fn runtime(arguments: &ApiServerArgs) -> Result<RuntimeConfig> {
    let (config, never) = RuntimeConfig::parse(&arguments.runtime_config).context("--runtime-config")?;
    if !never.is_empty() {
        tracing::warn!(
            never = never.join(","),
            "--runtime-config names APIs that are not served in this version"
        );
    }
    Ok(config)
}

/// Whose pages may ask, if it is said of any.
fn cors(arguments: &ApiServerArgs) -> Result<Option<Cors>> {
    let patterns = &arguments.cors_allowed_origins;
    let cors = (!patterns.is_empty()).then(|| Cors::new(patterns));
    cors.transpose().context("--cors-allowed-origins")
}

/// The directives that go with every answer.
fn transport_security(arguments: &ApiServerArgs) -> Result<Option<String>> {
    let directives = arguments.strict_transport_security_directives.join("; ");
    if !directives.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        bail!("--strict-transport-security-directives cannot be sent: {directives:?}");
    }
    Ok((!directives.is_empty()).then_some(directives))
}

/// Of a server that keeps nothing, a kubeconfig of an administrator, beside its certificates. Where the authorities of
/// clients and server are given, nobody can be made an administrator here.
fn admin_kubeconfig(arguments: &ApiServerArgs, root: &Root, bound: SocketAddr) -> Result<Option<PathBuf>> {
    let directory = pki(arguments, root);
    let own_serving = arguments.tls_cert_file.is_none()
        && (arguments.cert_dir.is_none() || directory.join("ca.key").exists());
    if !arguments.ephemeral || arguments.authentication.client_ca_file.is_some() || !own_serving {
        return Ok(None);
    }
    let path = match &arguments.cert_dir {
        Some(directory) => directory.join("admin.conf"),
        None => root.kubeconfig("admin"),
    };
    let kubeconfig = Kubeconfig {
        server: &format!("https://{}", advertised(bound)),
        cluster: "ephemeral",
        identity: Identity::new("kubernetes-admin", &["system:masters"]),
    };
    kubeconfig.ensure(&path, &Authority::ensure(&directory, "ca", "kubernetes")?)?;
    Ok(Some(path))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

async fn open_store(arguments: &ApiServerArgs, root: &Root) -> Result<Arc<dyn Store>> {
    if arguments.ephemeral {
        return Ok(EmbeddedStore::in_memory()?);
    }
    if arguments.etcd_servers.is_empty() {
        let path = root.store();
        let store =
            tokio::task::spawn_blocking(move || EmbeddedStore::open(&path, Options::default())).await??;
        return Ok(store);
    }
    let files = [
        &arguments.etcd_cafile,
        &arguments.etcd_certfile,
        &arguments.etcd_keyfile,
    ];
    let files: Vec<PathBuf> = files.into_iter().flatten().cloned().collect();
    let followed = (!files.is_empty()).then(|| Followed::new(files));
    let authority = arguments.etcd_cafile.clone();
    let pair = arguments
        .etcd_certfile
        .clone()
        .zip(arguments.etcd_keyfile.clone());
    let presented = pair
        .map(|(certificate, key)| Presented::files(Pair { certificate, key }))
        .transpose()?;
    let tls = move || etcd_tls(authority.as_deref(), presented.as_ref());
    let store = connect_etcd(&arguments.etcd_servers, tls()?).await?;
    if let Some(followed) = followed {
        tokio::spawn(renew_etcd(store.clone(), followed, tls));
    }
    Ok(below(&arguments.etcd_prefix, Arc::new(store)))
}

/// Whom a connection to etcd trusts and what it shows, by the files as they are now.
fn etcd_tls(authority: Option<&Path>, presented: Option<&Presented>) -> Result<EtcdTls> {
    let authority = authority.map(|path| {
        let pem = read(path)?;
        // With one that is half written nobody would be trusted.
        ClientAuthorities::from_pem(&pem, "etcd's CA").with_context(|| path.display().to_string())?;
        anyhow::Ok(pem.into_bytes())
    });
    let own = presented.map(Presented::current);
    Ok(EtcdTls {
        authority: authority.transpose()?,
        identity: own.map(|own| (own.certificate.clone().into(), own.key.clone().into())),
    })
}

/// The same store, with everything below another key than usual.
fn below(prefix: &str, store: Arc<dyn Store>) -> Arc<dyn Store> {
    let there = match prefix.trim_matches('/') {
        "" => "/".to_owned(),
        prefix => format!("/{prefix}/"),
    };
    if there == STORAGE_ROOT {
        return store;
    }
    Arc::new(Prefixed::new(store, STORAGE_ROOT, &there))
}

/// Trusts whom the files name and presents to etcd what they hold, whenever they are replaced.
async fn renew_etcd(store: EtcdStore, mut followed: Followed, tls: impl Fn() -> Result<EtcdTls> + Send) {
    loop {
        followed.changed().await;
        let found = tls();
        let renewed = match found {
            Ok(found) => store.present(found).await.map_err(anyhow::Error::from),
            Err(error) => Err(error),
        };
        match renewed {
            Ok(()) => tracing::info!("etcd is asked with the certificates that are in their files now"),
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "etcd is asked with the certificates of before"
            ),
        }
    }
}

/// etcd may be starting beside this server, as after a boot.
async fn connect_etcd(servers: &[String], tls: EtcdTls) -> Result<EtcdStore> {
    let deadline = tokio::time::Instant::now() + ETCD_PATIENCE;
    loop {
        match EtcdStore::connect(servers, tls.clone()).await {
            Ok(store) => return Ok(store),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error.into()),
            Err(error) => tracing::debug!(%error, "etcd does not answer yet"),
        }
        tokio::time::sleep(ETCD_PAUSE).await;
    }
}

fn service_network(arguments: &ApiServerArgs) -> Result<ServiceNetwork, BadRanges> {
    ServiceNetwork::new(
        &arguments.service_cluster_ip_range,
        arguments.service_node_port_range.clone(),
    )
}

/// Where certificates are that no flag names.
fn pki(arguments: &ApiServerArgs, root: &Root) -> PathBuf {
    arguments.cert_dir.clone().unwrap_or_else(|| root.pki())
}

/// What the Service `kubernetes` leads to: the address that is bound to, or the machine's own if that one means every
/// address or none that others reach.
fn advertised_to_others(bound: SocketAddr) -> SocketAddr {
    let ip = bound.ip();
    let own = (ip.is_unspecified() || ip.is_loopback()).then(|| orlop_kubelet::node::addresses(&[], ""));
    let own = own.and_then(|addresses| addresses.first().copied());
    SocketAddr::new(own.unwrap_or(ip), bound.port())
}

/// The given serving certificate, or one signed by the authority of the PKI directory.
fn serving_tls(
    arguments: &ApiServerArgs,
    root: &Root,
    ip: IpAddr,
    authentication: &AuthenticationConfig,
) -> Result<watch::Receiver<Arc<rustls::ServerConfig>>> {
    let directory = pki(arguments, root);
    let own = || Authority::ensure(&directory, "ca", "kubernetes");
    let files = |certificate: &Path, key: &Path| {
        Presented::files(Pair {
            certificate: certificate.to_path_buf(),
            key: key.to_path_buf(),
        })
    };
    let presented = match (&arguments.tls_cert_file, &arguments.tls_private_key_file) {
        (Some(certificate), Some(key)) => files(certificate, key)?,
        // Whoever names a directory may have put a certificate of their own there.
        _ if arguments.cert_dir.is_some() && directory.join("apiserver.crt").exists() => {
            files(&directory.join("apiserver.crt"), &directory.join("apiserver.key"))?
        }
        _ => {
            let request = LeafRequest {
                identity: Identity::new("kube-apiserver", &[]),
                usage: Usage::Server,
                dns_names: [
                    "kubernetes",
                    "kubernetes.default",
                    "kubernetes.default.svc",
                    "kubernetes.default.svc.cluster.local",
                    "localhost",
                ]
                .map(str::to_owned)
                .to_vec(),
                addresses: vec![
                    ip,
                    IpAddr::V4(Ipv4Addr::LOCALHOST),
                    service_network(arguments)?.addresses.api_server(),
                ],
            };
            own()?.ensure_leaf("apiserver", &request)?;
            files(&directory.join("apiserver.crt"), &directory.join("apiserver.key"))?
        }
    };
    let limits = TlsLimits::new(&arguments.tls_min_version, &arguments.tls_cipher_suites)?;
    let named = arguments.tls_sni_cert_key.iter().map(|named| -> Result<Named> {
        let presented = files(&named.certificate, &named.key)?;
        Ok(Named::new(presented, &named.names))
    });
    let named: Vec<Named> = named.collect::<Result<_>>()?;
    let make = move |authorities: &str| {
        server_config_presenting(presented.clone(), named.clone(), authorities, &limits)
    };
    Ok(authorities::told_to_clients(authentication.trusted(), make)?)
}

/// The keys of service account tokens, by default those of the PKI directory.
fn tokens(arguments: &ApiServerArgs, root: &Root) -> Result<TokenConfig> {
    let signer = match &arguments.service_account_signing_key_file {
        Some(path) => TokenSigner::from_pem(&read(path)?).with_context(|| path.display().to_string())?,
        None => TokenSigner::ensure(&root.pki())?,
    };
    let mut keys = Vec::new();
    for path in &arguments.service_account_key_file {
        keys.extend(TokenPublicKey::all_from_pem(&read(path)?).with_context(|| path.display().to_string())?);
    }
    let mut others = arguments.service_account_issuer.iter();
    let issuer = others
        .next()
        .map_or_else(|| SERVICE_ACCOUNT_ISSUER.to_owned(), String::clone);
    Ok(TokenConfig {
        issuer,
        other_issuers: others.cloned().collect(),
        key_set_url: arguments.service_account_jwks_uri.clone(),
        audiences: arguments.api_audiences.clone(),
        signer,
        seconds_max: arguments
            .service_account_max_token_expiration
            .and_then(|max| i64::try_from(max.as_secs()).ok()),
        extends: arguments.service_account_extend_token_expiration,
        keys,
    })
}

/// How node agents are asked; by nobody in particular where no certificate is given.
fn kubelet_client(arguments: &ApiServerArgs) -> Result<KubeletClientTls> {
    let files = arguments
        .kubelet_client_certificate
        .clone()
        .zip(arguments.kubelet_client_key.clone());
    let identity = files
        .map(|(certificate, key)| Presented::files(Pair { certificate, key }))
        .transpose()?;
    let ca = arguments.kubelet_certificate_authority.as_deref();
    Ok(KubeletClientTls {
        ca: ca.map(read).transpose()?,
        identity,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another authority of etcd's certificates needs no restart.
    #[test]
    fn whom_etcd_s_connections_trust_is_read_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        let trusted = || etcd_tls(Some(&path), None).map(|tls| tls.authority);
        assert!(trusted().is_err());
        for name in ["old", "new"] {
            let authority = Authority::ephemeral(name).unwrap();
            std::fs::write(&path, authority.certificate()).unwrap();
            assert_eq!(trusted().unwrap().unwrap(), authority.certificate().as_bytes());
        }
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
        assert!(trusted().is_err(), "half of one");
        assert!(etcd_tls(None, None).unwrap().authority.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_to_leave_ends_later() {
        let leaving = CancellationToken::new();
        let shutdown = later(leaving.clone(), Duration::from_secs(9));
        leaving.cancel();
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert!(!shutdown.is_cancelled());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(shutdown.is_cancelled());
        assert!(later(leaving, Duration::ZERO).is_cancelled());
    }
}
