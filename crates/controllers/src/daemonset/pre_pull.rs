//! Pulls the next images before old pods stop: for a moment a pod on the node that does nothing else.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use orlop_api::annotations::{PRE_PULL_HASH, PRE_PULL_SET};
use orlop_api::placement::daemon;
use orlop_client::informer::{Lean, ObjectKey};

use super::DaemonSets;
use super::rolling::Replacements;
use crate::api_error;
use crate::cache::{DaemonSet, ORPHANS_BY_NAMESPACE, Pod, PodView, cached};

/// What is to be done before old pods may go.
#[derive(Debug, Default)]
struct Pulls {
    /// Nodes on which to begin.
    begin: Vec<Arc<str>>,
    /// Pulling pods that have done their work, or are for another template.
    done: Vec<Pod>,
}

/// Keeps of `update.delete` those available old pods whose node has the images of `hash`, and says where to pull next,
/// on `parallel` nodes at a time. `pulling`: the pods that pull for this DaemonSet.
fn plan(
    update: &mut Replacements,
    hash: &str,
    parallel: usize,
    pulling: &[Pod],
    node_is_there: impl Fn(&Arc<str>) -> bool,
) -> Pulls {
    let mut pulls = Pulls::default();
    let mut by_node: HashMap<&str, &Pod> = HashMap::new();
    for pod in pulling.iter().filter(|pod| !pod.terminating) {
        let is_for = pod.labels.get(PRE_PULL_HASH).map(String::as_str);
        match (&pod.node, is_for == Some(hash)) {
            (Some(node), true) => {
                by_node.insert(node, pod);
            }
            _ => pulls.done.push(pod.clone()),
        }
    }
    let waiting: Vec<Pod> = update.delete.iter().chain(&update.next).cloned().collect();
    let wanted: HashSet<&str> = waiting.iter().filter_map(|pod| pod.target.as_deref()).collect();
    let is_pulled = |pod: &Pod| {
        let puller = pod.target.as_deref().and_then(|node| by_node.get(node));
        puller.is_some_and(|puller| puller.is_terminal())
    };
    let on_node = |pod: &Pod| pod.target.as_ref().is_some_and(&node_is_there);
    // A pod that isn't ready serves nobody, nor does one whose node is gone: they needn't wait.
    update
        .delete
        .retain(|pod| !pod.is_ready() || !on_node(pod) || is_pulled(pod));
    let busy = by_node.values().filter(|pod| !pod.is_terminal()).count();
    let begin = waiting
        .iter()
        .filter(|pod| pod.is_ready() && on_node(pod))
        .filter_map(|pod| pod.target.clone())
        .filter(|node| !by_node.contains_key(&**node))
        .take(parallel.saturating_sub(busy));
    pulls.begin = begin.collect();
    let over = by_node.iter().filter(|(node, _)| !wanted.contains(*node));
    pulls.done.extend(over.map(|(_, pod)| (*pod).clone()));
    pulls
}

/// The pod that pulls the images of `set` on `node`. It runs a program that most images have and none needs: whether
/// that ends well or not, the images are there.
fn puller(set: &DaemonSet, hash: &str, node: &str) -> core::Pod {
    let template = set.set.spec.as_ref().and_then(|spec| spec.template.spec.clone());
    let template = template.unwrap_or_default();
    let mut seen = HashSet::new();
    let containers = template
        .init_containers
        .iter()
        .flatten()
        .chain(&template.containers)
        .filter(|container| seen.insert(container.image.clone()))
        .enumerate()
        .map(|(number, container)| Container {
            name: format!("pull-{number}"),
            image: container.image.clone(),
            image_pull_policy: container.image_pull_policy.clone(),
            command: Some(vec!["true".to_owned()]),
            ..Container::default()
        })
        .collect();
    let labels = BTreeMap::from([
        (PRE_PULL_SET.to_owned(), set.uid.to_string()),
        (PRE_PULL_HASH.to_owned(), hash.to_owned()),
    ]);
    core::Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-pull-", set.key.name)),
            namespace: Some(set.key.namespace.to_string()),
            labels: Some(labels),
            // Not its controller: it isn't one of the DaemonSet's pods, but goes with it.
            owner_references: Some(vec![OwnerReference {
                controller: None,
                block_owner_deletion: None,
                ..daemon::owner_reference(&set.set)
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            tolerations: Some(daemon::tolerations_of(&set.set, &template)),
            containers,
            node_name: Some(node.to_owned()),
            restart_policy: Some("Never".to_owned()),
            host_network: template.host_network,
            image_pull_secrets: template.image_pull_secrets,
            service_account_name: template.service_account_name,
            automount_service_account_token: Some(false),
            termination_grace_period_seconds: Some(0),
            priority_class_name: template.priority_class_name,
            ..PodSpec::default()
        }),
        status: None,
    }
}

