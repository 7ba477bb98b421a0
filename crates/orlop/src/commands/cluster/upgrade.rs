//! `orlop upgrade`: another version of the control plane.
use super::node::{self, Host};
use super::{
    CONFIGURATION, administrator, client_by, configuration, configuration_text, kubelet_configuration,
    layout, this_master, upgrade_addons, upgrade_images,
};
use crate::cli::{AdminArgs, UpgradeApplyArgs, UpgradeArgs, UpgradeCommand, UpgradeStepArgs};
use crate::paths::Root;
use anyhow::{Result, bail};
use orlop_api::KUBERNETES_VERSION;
use orlop_cluster::addons::{self, Addon};
use orlop_cluster::api_servers::ApiServer;
use orlop_cluster::certificates::Signer;
use orlop_cluster::config::{self, ClusterConfig};
use orlop_cluster::control_plane::{self, ControlPlane};
use orlop_cluster::extras::Ignored;
use orlop_cluster::given::Registration;
use orlop_cluster::layout::Layout;
use orlop_cluster::manifests::InitialCluster;
use orlop_cluster::patches::{self, Patches};
use orlop_cluster::upgrade::{self, Progress, Step};
use orlop_cluster::{api, api_servers, expiration, files, kubelet, objects, preflight, versions};
use serde_json::{Value, json};
use std::path::PathBuf;

const PODS: &str = "/api/v1/namespaces/kube-system/pods?labelSelector=tier%3Dcontrol-plane";

const NODES: &str = "/api/v1/nodes";

pub async fn upgrade(arguments: UpgradeArgs) -> Result<()> {
    match arguments.command {
        UpgradeCommand::Plan(arguments) => plan(&arguments).await,
        UpgradeCommand::Apply(arguments) => apply(&arguments).await,
        UpgradeCommand::Node(step) => node(&step).await,
    }
}

async fn plan(arguments: &AdminArgs) -> Result<()> {
    let client = administrator(arguments).await?;
    let cluster = configuration(&client).await?;
    let pods = api::get(&client, PODS).await?.unwrap_or_default();
    let servers = api_servers::of(&client, &pods).await;
    let mut rows = vec![["COMPONENT", "NODE", "CURRENT", "TARGET"].map(str::to_owned)];
    let mut notes = Vec::new();
    for pod in pods["items"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let text = |pointer: &str| {
            pod.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or("?")
                .to_owned()
        };
        let (component, node) = (text("/metadata/labels/component"), text("/spec/nodeName"));
        let current = match current(pod, &component, &servers) {
            Ok(version) => version,
            Err(why) => {
                notes.push(format!("{component} of {node}: {why}"));
                "?".to_owned()
            }
        };
        let target = match component.as_str() {
            "etcd" => current.clone(),
            _ => KUBERNETES_VERSION.to_owned(),
        };
        rows.push([component, node, current, target]);
    }
    rows[1..].sort();
    println!("[upgrade] Cluster version: {}", cluster.kubernetes_version);
    println!("[upgrade] orlop version: {KUBERNETES_VERSION}\n");
    print!("{}", super::table(&rows));
    notes.sort();
    for note in notes {
        println!("? {note}");
    }
    println!(
        "\nYou can apply it on the first master with `orlop upgrade apply {KUBERNETES_VERSION}`, on the others with `orlop upgrade node`."
    );
    Ok(())
}

/// The version that a pod of the control plane runs; otherwise why it is not known.
fn current(pod: &Value, component: &str, servers: &[ApiServer]) -> Result<String, String> {
    let node = pod["spec"]["nodeName"].as_str();
    let server = servers
        .iter()
        .find(|server| component == "kube-apiserver" && node == Some(server.node.as_str()));
    if let Some(server) = server {
        return server.version.clone();
    }
    let version = upgrade::version(pod).map(str::to_owned);
    version.ok_or_else(|| {
        let image = upgrade::image_of(pod).unwrap_or("image");
        format!("version not known, for its {image} has none in its name")
    })
}

async fn apply(arguments: &UpgradeApplyArgs) -> Result<()> {
    let (step, version) = (&arguments.step, &arguments.target);
    let skipped = addons::skipped(&step.skip_phases)?;
    let patches = node::patches(step.patches.as_deref())?;
    let client = administrator(&step.admin).await?;
    let cluster = configuration(&client).await?;
    let with_unstable = arguments.allow_experimental_upgrades
        || (arguments.allow_release_candidate_upgrades && version.contains("-rc"));
    let from = &cluster.kubernetes_version;
    if let Some(complaint) = versions::upgrade_complaint(from, version, KUBERNETES_VERSION, with_unstable) {
        bail!(complaint);
    }
    may_be_left_behind(&client, version, arguments.force).await?;
    let cluster = ClusterConfig {
        kubernetes_version: version.clone(),
        ..cluster
    };
    if this_master_to(step, &client, &cluster, &skipped, &patches).await? == Done::Nothing {
        return Ok(());
    }
    write_version(&client, &cluster).await?;
    the_rest(step, &client, &cluster, &skipped, &patches).await?;
    println!(
        "[upgrade] SUCCESS! The control plane of this node runs {version}. Run `orlop upgrade node` on the other masters, then on the workers."
    );
    Ok(())
}

