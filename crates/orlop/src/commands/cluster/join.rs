//! `orlop join`: another member of a cluster.
use super::node::{self, Host};
use super::undo::Undo;
use super::{configuration, given, init, interrupt, kubelet_configuration, layout};
use crate::cli::JoinArgs;
use crate::signals;
use anyhow::{Context, Result};
use orlop_api::{KUBERNETES_VERSION, conditions};
use orlop_cluster::certificates::Signer;
use orlop_cluster::config::{API_PORT, ClusterConfig};
use orlop_cluster::control_plane::{ControlPlane, Member};
use orlop_cluster::discovery::{self, Told};
use orlop_cluster::extras::Ignored;
use orlop_cluster::layout::Layout;
use orlop_cluster::manifests::peer_url;
use orlop_cluster::preflight::{self, Complaint, Facts, Role};
use orlop_cluster::shared_certificates::{self, CertificateKey, SECRET};
use orlop_cluster::token::Token;
use orlop_cluster::{
    ClusterError, api, certificates, discovery_file, etcd, files, kubeconfigs, kubelet, versions, wait, yaml,
};
use serde_json::{Value, json};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

pub async fn join(mut arguments: JoinArgs) -> Result<()> {
    let given = given::of_join(&mut arguments)?;
    let mut host = Host::look(&arguments.member)?;
    host.registration = given.join.map(|join| join.node).unwrap_or_default();
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
        undo.undo().await.with_context(|| {
            format!("cannot take back what was done; `orlop reset` can. It failed for: {error:#}")
        })?;
        return Err(error.context("this machine did not become a member, and is as it was"));
    }
    // An `init` that was cut short here, before it had written anything else, is not to be finished on a member.
    files::remove(&layout(&host.root).init_begun())?;
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
    /// As whom a worker asks for its certificate.
    bootstrap: Value,
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
    node::judge(complaints, &arguments.member)?;
    let (found, bootstrap) = discover(arguments).await?;
    let client = discovery::client(&found.server, Some(&found.authority), Some(&bootstrap))?;
    println!(
        "[preflight] Reading configuration from the \"kubeadm-config\" ConfigMap in namespace \"kube-system\"..."
    );
    let cluster = configuration(&client).await?;
    let kubelet = kubelet_configuration(&client).await?;
    node::judge(suits(&cluster, arguments.control_plane), &arguments.member)?;
    host.control_plane(cluster.clone())
        .rehearse(&kubelet, arguments.control_plane)?;
    let name = &host.node.name;
    if let Some(node) = api::get(&client, &format!("/api/v1/nodes/{name}")).await?
        && is_ready(&node)
    {
        return Err(ClusterError::Configuration(format!(
            "a node {name} is in the cluster already and is Ready: give this one another --node-name, or delete that one first"
        ))
        .into());
    }
    let control_plane = match arguments.control_plane {
        true => {
            if cluster.control_plane_endpoint.is_none() {
                return Err(ClusterError::Configuration(
                    "the cluster was made without --control-plane-endpoint: it can have one master only"
                        .to_owned(),
                )
                .into());
            }
            Ignored::refuse(&[cluster.ignored.components.as_slice(), &cluster.ignored.etcd].concat())?;
            let layout = layout(&host.root);
            Some(match &arguments.certificate_key {
                Some(key) => download(&layout, &client, key).await?,
                None => shared_certificates::copied(&layout, &found.authority)?,
            })
        }
        false => None,
    };
    Ok(Plan {
        bootstrap,
        found,
        cluster,
        kubelet,
        control_plane,
    })
}

