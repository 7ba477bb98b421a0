//! `orlop join`: another member of a cluster.
use super::node::{self, Host};
use super::undo::Undo;
use super::{init, interrupt, layout};
use crate::cli::JoinArgs;
use crate::signals;
use anyhow::{Context, Result};
use orlop_cluster::certificates::Signer;
use orlop_cluster::config::ClusterConfig;
use orlop_cluster::control_plane::{ControlPlane, Member};
use orlop_cluster::discovery::{self, Told};
use orlop_cluster::extras::Ignored;
use orlop_cluster::manifests::peer_url;
use orlop_cluster::preflight::{self, Facts, Role};
use orlop_cluster::wait;
use orlop_cluster::{ClusterError, api, certificates, etcd, files, kubeconfigs, shared_certificates, yaml};
use serde_json::Value;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

pub async fn join(arguments: JoinArgs) -> Result<()> {
    let host = Host::look(&arguments.member)?;
    let plan = plan(&host, &arguments).await?;
    if arguments.explain {
        explain(&host, &plan);
        return Ok(());
    }
    let undo = Undo::begin(&host.root);
    let stop = signals::shutdown_token()?;
    let joined = match &plan.control_plane {
        Some(shared) => as_master(&host, &plan, shared, &arguments, &stop).await,
        None => interrupt::unless(&stop, as_worker(&host, &plan, &arguments)).await,
    };
    if let Err(error) = joined {
        if error.is::<StillMember>() {
            return Err(error);
        }
        undo.undo()
            .await
            .context("cannot take back what was done; `orlop reset` can")?;
        return Err(error.context("this machine did not become a member, and is as it was"));
    }
    println!(
        "\nThis node has joined the cluster{}.\nRun 'kubectl get nodes' on a master to see this node join the cluster.",
        if plan.control_plane.is_some() {
            " and a new control plane instance was created"
        } else {
            ""
        }
    );
    Ok(())
}

/// What is known after every check, before anything is changed.
struct Plan {
    found: discovery::Cluster,
    cluster: ClusterConfig,
    kubelet: Value,
    /// The files that masters share, if this is to be one.
    control_plane: Option<Vec<(PathBuf, String)>>,
}

/// Makes every check: the machine's, then the cluster's.
async fn plan(host: &Host, arguments: &JoinArgs) -> Result<Plan> {
    println!("[preflight] Running pre-flight checks");
    let role = match arguments.control_plane {
        true => Role::ControlPlane {
            api_port: host.node.api_port,
        },
        false => Role::Worker,
    };
    let programs = node::programs(&arguments.member);
    let facts = Facts::gather(&layout(&host.root), role, host.node.address, programs);
    let complaints = preflight::complaints(&facts, &host.node.name, host.node.address);
    if !complaints.is_empty() {
        return Err(ClusterError::NotReady(complaints).into());
    }
    let told = Told {
        endpoint: arguments.endpoint.clone(),
        token: arguments.token.clone(),
        hashes: arguments.discovery_token_ca_cert_hash.clone(),
        any_authority: arguments.discovery_token_unsafe_skip_ca_verification,
    };
    println!("[discovery] Asking {} what cluster it is of", told.endpoint);
    let found = discovery::discover(&told).await?;
    let client = discovery::client(&found.server, Some(&found.authority), Some(&told.token))?;
    println!(
        "[preflight] Reading configuration from the \"kubeadm-config\" ConfigMap in namespace \"kube-system\"..."
    );
    let cluster = document(&client, "kubeadm-config", "ClusterConfiguration").await?;
    let cluster = ClusterConfig::from_yaml(&cluster)?;
    let kubelet = document(&client, "kubelet-config", "kubelet").await?;
    let kubelet = yaml::read("kubelet-config", &kubelet)?;
    let name = &host.node.name;
    if let Some(node) = api::get(&client, &format!("/api/v1/nodes/{name}")).await?
        && is_ready(&node)
    {
        return Err(ClusterError::Configuration(format!(
            "a node {name} is in the cluster already and is Ready: give this one another --node-name, or delete that one first"
        ))
        .into());
    }
    let control_plane = match (arguments.control_plane, &arguments.certificate_key) {
        (true, Some(key)) => {
            if cluster.control_plane_endpoint.is_none() {
                return Err(ClusterError::Configuration(
                    "the cluster was made without --control-plane-endpoint: it can have one master only"
                        .to_owned(),
                )
                .into());
            }
            Ignored::refuse(&[cluster.ignored.components.as_slice(), &cluster.ignored.etcd].concat())?;
            println!(
                "[download-certs] Downloading the certificates in Secret \"kubeadm-certs\" in the \"kube-system\" Namespace"
            );
            let path = format!(
                "/api/v1/namespaces/kube-system/secrets/{}",
                shared_certificates::SECRET
            );
            let secret = api::get(&client, &path).await?.ok_or_else(|| {
                ClusterError::Configuration(
                    "the certificates that masters share are not in the cluster, or no longer: upload them with `orlop certs upload` on a master".to_owned(),
                )
            })?;
            Some(shared_certificates::open(&layout(&host.root), key, &secret)?)
        }
        _ => None,
    };
    Ok(Plan {
        found,
        cluster,
        kubelet,
        control_plane,
    })
}

