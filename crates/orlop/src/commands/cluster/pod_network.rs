//! The pod network of a member: its own range goes into the network plugin's configuration, those of others are routed to
//! their nodes. Listens to nodes, as the node itself, where the cluster lets it: nodes see themselves only, unless somebody
//! has given them more, as `orlop init` does. Elsewhere the pod network is a network add-on's.
use super::layout;
use crate::paths::Root;
use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Node;
use kube::api::PostParams;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use orlop_cluster::api;
use orlop_cluster::pod_network::{Ranges, Route};
use orlop_cri::cni::{Conflist, Network, ensure_conflist};
use orlop_cri::containerd::ContainerdConfig;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks for the node's identity, which the cluster has yet to sign.
const LOOK: Duration = Duration::from_millis(500);
/// Before nodes are watched again.
const RECONNECT: Duration = Duration::from_secs(2);
/// Where they may not be watched, that is asked again after this at the latest: rights are given by hand.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(300);

/// Keeps routes and network configuration up to date, until shutdown.
pub async fn run(root: Root, node: String, shutdown: CancellationToken) -> Result<()> {
    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        ended = follow(&root, &node) => ended,
    }
}

async fn follow(root: &Root, node: &str) -> Result<()> {
    let identity = layout(root).kubeconfig("kubelet");
    while !identity.is_file() {
        tokio::time::sleep(LOOK).await;
    }
    let (mut routed, mut pause) = (BTreeSet::new(), RECONNECT);
    loop {
        // Anew each time: the node's certificate may be another by now. What is routed stays.
        match watch(root, node, &identity, &mut routed).await {
            Ok(Watched::Refused) => {
                if pause == RECONNECT {
                    tracing::info!(
                        "nodes do not see each other in this cluster: the pod network is left to a network add-on"
                    );
                }
                pause = (pause * 2).min(ASK_AGAIN_MAX);
            }
            Ok(Watched::Ended) => pause = RECONNECT,
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "nodes cannot be watched");
                pause = RECONNECT;
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// What became of a watch.
enum Watched {
    /// The node may not see others.
    Refused,
    Ended,
}

/// Whether this client may follow all nodes. It is asked, so that a cluster where it may not has no refusals in its logs.
async fn sees_nodes(client: &Client) -> Result<bool> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    for verb in ["list", "watch"] {
        let asked = ResourceAttributes {
            resource: Some("nodes".into()),
            verb: Some(verb.into()),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(asked),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = reviews.create(&PostParams::default(), &review).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Follows the nodes until that fails.
async fn watch(root: &Root, node: &str, identity: &Path, routed: &mut BTreeSet<Route>) -> Result<Watched> {
    let client = api::connect(identity).await?;
    if !sees_nodes(&client).await? {
        return Ok(Watched::Refused);
    }
    let nodes: Api<Node> = Api::all(client);
    let mut events = watcher(nodes, watcher::Config::default()).boxed();
    let mut ranges = Ranges::default();
    while let Some(event) = events.next().await {
        match event? {
            Event::Init => {
                ranges.forget_all();
                continue;
            }
            Event::InitApply(node) => {
                ranges.see(&node);
                continue;
            }
            Event::Apply(node) => ranges.see(&node),
            Event::Delete(node) => ranges.forget(node.metadata.name.as_deref().unwrap_or_default()),
            Event::InitDone => {}
        }
        if let Some(range) = ranges.of(node) {
            configure(root, range)?;
        }
        let wanted = ranges.routes(node);
        for gone in routed.difference(&wanted) {
            route("delete", gone).await;
        }
        let mut now: BTreeSet<Route> = routed.intersection(&wanted).cloned().collect();
        for new in wanted.difference(routed) {
            // What could not be set is tried again at the next event, and there is one for every heartbeat.
            if route("replace", new).await {
                now.insert(new.clone());
            }
        }
        *routed = now;
    }
    Ok(Watched::Ended)
}

/// Writes the network plugin's configuration, if it says another thing.
fn configure(root: &Root, range: &str) -> Result<()> {
    let config = ContainerdConfig::of_root(root.as_path());
    let usual = config.network.context("a member has a pod network")?;
    let network = Network {
        subnet: range.to_owned(),
        ..usual
    };
    if let Conflist::Written(path) = ensure_conflist(Path::new(&config.cni_conf_dir), &network)? {
        tracing::info!(file = %path.display(), range, "pod network configured");
    }
    Ok(())
}

async fn route(action: &str, route: &Route) -> bool {
    let Route { range, via } = route;
    let output = tokio::process::Command::new("ip")
        .args(["route", action, range, "via", &via.to_string()])
        .output()
        .await;
    let complaint = match output {
        Ok(output) if output.status.success() => {
            tracing::info!(action, range, %via, "route to another node's pods");
            return true;
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(action, range, %via, complaint, "route to another node's pods cannot be set");
    false
}
