//! `orlop controller-manager` and `orlop scheduler`: a part alone, behind a Lease.
use super::scheduler_config::SchedulerConfig;
use super::{configz, root_ca};
use crate::cli::{ControllerManagerArgs, FaceArgs, LeaderArgs, SchedulerArgs};
use crate::delegate::Delegate;
use crate::health::{self, Face};
use crate::{memory, notify, signals};
use anyhow::{Context, Result, bail};
use orlop_apiserver::GIT_VERSION;
use orlop_client::Followed;
use orlop_client::leader::{Candidate, Ended, NAMESPACE, Timing, lead};
use orlop_client::{ConnectError, Readiness, TokenAccounts};
use orlop_controllers::{Accounts, AutoscalerConfig, Grace, NodeLifecycleConfig, Pace, Selection};
use orlop_metrics::PartMetrics;
use orlop_pki::{FollowedAuthority, Pair, TokenSigner};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub async fn controller_manager(arguments: ControllerManagerArgs) -> Result<()> {
    let configz = configz::controller_manager(&arguments);
    let root_ca = arguments.root_ca_file.clone().map(root_ca::of_file);
    let root_ca = root_ca.transpose().context("--root-ca-file")?;
    let signing = match (
        &arguments.cluster_signing_cert_file,
        &arguments.cluster_signing_key_file,
    ) {
        (Some(certificate), Some(key)) => Some(orlop_controllers::CertificateSigning {
            authority: FollowedAuthority::files(Pair {
                certificate: certificate.clone(),
                key: key.clone(),
            })?,
            lifetime_max: arguments.cluster_signing_duration,
        }),
        _ => None,
    };
    let token_signer = match &arguments.service_account_private_key_file {
        Some(path) => {
            let pem = std::fs::read_to_string(path).with_context(|| {
                format!(
                    "cannot read --service-account-private-key-file {}",
                    path.display()
                )
            })?;
            let signer = TokenSigner::from_pem(&pem).with_context(|| path.display().to_string())?;
            Some(Arc::new(signer))
        }
        None => None,
    };
    let node_ranges = match (&arguments.cluster_cidr, arguments.allocate_node_cidrs) {
        (Some(range), true) => Some(orlop_controllers::ClusterRange::new(
            range,
            arguments.node_bits(),
        )?),
        (None, true) => bail!("--allocate-node-cidrs needs --cluster-cidr"),
        (_, false) => None,
    };
    let mut config = orlop_controllers::ControllersConfig {
        root_ca,
        signing,
        token_signer,
        node_ranges,
        // What isn't positive bounds nothing.
        finished_pods_max: Some(
            usize::try_from(arguments.terminated_pod_gc_threshold)
                .ok()
                .filter(|most| *most > 0)
                .unwrap_or(usize::MAX),
        ),
        unused_tokens: Some(arguments.legacy_service_account_token_clean_up_period),
        nodes: NodeLifecycleConfig {
            grace: Grace {
                usual: arguments.nodes.monitor_grace_period,
                startup: arguments.nodes.startup_grace_period,
            },
            pace: Pace {
                rate: arguments.nodes.eviction_rate,
                degraded_rate: arguments.nodes.secondary_eviction_rate,
                large_zone_nodes: arguments.nodes.large_cluster_size_threshold,
                unhealthy_fraction: arguments.nodes.unhealthy_zone_threshold,
            },
        },
        autoscaler: AutoscalerConfig {
            period: arguments.autoscaler.sync_period,
            downscale_stabilization: arguments.autoscaler.downscale_stabilization,
            tolerance: arguments.autoscaler.tolerance,
            cpu_initialization: arguments.autoscaler.cpu_initialization_period,
            initial_readiness: arguments.autoscaler.initial_readiness_delay,
        },
        accounts: None,
        selection: Selection::new(&arguments.controllers).context("--controllers")?,
    };
    let kubeconfig = arguments.kubeconfig.clone();
    let as_accounts = arguments.use_service_account_credentials;
    let part = Part {
        name: "kube-controller-manager",
        pages: Vec::new(),
        readiness: Readiness::default(),
        // A clean stop leaves the lease to run out, as upstream's does.
        release_on_exit: false,
        configz,
        face: arguments.face,
        port: arguments.secure_port,
    };
    part.run(
        &arguments.kubeconfig,
        &arguments.leader,
        |client, metrics, shutdown| async move {
            if as_accounts {
                let bare = follow(&kubeconfig, metrics.clone(), Identity::Nobody).await?;
                let accounts = TokenAccounts::new(client.clone(), bare, NAMESPACE);
                config.accounts = Some(Accounts::new(move |name| accounts.client(name)));
            }
            orlop_controllers::run_measured(client, config, metrics, shutdown)
                .await
                .map_err(anyhow::Error::from)
        },
    )
    .await
}

pub async fn scheduler(mut arguments: SchedulerArgs) -> Result<()> {
    let mut options = orlop_scheduler::Options::default();
    if let Some(path) = &arguments.config {
        let config = SchedulerConfig::read(path)?;
        options = config.options()?;
        arguments.kubeconfig = config.kubeconfig().or(arguments.kubeconfig);
        arguments.leader = config.leader(arguments.leader);
    }
    let kubeconfig = arguments
        .kubeconfig
        .clone()
        .context("the scheduler needs a --kubeconfig, or clientConnection.kubeconfig in its --config")?;
    arguments.kubeconfig = Some(kubeconfig.clone());
    let readiness = Readiness::default();
    let part = Part {
        name: "kube-scheduler",
        pages: vec![health::of_resources(&options)],
        readiness: readiness.clone(),
        release_on_exit: true,
        configz: configz::scheduler(&arguments, &options),
        face: arguments.face,
        port: arguments.secure_port,
    };
    part.run(
        &kubeconfig,
        &arguments.leader,
        |client, metrics, shutdown| async move {
            orlop_scheduler::run_measured(client, &options, metrics, &readiness, shutdown)
                .await
                .map_err(anyhow::Error::from)
        },
    )
    .await
}

