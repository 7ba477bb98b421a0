//! `orlop reset`: out of the cluster, and back to what the machine was.
use super::layout;
use super::undo;
use crate::cli::ResetArgs;
use crate::paths::Root;
use anyhow::Result;
use orlop_cluster::etcd::{self, Told};
use orlop_cluster::layout::Layout;
use orlop_cluster::{api, files, yaml};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Duration;

/// The cluster may be gone: leaving it is tried, no more.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(20);

pub async fn reset(arguments: ResetArgs) -> Result<()> {
    let root = Root::new(arguments.root.root.as_deref())?;
    if !arguments.force && !confirmed()? {
        anyhow::bail!("nothing was changed");
    }
    let etcd = Etcd::of(&layout(&root))?;
    if let Some(etcd) = etcd.as_ref().filter(|etcd| !etcd.has_left) {
        println!("[reset] Removing this node's member of etcd");
        let left = match tokio::time::timeout(LEAVE_TIMEOUT, leave_etcd(&root, etcd)).await {
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
    undo::stop(&root).await?;
    let files = etcd.map(|etcd| etcd.files);
    undo::remove_all(&root, files.as_deref(), |path| {
        println!("[reset] Deleting {}", path.display());
    })?;
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

/// This node's member of etcd.
struct Etcd {
    told: Told,
    /// What it is known by.
    manifest: PathBuf,
    /// Its files.
    files: PathBuf,
    /// An earlier `reset` that did not come to its end took it out.
    has_left: bool,
}

impl Etcd {
    /// By its manifest. Where there is none, files of an etcd are somebody else's.
    fn of(layout: &Layout) -> Result<Option<Self>> {
        let paths = [
            (layout.manifest("etcd"), false),
            // Of a join that was killed: it may be in the others' list.
            (layout.etcd_joining(), false),
            (layout.etcd_left(), true),
        ];
        for (path, has_left) in paths {
            if let Some(text) = files::read_optional(&path)? {
                // One that somebody broke does not tell, but is there.
                let manifest = yaml::read("the manifest of etcd", &text).unwrap_or_default();
                let told = etcd::told(&manifest);
                let files = told.files.clone().unwrap_or_else(|| layout.etcd_data());
                return Ok(Some(Self {
                    told,
                    manifest: path,
                    files,
                    has_left,
                }));
            }
        }
        Ok(None)
    }
}

/// Takes the member out while it still can vote, or while it only learns; the last one goes with its cluster.
async fn leave_etcd(root: &Root, etcd: &Etcd) -> Result<()> {
    let layout = layout(root);
    let own = &etcd.told;
    let client = api::connect(&layout.kubeconfig("admin")).await?;
    let pods = api::get(&client, etcd::PODS).await?.unwrap_or_default();
    let others: Vec<String> = etcd::endpoints(&pods)
        .into_iter()
        .filter(|url| !own.client_urls.contains(url))
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    let mut store = etcd::connect(&layout, &others).await?;
    let members = etcd::members(&mut store).await?;
    if let Some(member) = etcd::find(&members, own) {
        etcd::remove(&mut store, member.id).await?;
    }
    // Not started again meanwhile: it is no member any more.
    files::rename(&etcd.manifest, &layout.etcd_left())?;
    Ok(files::remove(&layout.etcd_joining())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Until its files are removed, they are known for those of a member of this node.
    #[test]
    fn a_member_is_known_after_it_has_left() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        assert!(Etcd::of(&layout).unwrap().is_none());
        let text = "spec: {containers: [{command: [etcd, --name=m1]}]}\n";
        // A join was killed that may have come so far that the others know the member.
        files::write_private(&layout.etcd_joining(), text).unwrap();
        let joining = Etcd::of(&layout).unwrap().unwrap();
        assert_eq!((joining.told.name.as_str(), joining.has_left), ("m1", false));
        assert_eq!(joining.manifest, layout.etcd_joining());
        files::remove(&layout.etcd_joining()).unwrap();
        files::write_private(&layout.manifest("etcd"), text).unwrap();
        let present = Etcd::of(&layout).unwrap().unwrap();
        assert_eq!((present.told.name.as_str(), present.has_left), ("m1", false));
        files::rename(&layout.manifest("etcd"), &layout.etcd_left()).unwrap();
        let left = Etcd::of(&layout).unwrap().unwrap();
        assert_eq!((left.told.name.as_str(), left.has_left), ("m1", true));
        assert_eq!(left.files, layout.etcd_data());
        files::write_private(&layout.manifest("etcd"), "a: [").unwrap();
        assert_eq!(Etcd::of(&layout).unwrap().unwrap().files, layout.etcd_data());
    }
}
