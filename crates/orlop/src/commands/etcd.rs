//! The embedded store served alone, in etcd's protocol.
use crate::cli::{EtcdArgs, Retention, ServingTlsArgs, TlsVersion};
use crate::{notify, signals};
use anyhow::{Context, Result, anyhow, bail};
use orlop_etcd::{Endpoint, Face, Limits, Listener, Member, Tls, TlsFiles};
use orlop_pki::{Authority, Identity, LeafRequest, TlsLimits, Usage};
use orlop_store::embedded::{EmbeddedStore, Options};
use orlop_store::{Revision, Store};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Pages kept in memory, in bytes: a store that is served alone has the process for itself.
const CACHE_BYTES: usize = 64 << 20;
/// Recent events kept for watchers, in bytes.
const TAIL_BYTES: usize = 16 << 20;

/// How often it is looked for revisions that are kept no longer; etcd's own.
const COMPACTION_INTERVAL: Duration = Duration::from_secs(300);

/// Alarms that are raised, in the store's directory.
const ALARMS_FILE: &str = "alarms";

/// What to serve, and where.
pub struct Serving {
    pub directory: PathBuf,
    pub member: Member,
    pub cluster_token: String,
    /// URLs to listen on.
    pub listen: Vec<String>,
    /// URLs on which metrics and probes are answered, and nothing else.
    pub listen_metrics: Vec<String>,
    pub tls: ServingTlsArgs,
    pub limits: Limits,
    pub retention: Retention,
    /// Whether what is acknowledged is on the disk.
    pub syncs: bool,
}

/// Called as `etcd`.
pub async fn etcd(arguments: EtcdArgs) -> Result<()> {
    arguments.check().map_err(|why| anyhow!(why))?;
    let retention = arguments.compaction.retention().map_err(|why| anyhow!(why))?;
    let mut listen = arguments.listen_client_urls.clone();
    listen.extend(arguments.listen_client_http_urls.iter().cloned());
    serve(Serving {
        directory: arguments.directory(),
        member: Member {
            name: arguments.name,
            client_urls: arguments.advertise_client_urls,
            peer_urls: arguments.initial_advertise_peer_urls,
        },
        cluster_token: arguments.initial_cluster_token,
        listen,
        listen_metrics: arguments.listen_metrics_urls,
        tls: arguments.tls,
        limits: arguments.limits.limits(),
        retention,
        syncs: !arguments.unsafe_no_fsync,
    })
    .await
}

/// Serves until told to stop, then closes the store.
pub async fn serve(serving: Serving) -> Result<()> {
    let shutdown = signals::shutdown_token()?;
    let tls = tls(&serving)?;
    let mut listeners = Vec::new();
    for url in &serving.listen {
        let endpoint: Endpoint = url.parse()?;
        listeners.push(Listener::bind(endpoint, tls.as_ref()).await?);
    }
    for url in &serving.listen_metrics {
        let listener = Listener::bind(url.parse()?, tls.as_ref()).await?;
        listeners.push(listener.for_metrics());
    }
    let options = Options {
        history: match serving.retention {
            Retention::Time(time) => time,
            Retention::All | Retention::Revisions(_) => Duration::MAX,
        },
        cache_bytes: CACHE_BYTES,
        tail_bytes: TAIL_BYTES,
        value_limit_bytes: serving.limits.request_bytes,
        syncs: serving.syncs,
        ..Options::default()
    };
    let directory = serving.directory.clone();
    let alarms = directory.join(ALARMS_FILE);
    let store = tokio::task::spawn_blocking(move || open(&directory, options)).await??;
    let face = Face::new(store.clone(), serving.member)
        .in_cluster(&serving.cluster_token)
        .with_limits(serving.limits)
        .keeping_alarms(alarms.clone())
        .with_context(|| format!("the alarms in {} cannot be read", alarms.display()))?;
    notify::ready_and_alive();
    tokio::select! {
        () = face.serve(listeners, shutdown) => {}
        () = keep_revisions(&store, serving.retention) => {}
    }
    store.close().await;
    Ok(())
}

