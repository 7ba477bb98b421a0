//! `orlop reset`: out of the cluster, and back to what the machine was.
use super::layout;
use super::undo;
use crate::cli::{DownArgs, ResetArgs};
use crate::commands::down;
use crate::paths::Root;
use anyhow::Result;
use orlop_cluster::{api, etcd, files, manifests};
use std::io::{BufRead, Write};
use std::time::Duration;

/// The cluster may be gone: leaving it is tried, no more.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(20);

pub async fn reset(arguments: ResetArgs) -> Result<()> {
    let root = Root::new(arguments.root.root.as_deref())?;
    if !arguments.force && !confirmed()? {
        anyhow::bail!("nothing was changed");
    }
    if layout(&root).manifest("etcd").is_file() {
        println!("[reset] Removing this node's member of etcd");
        let left = match tokio::time::timeout(LEAVE_TIMEOUT, leave_etcd(&root)).await {
            Ok(left) => left,
            Err(_) => Err(anyhow::anyhow!("etcd did not answer within {LEAVE_TIMEOUT:?}")),
        };
        match left {
            // The others might be without a majority then: that is for people to decide.
            Err(error) if !arguments.abandon_etcd => {
                return Err(error.context(
                    "nothing was changed, for this node's member cannot be taken out of etcd (bring the other members back, or give --abandon-etcd if the cluster is given up)",
                ));
            }
            Err(error) => println!("[reset] Its member stays in etcd's list: {error:#}"),
            Ok(()) => {}
        }
    }
    println!("[reset] Stopping the kubelet service and its containers");
    down::down(DownArgs {
        root: arguments.root.clone(),
        keep_pods: false,
    })
    .await?;
    undo::remove_all(&root, |path| println!("[reset] Deleting {}", path.display()))?;
    println!("[reset] The Node object stays in the cluster: kubectl delete node removes it");
    Ok(())
}

fn confirmed() -> Result<bool> {
    print!(
        "[reset] Everything that `orlop init` or `orlop join` made on this machine will be deleted. Are you sure you want to proceed? [y/N]: "
    );
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Takes the member out while it still can vote; the last one goes with its cluster.
async fn leave_etcd(root: &Root) -> Result<()> {
    let layout = layout(root);
    let node = super::this_master(root)?;
    let client = api::connect(&layout.kubeconfig("admin")).await?;
    let pods = api::get(&client, etcd::PODS).await?.unwrap_or_default();
    let own = manifests::client_url(&node);
    let others: Vec<String> = etcd::endpoints(&pods)
        .into_iter()
        .filter(|url| *url != own)
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    let mut store = etcd::connect(&layout, &others).await?;
    let peer = manifests::peer_url(&node);
    let members = etcd::members(&mut store).await?;
    if let Some(member) = members.iter().find(|member| member.peer_url == peer) {
        etcd::remove(&mut store, member.id).await?;
    }
    // Not started again meanwhile: it is no member any more.
    files::remove(&layout.manifest("etcd"))?;
    Ok(())
}
