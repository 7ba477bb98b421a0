//! The embedded store served alone, in etcd's protocol.
use crate::cli::{EtcdArgs, ServingTlsArgs};
use crate::detach::notify_ready;
use crate::signals;
use anyhow::{Context, Result, anyhow, bail};
use orlop_etcd::{Endpoint, Face, Listener, Member, Tls};
use orlop_store::embedded::{EmbeddedStore, Options};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Pages kept in memory, in bytes: a store that is served alone has the process for itself.
const CACHE_BYTES: usize = 64 << 20;
/// Recent events kept for watchers, in bytes.
const TAIL_BYTES: usize = 16 << 20;

/// What to serve, and where.
pub struct Serving {
    pub directory: PathBuf,
    pub member: Member,
    /// URLs to listen on.
    pub listen: Vec<String>,
    pub tls: ServingTlsArgs,
    /// Largest request, and with it the largest value.
    pub request_bytes_max: usize,
}

/// Called as `etcd`.
pub async fn etcd(arguments: EtcdArgs) -> Result<()> {
    arguments.check().map_err(|why| anyhow!(why))?;
    let mut listen = arguments.listen_client_urls.clone();
    listen.extend(arguments.listen_metrics_urls.iter().cloned());
    serve(Serving {
        directory: arguments.directory(),
        member: Member {
            name: arguments.name,
            client_urls: arguments.advertise_client_urls,
            peer_urls: arguments.initial_advertise_peer_urls,
        },
        listen,
        tls: arguments.tls,
        request_bytes_max: arguments.max_request_bytes,
    })
    .await
}

/// Serves until told to stop, then closes the store.
pub async fn serve(serving: Serving) -> Result<()> {
    let shutdown = signals::shutdown_token()?;
    if serving.directory.join("member/snap/db").exists() {
        bail!(
            "{} holds data of etcd itself: save a snapshot with etcdctl, and bring it over with orlop store restore",
            serving.directory.display()
        );
    }
    let tls = tls(&serving.tls)?;
    let mut listeners = Vec::new();
    for url in &serving.listen {
        let endpoint: Endpoint = url.parse()?;
        listeners.push(Listener::bind(endpoint, tls.as_ref()).await?);
    }
    let options = Options {
        // Clients of etcd compact by themselves.
        history: Duration::MAX,
        cache_bytes: CACHE_BYTES,
        tail_bytes: TAIL_BYTES,
        value_limit_bytes: serving.request_bytes_max,
        ..Options::default()
    };
    let directory = serving.directory.clone();
    let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(&directory, options)).await??;
    notify_ready();
    Face::new(store.clone(), serving.member)
        .with_request_limit(serving.request_bytes_max)
        .serve(listeners, shutdown)
        .await;
    store.close().await;
    Ok(())
}

fn tls(arguments: &ServingTlsArgs) -> Result<Option<Tls>> {
    let (Some(certificate), Some(key)) = (&arguments.cert_file, &arguments.key_file) else {
        if arguments.client_cert_auth {
            bail!("--client-cert-auth needs --cert-file and --key-file");
        }
        return Ok(None);
    };
    let authority = match (&arguments.trusted_ca_file, arguments.client_cert_auth) {
        // As etcd does: an authority is there to be asked for.
        (Some(path), _) => Some(read(path)?),
        (None, true) => bail!("--client-cert-auth needs --trusted-ca-file"),
        (None, false) => None,
    };
    let tls = Tls::new(&read(certificate)?, &read(key)?, authority.as_deref())
        .with_context(|| format!("cannot use {} and {}", certificate.display(), key.display()))?;
    Ok(Some(tls))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