/// As whom a client presents itself.
#[derive(Clone, Copy)]
enum Identity {
    /// As the kubeconfig says.
    Own,
    Nobody,
}

async fn connect(
    kubeconfig: &Path,
    metrics: Arc<PartMetrics>,
    identity: Identity,
) -> Result<kube::Client, ConnectError> {
    match identity {
        Identity::Own => orlop_client::connect_measured(kubeconfig, metrics.calls.clone()).await,
        Identity::Nobody => orlop_client::connect_bare(kubeconfig, metrics.calls.clone()).await,
    }
}

/// A client whose connections follow its kubeconfig: what is renewed there is presented on new ones, and watches begin
/// anew on them.
async fn follow(kubeconfig: &Path, metrics: Arc<PartMetrics>, identity: Identity) -> Result<kube::Client> {
    let (ways, client) = orlop_client::Replaceable::new();
    let kubeconfig = kubeconfig.to_path_buf();
    let mut followed = Followed::new(files_of(&kubeconfig));
    ways.replace(connect(&kubeconfig, metrics.clone(), identity).await?);
    tokio::spawn(async move {
        loop {
            followed.changed().await;
            match connect(&kubeconfig, metrics.clone(), identity).await {
                Ok(way) => {
                    ways.replace(way);
                    tracing::info!(kubeconfig = %kubeconfig.display(), "the kubeconfig was replaced and is followed");
                }
                Err(error) => tracing::warn!(%error, "the kubeconfig was replaced by one that can't be used"),
            }
        }
    });
    Ok(client)
}

/// A kubeconfig, and where its certificate is, if that is elsewhere.
fn files_of(kubeconfig: &Path) -> Vec<PathBuf> {
    let certificate = orlop_client::kubeconfig::client_certificate(kubeconfig)
        .ok()
        .flatten();
    let elsewhere = certificate.and_then(|certificate| certificate.file);
    [Some(kubeconfig.to_path_buf()), elsewhere]
        .into_iter()
        .flatten()
        .collect()
}

/// A part that works while it leads.
struct Part {
    /// Name of its Lease, and of the program it stands in for.
    name: &'static str,
    /// Metrics of its own.
    pages: Vec<health::Page>,
    readiness: Readiness,
    release_on_exit: bool,
    /// What it was told.
    configz: serde_json::Value,
    face: FaceArgs,
    port: u16,
}

impl Part {
    async fn run<W, F>(self, kubeconfig: &Path, leader: &LeaderArgs, work: W) -> Result<()>
    where
        W: FnOnce(kube::Client, Arc<PartMetrics>, CancellationToken) -> F,
        F: Future<Output = Result<()>>,
    {
        let Self {
            name,
            pages,
            readiness,
            release_on_exit,
            configz,
            face: flags,
            port,
        } = self;
        let shutdown = signals::shutdown_token()?;
        tokio::spawn(memory::settle());
        tokio::spawn(memory::follow_work());
        let metrics = Arc::new(PartMetrics::new(GIT_VERSION));
        let client = follow(kubeconfig, metrics.clone(), Identity::Own).await?;
        let address = SocketAddr::from((flags.bind_address, port));
        let files = flags.tls_cert_file.zip(flags.tls_private_key_file);
        let face = Face {
            part: name,
            metrics: metrics.clone(),
            readiness,
            delegate: Delegate::new(client.clone()),
            open: flags.authorization_always_allow_paths,
            certificate: files.map(|(certificate, key)| Pair { certificate, key }),
            configz: Some(configz),
            pages,
        };
        let listener = match address.port() {
            0 => None,
            _ => Some(health::listen(name, address).await?),
        };
        notify::ready_and_alive();
        let probes = async {
            match listener {
                None => std::future::pending().await,
                Some(listener) => health::serve(face, listener, shutdown.clone()).await,
            }
        };
        let working = async {
            if leader.leader_elect == Some(false) {
                return work(client, metrics, shutdown.clone()).await;
            }
            let host = gethostname::gethostname().to_string_lossy().into_owned();
            let usual = Timing::default();
            let timing = Timing {
                lease_duration: leader.leader_elect_lease_duration.unwrap_or(usual.lease_duration),
                renew_deadline: leader.leader_elect_renew_deadline.unwrap_or(usual.renew_deadline),
                retry_period: leader.leader_elect_retry_period.unwrap_or(usual.retry_period),
            };
            if let Some(complaint) = timing.complaint() {
                bail!("leader election cannot work: {complaint}");
            }
            let lease = leader.leader_elect_resource_name.as_deref().unwrap_or(name);
            let candidate = Candidate {
                namespace: leader
                    .leader_elect_resource_namespace
                    .clone()
                    .unwrap_or_else(|| NAMESPACE.to_owned()),
                timing,
                ..Candidate::new(lease, &host, release_on_exit)
            };
            let mut outcome = Ok(());
            let ended = lead(client.clone(), &candidate, shutdown.clone(), |leading| async {
                outcome = work(client, metrics, leading).await;
            })
            .await;
            outcome?;
            match ended {
                Ended::Finished => Ok(()),
                Ended::Lost => bail!("{name} lost its lease: another copy leads now"),
            }
        };
        tokio::select! {
            done = working => done,
            // Ends only by an error: on shutdown the work is waited for.
            Err(error) = probes => Err(error),
        }
    }
}
