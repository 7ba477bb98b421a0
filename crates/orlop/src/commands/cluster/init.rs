//! `orlop init`: the first member of a cluster.
use super::node::{self, Host, Progress};
use super::undo::Undo;
use super::{addons, given, interrupt, layout};
use crate::cli::{InitArgs, InitPart};
use crate::signals;
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use orlop_api::KUBERNETES_VERSION;
use orlop_cluster::certificates::{self, Signer};
use orlop_cluster::config::ClusterConfig;
use orlop_cluster::control_plane::{ControlPlane, Member};
use orlop_cluster::layout::Layout;
use orlop_cluster::manifests::InitialCluster;
use orlop_cluster::preflight::{self, Complaint, Facts, Role};
use orlop_cluster::shared_certificates::{self, CertificateKey, SECRET, TTL};
use orlop_cluster::token::{Terms, Token};
use orlop_cluster::wait;
use orlop_cluster::{api, discovery, external, files, kubeconfigs, kubelet, objects, versions};
use std::time::Instant;

/// Printed in the place of a secret.
const WITHHELD: &str = "<value withheld>";

pub async fn init(mut arguments: InitArgs) -> Result<()> {
    if let Some(InitPart::Phase { phase }) = arguments.part.take() {
        return addons::phase(phase).await;
    }
    let began = Instant::now();
    let given = given::of_init(&mut arguments)?;
    let of_node = given.init.unwrap_or_default();
    let skipped = addons::skipped(&arguments.skip_phases)?;
    let mut host = Host::look(&arguments.member)?;
    host.registration = of_node.node;
    let cluster = match &given.cluster {
        Some(document) => ClusterConfig::from_given(document, &arguments.kubernetes_version)?,
        None => by_flags(&arguments, host.node.api_port),
    };
    let cluster = ClusterConfig {
        kubelet: given.kubelet,
        ..cluster.also_without(&skipped)
    };
    cluster.service_address(1)?;
    let tokens = given::tokens(&arguments, &of_node.tokens)?;
    println!("[init] Using Kubernetes version: {}", cluster.kubernetes_version);
    // What an earlier run began is finished, or stays for the next.
    let undo = match Progress::of(&layout(&host.root)) {
        Progress::Member => bail!(
            "this node is a member of a cluster already, and nothing was changed: `orlop reset` takes it out"
        ),
        Progress::CutShort => {
            println!("[preflight] An earlier init on this node was cut short: what is missing is done");
            None
        }
        Progress::None => {
            preflight(&host, &cluster, &arguments)?;
            Some(Undo::begin(&host.root))
        }
    };
    certificates::check(&layout(&host.root), &cluster, &host.node)?;
    can_upload(&layout(&host.root), arguments.upload_certs)?;
    let shared = kubelet::configuration(&cluster)?;
    let rehearsed = host.control_plane(cluster.clone());
    rehearsed.rehearse(&shared, true)?;
    addons::rehearse(&rehearsed, &rehearsed.cluster.without)?;
    if arguments.dry_run {
        let checks = match undo {
            Some(_) => "All checks passed",
            None => "An earlier run would be finished",
        };
        println!("[dryrun] {checks}; nothing was changed");
        return Ok(());
    }
    let stop = signals::shutdown_token()?;
    let work = make(&host, cluster, &tokens, &arguments, began);
    let made = interrupt::unless(&stop, work).await;
    let (Err(error), Some(undo)) = (&made, undo) else {
        return made;
    };
    println!("[init] Taking back what was done");
    undo.undo().await.with_context(|| {
        format!("cannot take back what was done; `orlop reset` can. It failed for: {error:#}")
    })?;
    made.context("no cluster was made, and this machine is as it was")
}

/// Masters cannot share the key of an authority that is kept elsewhere.
fn can_upload(layout: &Layout, upload_certs: bool) -> Result<()> {
    match external::first(layout) {
        Some(signer) if upload_certs => bail!(
            "--upload-certs is not possible, for there is no {}, which masters share: leave it out",
            signer.key(layout).display()
        ),
        _ => Ok(()),
    }
}

/// What the cluster is to be made with, where no file says it.
fn by_flags(arguments: &InitArgs, api_port: u16) -> ClusterConfig {
    let endpoint = arguments.control_plane_endpoint.as_ref();
    ClusterConfig {
        image_repository: arguments.image_repository.clone(),
        control_plane_endpoint: endpoint.map(|endpoint| endpoint.with_port(api_port)),
        cert_sans: arguments.apiserver_cert_extra_sans.clone(),
        service_subnet: arguments.service_cidr.clone(),
        pod_subnet: arguments.pod_network_cidr.clone(),
        dns_domain: arguments.service_dns_domain.clone(),
        ..ClusterConfig::new(&arguments.kubernetes_version)
    }
}

