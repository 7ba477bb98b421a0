//! Telling people of a master's certificates before they end: Events of its Node.
use super::{layout, this_master};
use crate::paths::Root;
use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use orlop_client::Followed;
use orlop_client::events::{EventType, Recorder};
use orlop_cluster::config::ClusterConfig;
use orlop_cluster::expiration::{self, Warning};
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What is still so is told again after this long: Events don't last.
const TOLD_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// A part of the API that does not answer is left for the next time.
const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// After Events that could not be written.
const RETRY: Duration = Duration::from_secs(60);
/// Certificates are renewed one after another: they are looked at when that is over.
const SETTLE: Duration = Duration::from_secs(1);

/// Looks at the certificates whenever they change and when one comes near its end, until shutdown. Of a worker there is
/// nothing to tell.
pub async fn run(root: Root, node: String, shutdown: CancellationToken) -> Result<()> {
    let mut followed = Followed::new(files(&root));
    loop {
        let pause = match tell(&root, &node).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "nobody can be told of certificates that end"
                );
                RETRY
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
            () = followed.changed() => tokio::time::sleep(SETTLE).await,
        }
    }
}

/// What makes a node a master, and what renewing writes.
fn files(root: &Root) -> Vec<PathBuf> {
    let layout = layout(root);
    let pki = ["apiserver.crt", "front-proxy-client.crt", "etcd/server.crt"];
    let kubeconfigs = ["admin", "super-admin", "controller-manager", "scheduler"];
    let pki = pki.map(|file| layout.pki().join(file));
    let kubeconfigs = kubeconfigs.map(|name| layout.kubeconfig(name));
    let manifest = layout.manifest("kube-apiserver");
    pki.into_iter().chain(kubeconfigs).chain([manifest]).collect()
}

/// Tells what is to be told now; how long there is nothing more.
async fn tell(root: &Root, node: &str) -> Result<Duration> {
    if !layout(root).manifest("kube-apiserver").is_file() {
        return Ok(TOLD_EVERY);
    }
    let master = this_master(root)?;
    // Names and ends don't depend on what the cluster was made with.
    let cluster = ClusterConfig::new(orlop_api::KUBERNETES_VERSION);
    let (leaves, authorities) = expiration::check(&layout(root), &cluster, &master)?;
    let now = Timestamp::now();
    let warnings = expiration::warnings(&leaves, &authorities, now);
    if !warnings.is_empty() {
        write(root, node, &warnings).await?;
    }
    let next = expiration::next_warning(&leaves, &authorities, now);
    let until = next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
    // A little later, so that it is so by then.
    Ok(until.map_or(TOLD_EVERY, |until| TOLD_EVERY.min(until + SETTLE)))
}

async fn write(root: &Root, node: &str, warnings: &[Warning]) -> Result<()> {
    // Anew each time: the node's own certificate may be another by now.
    let client = orlop_client::connect(&layout(root).kubeconfig("kubelet")).await?;
    let recorder = Recorder::new(client, "orlop", Some(node));
    // As node agents do it: the name stands for the uid.
    let reference = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(node.to_owned()),
        uid: Some(node.to_owned()),
        ..ObjectReference::default()
    };
    for warning in warnings {
        let Warning {
            reason,
            name,
            message,
        } = warning;
        tracing::warn!(certificate = name, "{message}");
        recorder.event_about(&reference, EventType::Warning, reason, name, message.clone());
    }
    recorder.flush(WRITE_WITHIN).await;
    Ok(())
}
