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
    let node = Node::of(&root);
    if !arguments.force && !confirmed(node)? {
        anyhow::bail!("nothing was changed");
    }
    let etcd = Etcd::of(node, &layout(&root))?;
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
    for line in node.left(&root) {
        println!("[reset] {line}");
    }
    Ok(())
}

/// What the machine is before it is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    /// Of a cluster, or on the way to be one.
    Member,
    /// One that `orlop up` made by itself, which has its own store.
    Alone,
}

impl Node {
    fn of(root: &Root) -> Self {
        let layout = layout(root);
        let of_members = [
            layout.kubelet_flags(),
            layout.init_begun(),
            layout.kubeconfig("bootstrap-kubelet"),
        ];
        match root.store().exists() && !of_members.iter().any(|path| path.exists()) {
            true => Self::Alone,
            false => Self::Member,
        }
    }

    /// What is going to be deleted.
    fn going(self) -> &'static str {
        match self {
            Self::Member => {
                "Everything that `orlop init` or `orlop join` made on this machine will be deleted."
            }
            Self::Alone => {
                "This node is no member of a cluster. Its certificates, its kubeconfigs, the manifests of its static pods and all of its pods will be deleted; its store stays."
            }
        }
    }

    /// What is left afterwards, and how to remove it.
    fn left(self, root: &Root) -> Vec<String> {
        let mut lines = Vec::new();
        if self == Self::Member {
            lines.push("The Node object stays in the cluster: kubectl delete node removes it".to_owned());
        }
        // Also of a time before it was a member.
        let store = root.store();
        if store.exists() {
            lines.push(format!(
                "The store of a node that `orlop up` ran here stays, with all its objects, and the next one has them again: `rm -r {}` removes them",
                store.display()
            ));
        }
        lines
    }
}

fn confirmed(node: Node) -> Result<bool> {
    print!(
        "[reset] {} Are you sure you want to proceed? [y/N]: ",
        node.going()
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
    /// By its manifest. Where there is none, files of an etcd are somebody else's; so is the etcd that a node of its own
    /// may run as any other static pod.
    fn of(node: Node, layout: &Layout) -> Result<Option<Self>> {
        if node == Node::Alone {
            return Ok(None);
        }
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

    #[test]
    fn what_stays_of_a_node_of_its_own_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(Some(directory.path())).unwrap();
        assert_eq!(Node::of(&root), Node::Member, "what is there of one");
        assert_eq!(Node::Member.left(&root).len(), 1);
        std::fs::create_dir_all(root.store()).unwrap();
        assert_eq!(Node::of(&root), Node::Alone);
        let left = Node::Alone.left(&root);
        let removes = format!("`rm -r {}` removes them", root.store().display());
        assert!(left.len() == 1 && left[0].ends_with(&removes), "{left:?}");
        // It became a member afterwards, or was about to.
        for path in [layout(&root).init_begun(), layout(&root).kubelet_flags()] {
            files::write_private(&path, "").unwrap();
            assert_eq!(Node::of(&root), Node::Member);
            files::remove(&path).unwrap();
        }
        assert_eq!(Node::Member.left(&root).len(), 2);
    }

    /// Until its files are removed, they are known for those of a member of this node.
    #[test]
    fn a_member_is_known_after_it_has_left() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        assert!(Etcd::of(Node::Member, &layout).unwrap().is_none());
        let text = "spec: {containers: [{command: [etcd, --name=m1]}]}\n";
        // A join was killed that may have come so far that the others know the member.
        files::write_private(&layout.etcd_joining(), text).unwrap();
        let joining = Etcd::of(Node::Member, &layout).unwrap().unwrap();
        assert_eq!((joining.told.name.as_str(), joining.has_left), ("m1", false));
        assert_eq!(joining.manifest, layout.etcd_joining());
        files::remove(&layout.etcd_joining()).unwrap();
        files::write_private(&layout.manifest("etcd"), text).unwrap();
        let present = Etcd::of(Node::Member, &layout).unwrap().unwrap();
        assert_eq!((present.told.name.as_str(), present.has_left), ("m1", false));
        let alone = Etcd::of(Node::Alone, &layout).unwrap();
        assert!(alone.is_none(), "it is a pod as any other there");
        files::rename(&layout.manifest("etcd"), &layout.etcd_left()).unwrap();
        let left = Etcd::of(Node::Member, &layout).unwrap().unwrap();
        assert_eq!((left.told.name.as_str(), left.has_left), ("m1", true));
        assert_eq!(left.files, layout.etcd_data());
        files::write_private(&layout.manifest("etcd"), "a: [").unwrap();
        assert_eq!(
            Etcd::of(Node::Member, &layout).unwrap().unwrap().files,
            layout.etcd_data()
        );
    }
}
