//! Which images a cluster is made of (pure).
use crate::addons::Addon;
use crate::config::ClusterConfig;
use serde_json::{Value, json};

/// In kubeadm's order; the sandboxes' is the runtime's own affair. `etcd_tag`: that of etcd, where the cluster's configuration
/// says none.
pub fn list(cluster: &ClusterConfig, etcd_tag: &str) -> Vec<String> {
    let mut cluster = cluster.clone();
    if cluster.etcd_tag.is_empty() {
        etcd_tag.clone_into(&mut cluster.etcd_tag);
    }
    let parts = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
    let mut images: Vec<String> = parts.iter().map(|part| cluster.image(part)).collect();
    let addons = [Addon::KubeProxy, Addon::CoreDns].into_iter();
    let addons = addons.filter(|addon| !cluster.without.contains(addon));
    images.extend(addons.map(|addon| addon.image(&cluster, std::iter::empty()).name));
    images.push(cluster.image("etcd"));
    images
}

/// As `kubeadm config images list -o json` shows them.
pub fn described(images: &[String]) -> Value {
    json!({
        "apiVersion": "output.kubeadm.k8s.io/v1alpha3",
        "images": images,
        "kind": "Images",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_listed_in_kubeadms_order() {
        let mut cluster = ClusterConfig::new("v1.36.0");
        assert_eq!(
            list(&cluster, "3.6.8-0"),
            [
                "registry.k8s.io/kube-apiserver:v1.36.0",
                "registry.k8s.io/kube-controller-manager:v1.36.0",
                "registry.k8s.io/kube-scheduler:v1.36.0",
                "registry.k8s.io/kube-proxy:v1.36.0",
                "registry.k8s.io/coredns/coredns:v1.14.2",
                "registry.k8s.io/etcd:3.6.8-0",
            ]
        );
        cluster.image_repository = "mirror.example".to_owned();
        cluster.etcd_tag = "3.5.21-0".to_owned();
        cluster.dns.tag = Some("v1.13.1".to_owned());
        cluster.without = vec![Addon::KubeProxy];
        let images = list(&cluster, "3.6.8-0");
        assert_eq!(
            images[3..],
            ["mirror.example/coredns:v1.13.1", "mirror.example/etcd:3.5.21-0"]
        );
        assert_eq!(described(&images)["images"][4], images[4]);
    }
}