/// Refuses what would leave parts of the cluster further behind than they may be. `force`: says so only, of node agents, and
/// of API servers whose version is not known.
async fn may_be_left_behind(client: &kube::Client, version: &str, force: bool) -> Result<()> {
    let pods = api::get(client, PODS).await?.unwrap_or_default();
    let servers = api_servers::of(client, &pods).await;
    let unknown = api_servers::unknown(&servers);
    match (unknown.is_empty(), force) {
        (true, _) => {}
        (false, true) => println!(
            "[upgrade] WARNING: API servers may be too old for {version}: {}",
            versions::listed(&unknown)
        ),
        (false, false) => bail!(
            "nothing was changed, for API servers may be too old for {version}: {}; mend that, or give --force",
            versions::listed(&unknown)
        ),
    }
    let behind = api_servers::behind(&servers, version);
    if !behind.is_empty() {
        bail!(
            "nothing was changed, for API servers would be more than one minor version older than {version}: run `orlop upgrade node` first on {}",
            versions::listed(&behind)
        );
    }
    let nodes = api::get(client, NODES).await?.unwrap_or_default();
    let old = versions::agents_too_old(&nodes, version);
    match (old.is_empty(), force) {
        (true, _) => Ok(()),
        (false, true) => {
            println!(
                "[upgrade] WARNING: too old for API servers of {version}: {}",
                versions::listed(&old)
            );
            Ok(())
        }
        (false, false) => bail!(
            "nothing was changed, for node agents would be too old for API servers of {version}: {}; upgrade these first, or give --force",
            versions::listed(&old)
        ),
    }
}

/// `orlop upgrade node`: what the cluster is said to be.
async fn node(step: &UpgradeStepArgs) -> Result<()> {
    let skipped = addons::skipped(&step.skip_phases)?;
    let patches = node::patches(step.patches.as_deref())?;
    let root = Root::new(step.admin.root.root.as_deref())?;
    let is_master = layout(&root).manifest("kube-apiserver").is_file();
    // A worker has no administrator's, and may read what it needs.
    let usual = if is_master { "admin" } else { "kubelet" };
    let client = client_by(&step.admin, usual).await?;
    if !is_master {
        println!("[upgrade] This node is no master: there are no static pods to exchange");
        refresh_agent(step, &client, &patches).await?;
        println!("[upgrade] SUCCESS! This node's configuration is the cluster's.");
        return Ok(());
    }
    let cluster = configuration(&client).await?;
    let version = &cluster.kubernetes_version;
    if let Some(complaint) = versions::upgrade_complaint(version, version, KUBERNETES_VERSION, true) {
        bail!(complaint);
    }
    if this_master_to(step, &client, &cluster, &skipped, &patches).await? == Done::Nothing {
        return Ok(());
    }
    the_rest(step, &client, &cluster, &skipped, &patches).await?;
    println!("[upgrade] SUCCESS! The control plane of this node runs {version}.");
    Ok(())
}

/// What comes after the static pods, on every master.
async fn the_rest(
    step: &UpgradeStepArgs,
    client: &kube::Client,
    cluster: &ClusterConfig,
    skipped: &[Addon],
    patches: &Patches,
) -> Result<()> {
    refresh_agent(step, client, patches).await?;
    let root = Root::new(step.admin.root.root.as_deref())?;
    let pods = api::get_patiently(client, PODS).await?.unwrap_or_default();
    let target = upgrade_addons::Target {
        cluster,
        skipped,
        patches,
        patience: step.timeout,
    };
    let servers = api_servers::of(client, &pods).await;
    upgrade_addons::upgrade(&root, client, &target, &servers).await
}

/// Brings the agent's configuration up to what the cluster shares.
async fn refresh_agent(step: &UpgradeStepArgs, client: &kube::Client, patches: &Patches) -> Result<()> {
    let root = Root::new(step.admin.root.root.as_deref())?;
    let layout = layout(&root);
    if step.dry_run {
        println!(
            "[upgrade] Would bring {} up to the cluster's",
            layout.kubelet_config().display()
        );
        return Ok(());
    }
    let shared = kubelet_configuration(client).await?;
    let backup = backup(&layout, "kubelet-config").join("config.yaml");
    match control_plane::refresh_kubelet(&layout, &shared, patches, &backup)? {
        false => println!("[upgrade] The kubelet's configuration is up to date"),
        true => println!(
            "[upgrade] The kubelet's configuration is the cluster's now (what it was is in {}): `orlop down --keep-pods`, then `orlop up`, follows it",
            backup.display()
        ),
    }
    Ok(())
}

/// Tells of patches of the agent's configuration that don't fit, before anything is exchanged.
async fn rehearse_agent(
    layout: &Layout,
    client: &kube::Client,
    cluster: &ClusterConfig,
    patches: &Patches,
) -> Result<()> {
    if !patches.has(patches::KUBELET) {
        return Ok(());
    }
    let shared = match api::get_patiently(client, objects::KUBELET_CONFIG).await? {
        Some(_) => kubelet_configuration(client).await?,
        // It is given this before its agents are refreshed.
        None => kubelet::configuration(cluster)?,
    };
    Ok(control_plane::rehearse_refresh(layout, &shared, patches)?)
}

