//! Add-ons that a cluster runs already, brought to another version: their images, and the rights that they need. All else that
//! is said of them in the cluster, by people or by programs, stays, but where people lay something over CoreDNS (pure).
use super::{Addon, dns};
use crate::ClusterError;
use crate::config::ClusterConfig;
use crate::patches::{self, Patches};
use crate::versions::numbers;
use serde_json::{Value, json};

/// What an upgrade does to an add-on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// The cluster does without it.
    Absent,
    UpToDate,
    /// It is somebody's own, or newer; why.
    Left(String),
    /// A strategic merge patch of its workload.
    Exchange(Value),
}

impl Addon {
    /// What makes the cluster one that runs it, as kubeadm sees it.
    pub fn config_map(self) -> String {
        format!("/api/v1/namespaces/kube-system/configmaps/{}", self.name())
    }

    /// What runs its pods.
    pub fn workload(self) -> String {
        let plural = match self {
            Addon::CoreDns => "deployments",
            Addon::KubeProxy => "daemonsets",
        };
        format!("/apis/apps/v1/namespaces/kube-system/{plural}/{}", self.name())
    }

    /// What is to be done so that it runs an image, from its ConfigMap and its workload as they are.
    pub fn upgrade(self, config_map: Option<&Value>, workload: Option<&Value>, image: &str) -> Upgrade {
        let (Some(_), Some(workload)) = (config_map, workload) else {
            return Upgrade::Absent;
        };
        let name = self.name();
        let containers = workload.pointer("/spec/template/spec/containers");
        let mut containers = containers.and_then(Value::as_array).into_iter().flatten();
        let Some(container) = containers.find(|container| container["name"] == name) else {
            return Upgrade::Left(format!("it has no container {name}"));
        };
        let now = container["image"].as_str().unwrap_or_default();
        if now == image {
            return Upgrade::UpToDate;
        }
        match (split(now), split(image)) {
            (Some((ours, old)), Some((theirs, new))) if ours == theirs => match new.cmp(&old) {
                std::cmp::Ordering::Less => Upgrade::Left(format!("{now} is newer than {image}")),
                _ => Upgrade::Exchange(patch(name, image)),
            },
            _ => Upgrade::Left(format!("it runs {now}, which is none of the usual ones")),
        }
    }

    /// The workload as it is written anew where people lay something over it: as usual, with that, and with as many replicas as
    /// there are of `workload`. `None`: nothing is laid over it.
    pub fn overlaid(
        self,
        cluster: &ClusterConfig,
        workload: &Value,
        image: &str,
        patches: &Patches,
    ) -> Result<Option<Value>, ClusterError> {
        if self != Addon::CoreDns || !patches.has(patches::COREDNS) {
            return Ok(None);
        }
        let mut objects = dns::objects(cluster, image)?.into_iter();
        let Some(mut usual) = objects.find(|object| object["kind"] == "Deployment") else {
            return Ok(None);
        };
        if let Some(replicas) = workload.pointer("/spec/replicas") {
            usual["spec"]["replicas"] = replicas.clone();
        }
        patches.apply(patches::COREDNS, usual).map(Some)
    }
}

/// Name and version of an image, if it has an ordinary one.
fn split(image: &str) -> Option<(&str, [u32; 3])> {
    let (name, tag) = image.rsplit_once(':')?;
    Some((name, numbers(tag)?))
}

fn patch(name: &str, image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"image": image, "name": name}]}}}})
}