/// Opens the store of a directory, which may have been a member's of etcd until now.
fn open(directory: &Path, options: Options) -> Result<Arc<EmbeddedStore>> {
    if let Some(taken) = EmbeddedStore::take_over(directory, &options)? {
        tracing::info!(
            directory = %directory.display(),
            revision = taken.revision.0,
            keys = taken.keys,
            "what an etcd had here has been taken over"
        );
    }
    Ok(EmbeddedStore::open(directory, options)?)
}

/// Forgets what lies further back than so many revisions, again and again. Never ends.
async fn keep_revisions(store: &EmbeddedStore, retention: Retention) {
    let Retention::Revisions(kept) = retention else {
        return std::future::pending().await;
    };
    let mut forgotten = 0;
    loop {
        // By the clock, as etcd does: to forget with every write would double its work.
        tokio::time::sleep(COMPACTION_INTERVAL).await;
        let to = store.durable_revision().0.saturating_sub(kept);
        if to <= forgotten {
            continue;
        }
        match store.compact(Revision(to)).await {
            Ok(()) => forgotten = to,
            Err(error) => tracing::warn!(%error, revision = to, "history could not be forgotten"),
        }
    }
}

fn tls(serving: &Serving) -> Result<Option<Tls>> {
    let arguments = &serving.tls;
    let (certificate, key) = match (&arguments.cert_file, &arguments.key_file) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        _ if arguments.auto_tls => own_certificate(serving)?,
        _ if arguments.client_cert_auth => bail!("--client-cert-auth needs --cert-file and --key-file"),
        _ => return Ok(None),
    };
    if arguments.client_cert_auth && arguments.trusted_ca_file.is_none() {
        bail!("--client-cert-auth needs --trusted-ca-file");
    }
    let tls = Tls::following(TlsFiles {
        certificate,
        key,
        // As etcd does: an authority is there to be asked for.
        client_authority: arguments.trusted_ca_file.clone(),
        revoked: arguments.client_crl_file.clone(),
        limits: tls_limits(arguments)?,
    })
    .context("TLS cannot be served with these files")?;
    Ok(Some(tls))
}

fn tls_limits(arguments: &ServingTlsArgs) -> Result<TlsLimits> {
    let oldest = match arguments.tls_min_version {
        TlsVersion::Tls12 => "VersionTLS12",
        TlsVersion::Tls13 => "VersionTLS13",
    };
    let limits = TlsLimits::new(oldest, &arguments.cipher_suites)?;
    match arguments.tls_max_version {
        Some(newest) if newest < arguments.tls_min_version => {
            bail!("--tls-max-version is older than --tls-min-version")
        }
        Some(TlsVersion::Tls12) => Ok(limits.without_newest()),
        Some(TlsVersion::Tls13) | None => Ok(limits),
    }
}

/// The files of a certificate for where the member listens, made once and kept with the data.
fn own_certificate(serving: &Serving) -> Result<(PathBuf, PathBuf)> {
    let urls = serving.listen.iter().chain(&serving.listen_metrics);
    let hosts = urls.filter_map(|url| {
        let address = url.split_once("://")?.1;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        Some(host.trim_matches(['[', ']']).to_owned())
    });
    let (addresses, dns_names): (Vec<String>, Vec<String>) =
        hosts.partition(|host| host.parse::<IpAddr>().is_ok());
    let request = LeafRequest {
        identity: Identity::new(serving.member.name.clone(), &[]),
        usage: Usage::Server,
        dns_names,
        addresses: addresses.iter().filter_map(|host| host.parse().ok()).collect(),
    };
    let directory = serving.directory.join("fixtures/client");
    let authority = Authority::ensure(&directory, "ca", "etcd")?;
    authority.ensure_leaf("server", &request)?;
    Ok((directory.join("server.crt"), directory.join("server.key")))
}