/// Every phase after the checks.
async fn make(
    host: &Host,
    mut cluster: ClusterConfig,
    tokens: &[(Token, Terms)],
    arguments: &InitArgs,
    began: Instant,
) -> Result<()> {
    let begun = layout(&host.root).init_begun();
    files::write_private(&begun, "`orlop init` is under way, or was cut short.\n")?;
    let remote = node::prepare_runtime(&host.root, &arguments.member, cluster.pod_subnet.is_some()).await?;
    let runtime_took = began.elapsed();
    if cluster.etcd_tag.is_empty() {
        cluster.etcd_tag = node::etcd_tag(&remote, &cluster.image_repository).await?;
    }

    let plane = host.control_plane(cluster);
    println!("[certs] Using certificateDir folder {:?}", plane.layout.pki());
    for signer in Signer::ALL
        .into_iter()
        .filter(|signer| signer.is_external(&plane.layout))
    {
        println!(
            "[certs] Using existing {} keyless certificate authority",
            signer.label()
        );
    }
    plane.certificates()?;
    println!(
        "[kubeconfig] Using kubeconfig folder {:?}",
        plane.layout.kubernetes()
    );
    let names = kubeconfigs::wanted(&plane.node).map(|(name, ..)| name);
    plane.kubeconfigs(&names)?;
    println!(
        "[etcd] Creating static Pod manifest for local etcd in {:?}",
        plane.layout.manifests()
    );
    plane.etcd(&InitialCluster::default())?;
    println!(
        "[control-plane] Using manifest folder {:?}",
        plane.layout.manifests()
    );
    plane.components()?;
    println!(
        "[kubelet-start] Writing kubelet configuration to file {:?}",
        plane.layout.kubelet_config()
    );
    plane.kubelet()?;
    println!("[kubelet-start] Starting the kubelet");
    node::start_agent(&host.root).await?;

    wait_for(&plane, host).await?;
    println!(
        "[wait] The control plane is healthy after {:.1?}, of which the runtime took {runtime_took:.1?}",
        began.elapsed()
    );
    publish(&plane, host, tokens, arguments).await?;
    let key = match arguments.upload_certs {
        true => {
            let client = api::connect(&plane.layout.kubeconfig("admin")).await?;
            Some(upload(&plane.layout, &client, arguments.certificate_key.clone()).await?)
        }
        false => None,
    };
    addons::apply_present(&plane, &remote).await?;
    files::remove(&begun)?;
    let key = key.map(|key| match arguments.skip_certificate_key_print {
        true => WITHHELD.to_owned(),
        false => key.to_string(),
    });
    let (token, _) = tokens.first().context("there is no token to join with")?;
    tell(&plane, token, arguments.skip_token_print, key.as_deref())
}

/// Leaves what masters share in the cluster, under a token's Secret that goes when its time is up.
pub async fn upload(
    layout: &Layout,
    client: &kube::Client,
    key: Option<CertificateKey>,
) -> Result<CertificateKey> {
    println!("[upload-certs] Storing the certificates in Secret {SECRET:?} in the \"kube-system\" Namespace");
    let key = match key {
        Some(key) => key,
        None => CertificateKey::generate()?,
    };
    let owner = Token::generate()?;
    let terms = Terms {
        expires: Some(Timestamp::now().checked_add(TTL)?),
        usages: Vec::new(),
        groups: Vec::new(),
        description: format!("Proxy for managing TTL for the {SECRET} secret"),
    };
    let owner = api::apply(client, &owner.object(&terms)).await?;
    let secret = shared_certificates::secret(layout, &key, &owner)?;
    api::apply(client, &secret).await?;
    for object in objects::certificate_readers() {
        api::apply(client, &object).await?;
    }
    Ok(key)
}

fn preflight(host: &Host, cluster: &ClusterConfig, arguments: &InitArgs) -> Result<()> {
    println!("[preflight] Running pre-flight checks");
    let role = Role::ControlPlane {
        api_port: host.node.api_port,
    };
    let programs = node::programs(&arguments.member);
    let mut facts = Facts::gather(&layout(&host.root), role, host.node.address, programs);
    let etcd = preflight::taken(vec![preflight::etcd_health(cluster)]);
    facts.ports_taken.extend(etcd);
    // Nobody here could write it.
    if Signer::Cluster.is_external(&layout(&host.root)) {
        let own = layout(&host.root).kubeconfig("kubelet").display().to_string();
        facts.present.retain(|path| *path != own);
    }
    let mut complaints = preflight::complaints(&facts, &host.node.name, host.node.address);
    let versions = versions::init_complaints(&cluster.kubernetes_version, KUBERNETES_VERSION);
    complaints.extend(versions.into_iter().map(|(check, why)| Complaint::of(check, why)));
    node::judge(complaints, &arguments.member)
}