async fn document(client: &kube::Client, name: &str, key: &str) -> Result<String> {
    let path = format!("/api/v1/namespaces/kube-system/configmaps/{name}");
    let map = api::get(client, &path).await?;
    let text = map.as_ref().and_then(|map| map["data"][key].as_str());
    text.map(str::to_owned)
        .with_context(|| format!("the cluster has no ConfigMap {name} with {key}: `orlop init` makes it"))
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn explain(host: &Host, plan: &Plan) {
    let role = match plan.control_plane {
        Some(_) => {
            "a master: certificates, static pods of the control plane and a member of etcd would be added"
        }
        None => "a worker: its node agent would ask for a certificate with the token",
    };
    println!(
        "[explain] All checks passed; nothing was changed.\n[explain] {} ({}) would join {} of {} as {role}.",
        host.node.name, host.node.address, plan.cluster.cluster_name, plan.found.server
    );
}

fn member(host: &Host, plan: &Plan, control_plane: bool) -> Result<()> {
    let layout = layout(&host.root);
    println!(
        "[kubelet-start] Writing kubelet configuration to file {:?}",
        layout.kubelet_config()
    );
    let member = Member {
        layout: &layout,
        node: &host.node,
        machine: &host.machine,
        host_name: &host.host_name,
        pod_subnet: plan.cluster.pod_subnet.as_deref(),
    };
    Ok(member.kubelet(&plan.kubelet, control_plane)?)
}

async fn as_worker(host: &Host, plan: &Plan, arguments: &JoinArgs) -> Result<()> {
    let layout = layout(&host.root);
    files::write_public(&Signer::Cluster.certificate(&layout), &plan.found.authority)?;
    let bootstrap = kubeconfigs::with_token(
        &plan.found.server,
        &plan.found.authority,
        &plan.cluster.cluster_name,
        &arguments.token.to_string(),
    );
    let bootstrap_file = layout.kubeconfig("bootstrap-kubelet");
    files::write_private(&bootstrap_file, &yaml::write(&bootstrap)?)?;
    member(host, plan, false)?;
    node::prepare_runtime(&host.root, &arguments.member, plan.cluster.pod_subnet.is_some()).await?;
    println!("[kubelet-start] Starting the kubelet");
    node::start_agent(&host.root).await?;
    let hint = node::hint(&host.root);
    Member::health().wait(host.patience, &hint).await?;
    println!("[kubelet-start] Waiting for the kubelet to perform the TLS Bootstrap");
    let identity = layout.kubeconfig("kubelet");
    wait::until(
        "the cluster has signed no certificate for this node",
        host.patience,
        &hint,
        async || match identity.is_file() {
            true => Ok(()),
            false => Err(format!("there is no {}", identity.display())),
        },
    )
    .await?;
    let client = api::connect(&identity).await?;
    wait_registered(host, &client, &hint).await?;
    // The token has served.
    Ok(files::remove(&bootstrap_file)?)
}

/// Waits until the node is in the cluster.
async fn wait_registered(host: &Host, client: &kube::Client, hint: &str) -> Result<(), ClusterError> {
    let name = &host.node.name;
    let path = format!("/api/v1/nodes/{name}");
    wait::until(
        &format!("node {name} is not registered"),
        host.patience,
        hint,
        async || match api::get(client, &path).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("there is no such node yet".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    )
    .await
}

/// Nothing is taken back then: `reset` needs it to leave.
#[derive(Debug, thiserror::Error)]
#[error(
    "this node is no master ({0}), and its member could not be taken out of etcd's list: run `orlop reset` here"
)]
struct StillMember(String);

/// A master; out of etcd again, if it does not become one.
async fn as_master(
    host: &Host,
    plan: &Plan,
    shared: &[(PathBuf, String)],
    arguments: &JoinArgs,
    stop: &CancellationToken,
) -> Result<()> {
    let begun = interrupt::unless(stop, begin_master(host, plan, shared, arguments)).await?;
    let joined = interrupt::unless(stop, async {
        join_etcd(&begun, &node::hint(&host.root)).await?;
        finish(&begun.plane, host, &begun.client).await
    });
    if let Err(error) = joined.await {
        let left = leave_etcd(begun).await;
        return Err(match left {
            Ok(()) => error,
            Err(why) => why.context(StillMember(format!("{error:#}"))),
        });
    }
    Ok(())
}