/// A new place for what was there before.
fn backup(layout: &Layout, what: &str) -> PathBuf {
    let now = jiff::Zoned::now().strftime("%Y-%m-%d-%H-%M-%S");
    layout
        .kubernetes()
        .join(format!("tmp/kubeadm-backup-{what}-{now}"))
}

/// Says in the cluster which version it is now. All else that it is said to be made with stays as it is.
async fn write_version(client: &kube::Client, cluster: &ClusterConfig) -> Result<()> {
    let map = api::get_patiently(client, CONFIGURATION).await?;
    let text = configuration_text(map.as_ref())?;
    let text = config::with_version(&text, &cluster.kubernetes_version)?;
    let patch = json!({"data": {"ClusterConfiguration": text}});
    api::merge(client, CONFIGURATION, &patch).await?;
    if api::get_patiently(client, objects::KUBELET_CONFIG)
        .await?
        .is_none()
    {
        let shared = kubelet::configuration(cluster)?;
        for object in objects::kubelet_configuration(&shared)? {
            api::apply(client, &object).await?;
        }
    }
    Ok(())
}

/// Whether something was done at all.
#[derive(PartialEq, Eq)]
enum Done {
    Everything,
    /// It was only told.
    Nothing,
}

/// Exchanges this master's static pods, and signs its certificates anew.
async fn this_master_to(
    arguments: &UpgradeStepArgs,
    client: &kube::Client,
    cluster: &ClusterConfig,
    skipped: &[Addon],
    patches: &Patches,
) -> Result<Done> {
    Ignored::refuse(&cluster.ignored.components)?;
    let root = Root::new(arguments.admin.root.root.as_deref())?;
    let node = this_master(&root)?;
    let plane = ControlPlane {
        layout: layout(&root),
        cluster: cluster.clone(),
        machine: Host::machine(None),
        host_name: node.name.clone(),
        registration: Registration::default(),
        ca_directories: preflight::ca_directories(),
        patches: patches.clone(),
        node,
    };
    let rendered = |component| Ok((component, plane.manifest(component, &InitialCluster::default())?));
    let mut manifests = upgrade::components().map(rendered).collect::<Result<Vec<_>>>()?;
    // It keeps its version, and what is laid over it is said anew each time: the first of all, as the others need it.
    if patches.has("etcd") {
        let present = files::read(&plane.layout.manifest("etcd"))?;
        manifests.insert(0, ("etcd", plane.etcd_anew(&present)?));
    }
    if patches.has(patches::COREDNS) {
        super::addons::rehearse(&plane, skipped)?;
    }
    rehearse_agent(&plane.layout, client, cluster, patches).await?;
    if arguments.dry_run {
        for (component, manifest) in &manifests {
            let is_same = files::read(&plane.layout.manifest(component))? == *manifest;
            let what = if is_same {
                "is up to date"
            } else {
                "would be exchanged"
            };
            println!("[dryrun] {component} {what}");
        }
        println!("[dryrun] Nothing was changed");
        return Ok(Done::Nothing);
    }
    let backup = backup(&plane.layout, "manifests");
    let step = Step {
        layout: &plane.layout,
        client,
        node: &plane.node.name,
        backup: &backup,
        patience: arguments.timeout,
    };
    let images: Vec<String> = upgrade::components().map(|name| cluster.image(name)).collect();
    upgrade_images::ensure(&root, &images, arguments.timeout).await?;
    let told = |component: &str, progress| tell(component, progress, &cluster.kubernetes_version);
    step.exchange(&manifests, told).await?;
    if arguments.certificate_renewal {
        renew(&plane)?;
    }
    Ok(Done::Everything)
}

/// Signs all certificates of a master anew, as kubeadm does with an upgrade; where an authority's key is elsewhere, none.
fn renew(plane: &ControlPlane) -> Result<()> {
    let missing = Signer::ALL
        .iter()
        .find(|signer| !signer.key(&plane.layout).is_file());
    if let Some(signer) = missing {
        println!(
            "[upgrade/certs] Certificates stay as they are: the key of the authority {} is not on this node",
            signer.label()
        );
        return Ok(());
    }
    for name in expiration::renew(&plane.layout, &plane.node, "all")? {
        println!("[upgrade/certs] Renewed the certificate {name}");
    }
    Ok(())
}

fn tell(component: &str, progress: Progress, version: &str) {
    let what = match progress {
        Progress::Begun if component == "etcd" => "Writing the manifest of etcd with its patches".to_owned(),
        Progress::Begun => format!("Upgrading {component} to {version}"),
        Progress::Exchanged => format!("Component {component:?} upgraded successfully!"),
        Progress::UpToDate => format!("Component {component:?} is up to date"),
        Progress::TakenBack => format!("Putting the old {component} back"),
    };
    println!("[upgrade/staticpods] {what}");
}