/// Waits until the agent, the API server, the controllers and the scheduler are well, and the node is registered.
pub async fn wait_for(plane: &ControlPlane, host: &Host) -> Result<()> {
    let hint = node::hint(&host.root);
    println!("[wait] Waiting for a healthy kubelet, which boots the control plane as static Pods");
    Member::health().wait(host.patience, &hint).await?;
    for health in plane.healths() {
        health.wait(host.patience, &hint).await?;
    }
    Ok(())
}

/// Writes what nodes that join need, as who needs no leave at first.
async fn publish(
    plane: &ControlPlane,
    host: &Host,
    tokens: &[(Token, Terms)],
    arguments: &InitArgs,
) -> Result<()> {
    let client = api::connect(&plane.layout.kubeconfig("super-admin")).await?;
    // The way to this node's API server may lead over a load balancer that has yet to hear of it.
    let server = plane.cluster.server(&plane.node);
    let what = format!("the API is not ready at {server}");
    let way = "does it lead to this node's API server?";
    wait::until(&what, host.patience, way, async || api::ready(&client).await).await?;
    api::apply(&client, &objects::administrators()).await?;
    println!(
        "[upload-config] Storing the configuration used in ConfigMap \"kubeadm-config\" in the \"kube-system\" Namespace"
    );
    println!(
        "[kubelet] Creating a ConfigMap \"kubelet-config\" in namespace kube-system with the configuration for the kubelets in the cluster"
    );
    let shared = kubelet::configuration(&plane.cluster)?;
    for object in objects::configuration(&plane.cluster, &shared)? {
        api::apply(&client, &object).await?;
    }
    let name = &plane.node.name;
    println!("[mark-control-plane] Marking the node {name} as control-plane by adding the labels and taints");
    let path = format!("/api/v1/nodes/{name}");
    let what = format!("node {name} is not registered");
    wait::until(
        &what,
        host.patience,
        "see the kubelet's log",
        async || match api::get(&client, &path).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("there is no such node yet".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    )
    .await?;
    let taints = kubelet::taints(&plane.registration, true);
    api::mark_control_plane(&client, name, &taints).await?;
    for (token, terms) in tokens {
        println!(
            "[bootstrap-token] Using token: {}",
            shown(token, arguments.skip_token_print)
        );
        api::apply(&client, &token.object(terms)).await?;
    }
    let authority = files::read(&Signer::Cluster.certificate(&plane.layout))?;
    let info = kubeconfigs::cluster_info(&plane.cluster.server(&plane.node), &authority);
    println!("[bootstrap-token] Creating the \"cluster-info\" ConfigMap in the \"kube-public\" namespace");
    for object in objects::joining(&orlop_cluster::yaml::write(&info)?) {
        api::apply(&client, &object).await?;
    }
    if plane.cluster.pod_subnet.is_some() {
        for object in objects::routing() {
            api::apply(&client, &object).await?;
        }
    }
    for (token, _) in tokens.iter().filter(|(_, terms)| terms.signs()) {
        discovery::wait_signed(&client, token).await?;
    }
    Ok(())
}

fn shown(token: &Token, hidden: bool) -> String {
    match hidden {
        true => WITHHELD.to_owned(),
        false => token.to_string(),
    }
}

/// With what another machine joins.
pub fn join_command(server: &str, authority: &str, token: &str) -> Result<String> {
    let hash = orlop_pki::public_key_hash(authority).context("the authority's certificate cannot be read")?;
    let endpoint = server.trim_start_matches("https://");
    Ok(format!(
        "orlop join {endpoint} --token {token} --discovery-token-ca-cert-hash {hash}"
    ))
}

/// What a person does next.
fn tell(plane: &ControlPlane, token: &Token, hidden: bool, key: Option<&str>) -> Result<()> {
    let authority = files::read(&Signer::Cluster.certificate(&plane.layout))?;
    let server = plane.cluster.server(&plane.node);
    let join = join_command(&server, &authority, &shown(token, hidden))?;
    println!(
        "\nYour Kubernetes control-plane has initialized successfully!\n\n\
         To start using your cluster:\n\n  export KUBECONFIG={}\n\n\
         Then you can join any number of worker nodes by running the following on each as root:\n\n{join}",
        plane.layout.kubeconfig("admin").display(),
    );
    if let Some(key) = key {
        println!(
            "\nand masters, within two hours, by the same with:\n\n{join} \\\n\t--control-plane --certificate-key {key}\n\n\
             Please note that the certificate-key gives access to cluster sensitive data, keep it secret!"
        );
    }
    Ok(())
}
