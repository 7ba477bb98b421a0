//! `orlop up` on a member of a cluster: the runtime and the node agent, with kubeadm's files.
use super::{expiry, layout, node, pod_network};
use crate::cli::{self, Cli, Command, KubeletArgs, UpArgs};
use crate::commands::agent::node_name;
use crate::commands::kubelet;
use crate::commands::up::{self, Runtime};
use crate::lock::NodeLock;
use crate::logging;
use crate::paths::Root;
use crate::signals;
use anyhow::{Context, Result, bail};
use orlop_cluster::layout::Layout;
use orlop_cluster::{files, kubelet as agent, yaml};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long the parts may take to end in order.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Says which flags were given that count for nothing here.
pub fn mention(arguments: &UpArgs) -> Result<()> {
    let root = Root::new(arguments.root.root.as_deref())?;
    if let Some(notice) = notice(&layout(&root), &arguments.of_no_member) {
        logging::tell(&notice);
    }
    Ok(())
}

fn notice(layout: &Layout, flags: &[String]) -> Option<String> {
    (!flags.is_empty()).then(|| {
        format!(
            "without effect, for this node is a member of a cluster and follows {} and {}: {}",
            layout.kubelet_config().display(),
            layout.kubelet_flags().display(),
            flags.join(", ")
        )
    })
}

pub async fn run(arguments: UpArgs) -> Result<()> {
    mention(&arguments)?;
    let root = Root::new(arguments.root.root.as_deref())?;
    let _lock = NodeLock::take(&root.pid_file())?;
    let shutdown = signals::shutdown_token()?;
    let images = arguments.images.clone().unwrap_or_else(|| root.images());
    let mut parts = JoinSet::new();
    let endpoint = match arguments.container_runtime_endpoint {
        Some(endpoint) => Some(endpoint),
        None => configured(&root, "containerRuntimeEndpoint")?,
    };
    let shim = configured(&root, "orlop.dev/shim")?.unwrap_or_default();
    let shim = shim
        .parse()
        .context("the kubelet configuration's orlop.dev/shim")?;
    let shares_pod_subnet = endpoint.is_none() && layout(&root).pod_subnet().is_file();
    let runtime = match &endpoint {
        Some(endpoint) => Runtime::Given(endpoint),
        None => Runtime::Managed(Box::new(node::containerd(&root, shim, shares_pod_subnet))),
    };
    let (remote, archives) = up::start_runtime(&root, runtime, &images, &mut parts, &shutdown).await?;
    let flags = files::read(&layout(&root).kubelet_flags())?;
    let agent = kubelet_arguments(&root, &remote.endpoint().to_string(), &flags)?;
    let name = agent_name(&agent);
    if shares_pod_subnet {
        parts.spawn(pod_network::run(root.clone(), name.clone(), shutdown.clone()));
    }
    parts.spawn(expiry::run(root.clone(), name, shutdown.clone()));
    parts.spawn(kubelet::kubelet_with(agent, archives));
    let outcome = up::first_failure(&mut parts, &shutdown).await;
    shutdown.cancel();
    let ending = async { while parts.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_TIMEOUT, ending).await.is_err() {
        tracing::warn!("not every part ended within {STOP_TIMEOUT:?}");
    }
    outcome
}

/// Where the member's agent works.
pub fn directory(root: &Root) -> Result<PathBuf> {
    let flags = files::read(&layout(root).kubelet_flags())?;
    works_in(root, &flags)
}

fn works_in(root: &Root, flags: &str) -> Result<PathBuf> {
    // Whichever runtime it uses.
    let agent = kubelet_arguments(root, "unix:///", flags)?;
    Ok(agent.root_dir.unwrap_or_else(|| root.kubelet()))
}

fn agent_name(arguments: &KubeletArgs) -> String {
    node_name(arguments.hostname_override.as_deref())
}

/// What the configuration says under a name. Without `containerRuntimeEndpoint` the node has its own runtime.
fn configured(root: &Root, name: &str) -> Result<Option<String>> {
    let path = layout(root).kubelet_config();
    let document = yaml::read("the node agent's configuration", &files::read(&path)?)?;
    Ok(document[name].as_str().map(str::to_owned))
}

/// What kubeadm's unit starts the agent with, and the flags beside it.
fn kubelet_arguments(root: &Root, endpoint: &str, flags: &str) -> Result<KubeletArgs> {
    let mut words: Vec<OsString> = vec!["orlop".into(), "kubelet".into()];
    if !root.is_default() {
        words.extend(["--root".into(), root.as_path().into()]);
    }
    for (flag, path) in [
        ("--bootstrap-kubeconfig", root.kubeconfig("bootstrap-kubelet")),
        ("--kubeconfig", root.kubeconfig("kubelet")),
        ("--config", root.kubelet_config()),
    ] {
        words.extend([flag.into(), path.into()]);
    }
    words.extend(["--container-runtime-endpoint".into(), endpoint.into()]);
    words.extend(agent::read_flags(flags).into_iter().map(OsString::from));
    match cli::parse(words).context("the flags of /var/lib/kubelet/kubeadm-flags.env")? {
        Cli {
            command: Command::Kubelet(arguments),
        } => Ok(arguments),
        other => bail!("the node agent's flags make another command of it: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn flags_without_effect_are_told_with_what_counts_instead() {
        let layout = Layout::new(Path::new("/srv/n1"));
        assert_eq!(notice(&layout, &[]), None);
        let flags = ["--secure-port", "--config"].map(str::to_owned);
        let notice = notice(&layout, &flags).unwrap();
        assert!(
            notice.contains(
                "/srv/n1/var/lib/kubelet/config.yaml and /srv/n1/var/lib/kubelet/kubeadm-flags.env"
            ),
            "{notice}"
        );
        assert!(notice.ends_with(": --secure-port, --config"), "{notice}");
    }

    #[test]
    fn the_agent_is_started_as_kubeadms_unit_starts_it() {
        let root = Root::new(Some(Path::new("/srv/n1"))).unwrap();
        let flags = "KUBELET_KUBEADM_ARGS=\"--node-ip=10.0.0.1 --hostname-override=master-01\"\n";
        let arguments = kubelet_arguments(&root, "unix:///x.sock", flags).unwrap();
        assert_eq!(arguments.hostname_override.as_deref(), Some("master-01"));
        assert_eq!(
            arguments.kubeconfig.as_deref(),
            Some(Path::new("/srv/n1/etc/kubernetes/kubelet.conf"))
        );
        assert_eq!(
            arguments.container_runtime_endpoint.as_deref(),
            Some("unix:///x.sock")
        );
        assert!(kubelet_arguments(&root, "unix:///x.sock", "KUBELET_KUBEADM_ARGS=--nonsense").is_err());
    }

    #[test]
    fn the_agent_works_where_its_flags_say() {
        let root = Root::new(Some(Path::new("/srv/n1"))).unwrap();
        for (flags, want) in [
            ("--node-ip=10.0.0.1", "/srv/n1/var/lib/kubelet"),
            ("--root-dir=/data/kubelet", "/data/kubelet"),
        ] {
            let flags = format!("KUBELET_KUBEADM_ARGS=\"{flags}\"\n");
            assert_eq!(works_in(&root, &flags).unwrap(), Path::new(want), "{flags}");
        }
    }
}