/// Of an add-on's objects those that give it its rights.
pub fn is_right(object: &Value) -> bool {
    let kinds = [
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
    ];
    kinds.iter().any(|kind| object["kind"] == *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(image: &str) -> Value {
        json!({"spec": {"replicas": 5, "template": {"spec": {"containers": [
            {"name": "helper", "image": "a"},
            {"name": "coredns", "image": image},
        ]}}}})
    }

    #[test]
    fn an_image_of_an_older_version_is_exchanged_and_nothing_else() {
        let usual = |tag: &str| format!("registry.k8s.io/coredns/coredns:{tag}");
        let map = json!({});
        let new = usual("v1.13.1");
        for (present, want) in [
            (usual("v1.12.0"), Upgrade::Exchange(patch("coredns", &new))),
            (usual("v1.13.1"), Upgrade::UpToDate),
            (
                usual("v1.14.0"),
                Upgrade::Left(format!("{} is newer than {new}", usual("v1.14.0"))),
            ),
            (
                "mirror.example/dns:v1.12.0".to_owned(),
                Upgrade::Left(
                    "it runs mirror.example/dns:v1.12.0, which is none of the usual ones".to_owned(),
                ),
            ),
            (
                usual("edge"),
                Upgrade::Left(format!(
                    "it runs {}, which is none of the usual ones",
                    usual("edge")
                )),
            ),
        ] {
            let workload = workload(&present);
            assert_eq!(
                Addon::CoreDns.upgrade(Some(&map), Some(&workload), &new),
                want,
                "{present}"
            );
        }
    }

    /// As kubeadm: who has left it out of `init`, or runs another in its place, gets none.
    #[test]
    fn an_addon_that_the_cluster_does_without_is_not_brought_in() {
        let map = json!({});
        let workload = workload("x");
        let of =
            |map, workload| Addon::CoreDns.upgrade(map, workload, "registry.k8s.io/coredns/coredns:v1.13.1");
        assert_eq!(of(None, Some(&workload)), Upgrade::Absent);
        assert_eq!(of(Some(&map), None), Upgrade::Absent);
        let of_others = json!({"spec": {"template": {"spec": {"containers": [{"name": "x"}]}}}});
        assert_eq!(
            of(Some(&map), Some(&of_others)),
            Upgrade::Left("it has no container coredns".to_owned())
        );
    }

    #[test]
    fn what_people_lay_over_coredns_is_laid_over_it_with_an_upgrade_too() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("corednsdeployment.yaml");
        let cluster = ClusterConfig::new("v1.36.0");
        let present = workload("registry.k8s.io/coredns/coredns:v1.12.0");
        let image = "registry.k8s.io/coredns/coredns:v1.13.1";
        let of = |addon: Addon| {
            let patches = Patches::read(directory.path()).unwrap();
            addon.overlaid(&cluster, &present, image, &patches)
        };
        assert_eq!(of(Addon::CoreDns).unwrap(), None);
        std::fs::write(&file, "metadata: {labels: {mine: \"1\"}}\n").unwrap();
        let whole = of(Addon::CoreDns).unwrap().unwrap();
        assert_eq!(crate::objects::path(&whole), Some(Addon::CoreDns.workload()));
        assert_eq!(whole["metadata"]["labels"]["mine"], "1");
        assert_eq!(whole["spec"]["template"]["spec"]["containers"][0]["image"], image);
        assert_eq!(whole["spec"]["replicas"], 5, "as many as there were");
        assert_eq!(of(Addon::KubeProxy).unwrap(), None);
        std::fs::write(&file, "spec: {replicas: 3}\n").unwrap();
        assert_eq!(of(Addon::CoreDns).unwrap().unwrap()["spec"]["replicas"], 3);
        std::fs::write(&file, "spec: 7\n").unwrap();
        let error = of(Addon::CoreDns).unwrap_err().to_string();
        assert!(error.contains("corednsdeployment.yaml"), "{error}");
    }

    #[test]
    fn what_is_applied_beside_the_image_are_rights() {
        let cluster = ClusterConfig::new("v1.36.0");
        for addon in Addon::ALL {
            let objects = addon.objects(&cluster, "https://x", "image").unwrap();
            let kept: Vec<&Value> = objects.iter().filter(|object| !is_right(object)).collect();
            let kinds: Vec<&str> = kept.iter().filter_map(|object| object["kind"].as_str()).collect();
            match addon {
                Addon::CoreDns => assert_eq!(kinds, ["ConfigMap", "Service", "Deployment"]),
                Addon::KubeProxy => assert_eq!(kinds, ["ConfigMap", "DaemonSet"]),
            }
            for object in kept {
                let path = crate::objects::path(object).unwrap();
                let known = [addon.config_map(), addon.workload()];
                assert!(known.contains(&path) || object["kind"] == "Service", "{path}");
            }
        }
    }
}