impl DaemonSets {
    /// Holds back what of `update` waits for images, and sees to it that they are pulled.
    pub(super) async fn pre_pull(
        &self,
        set: &DaemonSet,
        hash: &str,
        parallel: usize,
        update: &mut Replacements,
    ) -> Result<(), kube::Error> {
        let namespace = &set.key.namespace;
        let mut pulling = self.cache.pods.store().by_index(ORPHANS_BY_NAMESPACE, namespace);
        pulling.retain(|pod| pod.labels.get(PRE_PULL_SET).is_some_and(|uid| **uid == *set.uid));
        let nodes = self.cache.nodes.store();
        let is_there = |node: &Arc<str>| nodes.get(&ObjectKey::new("", node.clone())).is_some();
        let pulls = plan(update, hash, parallel, &pulling, is_there);
        let api: Api<Lean<core::Pod>> = Api::namespaced(self.client.clone(), namespace);
        for node in &pulls.begin {
            let made = api
                .create(&PostParams::default(), &Lean(puller(set, hash, node)))
                .await?;
            let made = cached::<PodView>(made);
            self.awaited
                .wrote(&set.uid, &made.key, &made.uid, made.resource_version);
        }
        for pod in &pulls.done {
            match api.delete(&pod.key.name, &DeleteParams::default()).await {
                Err(error) if !api_error::is_not_found(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes away what still pulls for `set`: it doesn't ask for that any more, or nothing is replaced.
    pub(super) async fn end_pulls(&self, set: &DaemonSet) -> Result<(), kube::Error> {
        self.pre_pull(set, "", 0, &mut Replacements::default()).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{names, pod};
    use super::*;
    use orlop_client::informer::Cached;

    fn pulls(name: &str, node: &str, hash: &str, over: bool) -> Pod {
        let pod = pod(name).on(node).build();
        let mut view = pod.object.clone();
        view.labels = crate::owned::testing::labelled(PRE_PULL_HASH, hash);
        if over {
            view.phase = crate::cache::Phase::Succeeded;
        }
        Arc::new(Cached {
            key: pod.key.clone(),
            uid: pod.uid.clone(),
            resource_version: 1,
            object: view,
        })
    }

    #[test]
    fn a_ready_old_pod_goes_once_the_next_image_is_on_its_node() {
        let old = |node: &str| pod(&format!("old-{node}")).on(node).ready().build();
        let broken = pod("old-z").on("z").build();
        let mut update = Replacements {
            delete: vec![broken, old("a"), old("b"), old("gone")],
            next: vec![old("c"), old("d")],
            ..Replacements::default()
        };
        let pulling = [
            pulls("pull-a", "a", "new", true),
            pulls("pull-b", "b", "new", false),
            pulls("pull-x", "x", "new", true),
            pulls("pull-c", "c", "older", true),
        ];
        let pulls = plan(&mut update, "new", 2, &pulling, |node| **node != *"gone");
        assert_eq!(
            names(&update.delete),
            ["old-z", "old-a", "old-gone"],
            "b is being pulled on"
        );
        assert_eq!(pulls.begin, [Arc::<str>::from("c")], "two at a time");
        assert_eq!(names(&pulls.done), ["pull-c", "pull-x"]);
    }
}
