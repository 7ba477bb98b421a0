//! What a cluster is of little use without, and what runs as ordinary pods: the proxy of Services and their names, as
//! kubeadm lays them out (pure).
mod dns;
mod proxy;
pub mod upgrade;

use crate::ClusterError;
use crate::config::{ClusterConfig, IMAGE_REPOSITORY};
use crate::patches::{self, Patches};
use serde_json::{Value, json};

/// The CoreDNS that is asked for where no image of one is present.
const COREDNS_TAG: &str = "v1.14.2";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addon {
    CoreDns,
    KubeProxy,
}

impl Addon {
    pub const ALL: [Addon; 2] = [Addon::CoreDns, Addon::KubeProxy];

    /// As phases and flags call it.
    pub fn name(self) -> &'static str {
        match self {
            Addon::CoreDns => "coredns",
            Addon::KubeProxy => "kube-proxy",
        }
    }

    /// Where a ClusterConfiguration speaks of it.
    pub fn field(self) -> &'static str {
        match self {
            Addon::CoreDns => "dns",
            Addon::KubeProxy => "proxy",
        }
    }

    /// What people know it as.
    pub fn title(self) -> &'static str {
        match self {
            Addon::CoreDns => "CoreDNS",
            Addon::KubeProxy => "kube-proxy",
        }
    }

    /// The image that is run: the newest of `present`, or the usual one.
    pub fn image<'a>(self, cluster: &ClusterConfig, present: impl Iterator<Item = &'a str>) -> Image {
        let repository = match (self, &cluster.dns.repository) {
            (Addon::CoreDns, Some(repository)) => repository,
            _ => &cluster.image_repository,
        };
        let name = match self {
            // Upstream's registry has it a level deeper than mirrors have.
            Addon::CoreDns if repository == IMAGE_REPOSITORY => format!("{repository}/coredns/coredns"),
            Addon::CoreDns => format!("{repository}/coredns"),
            Addon::KubeProxy => format!("{repository}/kube-proxy"),
        };
        let mut tags = present.filter_map(|image| image.strip_prefix(&name)?.strip_prefix(':'));
        let asked_for = match self {
            Addon::CoreDns => cluster.dns.tag.as_deref(),
            Addon::KubeProxy => Some(cluster.kubernetes_version.as_str()),
        };
        let found = match asked_for {
            None => tags
                .filter_map(|tag| Some((crate::versions::numbers(tag)?, tag)))
                .max()
                .map(|(_, tag)| tag),
            Some(asked_for) => tags.find(|tag| *tag == asked_for),
        };
        let usual = asked_for.unwrap_or(COREDNS_TAG);
        Image {
            name: format!("{name}:{}", found.unwrap_or(usual)),
            is_present: found.is_some(),
        }
    }

    /// Everything that is written of it. `server`: where pods find the API, which they need before there are Services.
    pub fn objects(
        self,
        cluster: &ClusterConfig,
        server: &str,
        image: &str,
    ) -> Result<Vec<Value>, ClusterError> {
        match self {
            Addon::CoreDns => dns::objects(cluster, image),
            Addon::KubeProxy => proxy::objects(cluster, server, image),
        }
    }

    /// The same with what people lay over it.
    pub fn patched(
        self,
        cluster: &ClusterConfig,
        server: &str,
        image: &str,
        patches: &Patches,
    ) -> Result<Vec<Value>, ClusterError> {
        let objects = self.objects(cluster, server, image)?.into_iter();
        // CoreDNS alone has one.
        let patched = objects.map(|object| match object["kind"] == "Deployment" {
            true => patches.apply(patches::COREDNS, object),
            false => Ok(object),
        });
        patched.collect()
    }
}

/// An add-on's image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub name: String,
    /// The runtime of this node has it.
    pub is_present: bool,
}

/// Which add-ons are left out by `--skip-phases`, in kubeadm's words.
pub fn skipped(phases: &[String]) -> Result<Vec<Addon>, ClusterError> {
    let mut skipped = Vec::new();
    for phase in phases {
        match phase.as_str() {
            "addon" => skipped.extend(Addon::ALL),
            "addon/coredns" => skipped.push(Addon::CoreDns),
            "addon/kube-proxy" => skipped.push(Addon::KubeProxy),
            other => {
                return Err(ClusterError::Configuration(format!(
                    "phase {other:?} cannot be skipped: only addon, addon/coredns and addon/kube-proxy can"
                )));
            }
        }
    }
    Ok(skipped)
}

/// An account of the system's pods.
fn account(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": "kube-system"},
    })
}

/// Gives an account a role of the whole cluster.
fn cluster_binding(name: &str, role: &str, account: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}],
    })
}

#[cfg(test)]
mod tests;