/// A master before it is in etcd.
struct Begun {
    plane: ControlPlane,
    /// Of the others' API servers: this node's own has no store yet.
    client: kube::Client,
    /// The others' etcd.
    store: etcd::Client,
}

/// All that comes before etcd.
async fn begin_master(
    host: &Host,
    plan: &Plan,
    shared: &[(PathBuf, String)],
    arguments: &JoinArgs,
) -> Result<Begun> {
    let remote =
        node::prepare_runtime(&host.root, &arguments.member, plan.cluster.pod_subnet.is_some()).await?;
    let mut cluster = plan.cluster.clone();
    if cluster.etcd_tag.is_empty() {
        cluster.etcd_tag = node::etcd_tag(&remote, &cluster.image_repository).await?;
    }
    let plane = ControlPlane {
        layout: layout(&host.root),
        cluster,
        node: host.node.clone(),
        machine: host.machine.clone(),
        host_name: host.host_name.clone(),
        ca_directories: preflight::ca_directories(),
    };
    println!("[certs] Using certificateDir folder {:?}", plane.layout.pki());
    for (path, text) in shared {
        match path.extension().is_some_and(|extension| extension == "key") {
            true => files::write_private(path, text)?,
            false => files::write_public(path, text)?,
        }
    }
    certificates::ensure(&plane.layout, &plane.cluster, &plane.node)?;
    println!(
        "[kubeconfig] Using kubeconfig folder {:?}",
        plane.layout.kubernetes()
    );
    plane.kubeconfigs(&["admin", "kubelet", "controller-manager", "scheduler"])?;
    member(host, plan, true)?;
    files::private_directory(&plane.layout.manifests())?;
    println!("[kubelet-start] Starting the kubelet");
    node::start_agent(&host.root).await?;
    let hint = node::hint(&host.root);
    Member::health().wait(host.patience, &hint).await?;
    let client = api::connect(&plane.layout.kubeconfig("admin")).await?;
    let store = etcd::connect(&plane.layout, &other_endpoints(&plane, &client).await?).await?;
    Ok(Begun { plane, client, store })
}

/// Adds this node's etcd to the others', first as one that learns.
async fn join_etcd(begun: &Begun, hint: &str) -> Result<()> {
    let (plane, mut store) = (&begun.plane, begun.store.clone());
    println!("[etcd] Adding etcd member: {}", peer_url(&plane.node));
    let peer = peer_url(&plane.node);
    let id = etcd::add_learner(&store, &peer, hint).await?;
    let initial = etcd::initial_cluster(&etcd::members(&mut store).await?, &plane.node.name, &peer);
    println!("[etcd] Creating static Pod manifest for \"etcd\"");
    plane.etcd(&initial)?;
    println!("[etcd] Waiting for the new etcd member to join the cluster");
    Ok(etcd::promote(&store, id, hint).await?)
}

/// Takes this node's etcd out of the others' list, whether it learns or votes, and if it was not started yet.
async fn leave_etcd(begun: Begun) -> Result<()> {
    let mut store = begun.store;
    let members = etcd::members(&mut store).await?;
    let own = peer_url(&begun.plane.node);
    if let Some(member) = members.iter().find(|member| member.peer_url == own) {
        etcd::remove(&mut store, member.id).await?;
    }
    Ok(())
}

/// Where the members of etcd on other nodes are.
async fn other_endpoints(plane: &ControlPlane, client: &kube::Client) -> Result<Vec<String>> {
    let pods = api::get(client, etcd::PODS).await?.unwrap_or_default();
    let own = orlop_cluster::manifests::client_url(&plane.node);
    let endpoints: Vec<String> = etcd::endpoints(&pods)
        .into_iter()
        .filter(|url| *url != own)
        .collect();
    anyhow::ensure!(!endpoints.is_empty(), "the cluster shows no pod of etcd to join");
    Ok(endpoints)
}

async fn finish(plane: &ControlPlane, host: &Host, client: &kube::Client) -> Result<()> {
    println!(
        "[control-plane] Using manifest folder {:?}",
        plane.layout.manifests()
    );
    plane.components()?;
    init::wait_for(plane, host).await?;
    let name = &plane.node.name;
    wait_registered(host, client, &node::hint(&host.root)).await?;
    println!("[mark-control-plane] Marking the node {name} as control-plane by adding the labels and taints");
    Ok(api::mark_control_plane(client, name).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_node_that_is_ready_has_its_name() {
        let node = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        assert!(is_ready(&node("True")));
        assert!(!is_ready(&node("Unknown")));
        assert!(!is_ready(&json!({})));
    }
}