/// The cluster, trusted, and by what this machine is known there until it has a certificate.
async fn discover(arguments: &JoinArgs) -> Result<(discovery::Cluster, Value)> {
    let known_by = |token: &Token| json!({"token": token.to_string()});
    if let Some(path) = &arguments.discovery_file {
        println!("[discovery] Trusting the cluster of {}", path.display());
        let file = discovery_file::File::open(path)?;
        let user = match &arguments.tls_bootstrap_token {
            Some(token) => Some(known_by(token)),
            None => file.user()?,
        };
        let user = user.with_context(|| {
            format!(
                "{} has no credentials to ask for a certificate with: give --tls-bootstrap-token",
                path.display()
            )
        })?;
        return Ok((file.cluster()?, user));
    }
    let (token, bootstrap) = arguments
        .tokens()
        .context("there is no token: give --token, or both --discovery-token and --tls-bootstrap-token")?;
    let endpoint = arguments.endpoint.as_ref();
    let endpoint =
        endpoint.context("it is not said where the cluster is: give host:port of an API server")?;
    let told = Told {
        endpoint: endpoint.with_port(API_PORT),
        token: token.clone(),
        hashes: arguments.discovery_token_ca_cert_hash.clone(),
        any_authority: arguments.discovery_token_unsafe_skip_ca_verification,
    };
    println!("[discovery] Asking {} what cluster it is of", told.endpoint);
    Ok((discovery::discover(&told).await?, known_by(bootstrap)))
}

/// What stands against this machine in a cluster that is made as this one.
fn suits(cluster: &ClusterConfig, control_plane: bool) -> Vec<Complaint> {
    let version = &cluster.kubernetes_version;
    let versions = versions::join_complaints(version, KUBERNETES_VERSION, control_plane);
    let mut complaints: Vec<Complaint> = versions
        .into_iter()
        .map(|(check, why)| Complaint::of(check, why))
        .collect();
    if control_plane {
        let taken = preflight::taken(vec![preflight::etcd_health(cluster)]);
        complaints.extend(taken.iter().map(preflight::port_complaint));
    }
    complaints
}

/// The files that masters share, from where one of them left them.
async fn download(
    layout: &Layout,
    client: &kube::Client,
    key: &CertificateKey,
) -> Result<Vec<(PathBuf, String)>> {
    println!(
        "[download-certs] Downloading the certificates in Secret {SECRET:?} in the \"kube-system\" Namespace"
    );
    let path = format!("/api/v1/namespaces/kube-system/secrets/{SECRET}");
    let secret = api::get(client, &path).await?.ok_or_else(|| {
        ClusterError::Configuration(
            "the certificates that masters share are not in the cluster, or no longer: upload them with `orlop certs upload` on a master".to_owned(),
        )
    })?;
    Ok(shared_certificates::open(layout, key, &secret)?)
}

fn is_ready(node: &Value) -> bool {
    conditions::is_true(node, "Ready")
}

fn explain(host: &Host, plan: &Plan) {
    let role = match plan.control_plane {
        Some(_) => {
            "a master: certificates, static pods of the control plane and a member of etcd would be added"
        }
        None => "a worker: its node agent would ask for a certificate",
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
    let plane = host.control_plane(plan.cluster.clone());
    Ok(plane.member().kubelet(&plan.kubelet, control_plane)?)
}

async fn as_worker(host: &Host, plan: &Plan, arguments: &JoinArgs) -> Result<()> {
    let layout = layout(&host.root);
    files::write_public(&Signer::Cluster.certificate(&layout), &plan.found.authority)?;
    let bootstrap = kubeconfigs::for_bootstrap(
        &plan.found.server,
        &plan.found.authority,
        &plan.cluster.cluster_name,
        &plan.bootstrap,
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
    let plane = host.control_plane(cluster);
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
    let (name, peer) = (&plane.node.name, peer_url(&plane.node));
    for member in etcd::clear(&plane.layout, &mut store, name, &peer).await? {
        println!(
            "[etcd] Removed the member {:x} ({}), which an earlier life of this machine left behind",
            member.id, member.peer_url
        );
    }
    println!("[etcd] Adding etcd member: {peer}");
    let initial = etcd::initial_cluster(&etcd::members(&mut store).await?, name, &peer);
    // Before there is anything in the cluster that `reset` would have to know of.
    plane.etcd_joins(&initial)?;
    let id = etcd::add_learner(&store, &peer, hint).await?;
    let initial = etcd::initial_cluster(&etcd::members(&mut store).await?, name, &peer);
    println!("[etcd] Creating static Pod manifest for \"etcd\"");
    plane.etcd(&initial)?;
    files::remove(&plane.layout.etcd_joining())?;
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
    let taints = kubelet::taints(&host.registration, true);
    Ok(api::mark_control_plane(client, name, &taints).await?)
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
