use super::*;
use crate::objects::path;

fn cluster() -> ClusterConfig {
    ClusterConfig {
        pod_subnet: Some("10.244.0.0/16".to_owned()),
        ..ClusterConfig::new("v1.36.0")
    }
}

fn paths(addon: Addon) -> Vec<String> {
    let objects = addon
        .objects(&cluster(), "https://10.0.0.1:6443", "example/image:v1")
        .unwrap();
    objects.iter().map(|object| path(object).unwrap()).collect()
}

/// Issue 7: its kube-proxy DaemonSet and CoreDNS Deployment objects.
#[test]
fn objects_have_kubeadms_names() {
    assert_eq!(
        paths(Addon::KubeProxy),
        [
            "/api/v1/namespaces/kube-system/serviceaccounts/kube-proxy",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kubeadm:node-proxier",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/roles/kube-proxy",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings/kube-proxy",
            "/api/v1/namespaces/kube-system/configmaps/kube-proxy",
            "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy",
        ]
    );
    assert_eq!(
        paths(Addon::CoreDns),
        [
            "/api/v1/namespaces/kube-system/serviceaccounts/coredns",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:coredns",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/system:coredns",
            "/api/v1/namespaces/kube-system/configmaps/coredns",
            "/api/v1/namespaces/kube-system/services/kube-dns",
            "/apis/apps/v1/namespaces/kube-system/deployments/coredns",
        ]
    );
}

#[test]
fn what_depends_on_the_cluster_is_put_in() {
    let proxy = Addon::KubeProxy
        .objects(&cluster(), "https://10.0.0.1:6443", "example/kube-proxy:v1.36.0")
        .unwrap();
    let config = &proxy[4]["data"];
    assert!(config["config.conf"].as_str().unwrap().contains("10.244.0.0/16"));
    assert!(
        config["kubeconfig.conf"]
            .as_str()
            .unwrap()
            .contains("https://10.0.0.1:6443")
    );
    let container = &proxy[5]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "example/kube-proxy:v1.36.0");
    let dns = Addon::CoreDns
        .objects(&cluster(), "", "example/coredns:v1")
        .unwrap();
    assert_eq!(dns[4]["spec"]["clusterIP"], "10.96.0.10");
    let corefile = dns[3]["data"]["Corefile"].as_str().unwrap();
    assert!(
        corefile.contains("\n    kubernetes cluster.local in-addr.arpa ip6.arpa {\n       pods insecure\n")
    );
    assert!(corefile.starts_with(".:53 {\n    errors\n") && corefile.ends_with("\n    loadbalance\n}\n"));
}

#[test]
fn the_newest_image_that_is_present_is_run() {
    let present = [
        "registry.k8s.io/coredns/coredns:v1.9.4",
        "registry.k8s.io/coredns/coredns:v1.12.1",
        "registry.k8s.io/coredns/coredns:latest",
        "registry.k8s.io/kube-proxy:v1.35.0",
    ];
    let image = |addon: Addon, present: &[&str]| {
        let image = addon.image(&cluster(), present.iter().copied());
        (image.name, image.is_present)
    };
    assert_eq!(
        image(Addon::CoreDns, &present),
        ("registry.k8s.io/coredns/coredns:v1.12.1".to_owned(), true)
    );
    let proxy = "registry.k8s.io/kube-proxy:v1.36.0".to_owned();
    assert_eq!(image(Addon::KubeProxy, &present), (proxy.clone(), false));
    assert_eq!(image(Addon::KubeProxy, &[&proxy]), (proxy.clone(), true));
    let mirrored = ClusterConfig {
        image_repository: "mirror.example".to_owned(),
        ..cluster()
    };
    let image = Addon::CoreDns.image(&mirrored, std::iter::empty());
    assert_eq!(image.name, format!("mirror.example/coredns:{COREDNS_TAG}"));
    let text = "kubernetesVersion: v1.36.0\ndns: {imageRepository: dns.example, imageTag: v1.12.4}\n";
    let chosen = ClusterConfig::from_yaml(text).unwrap();
    let image = Addon::CoreDns.image(&chosen, ["dns.example/coredns:v1.13.0"].into_iter());
    assert_eq!(
        (image.name.as_str(), image.is_present),
        ("dns.example/coredns:v1.12.4", false)
    );
}

#[test]
fn addons_are_skipped_in_kubeadms_words() {
    let of = |words: &[&str]| {
        skipped(&words.iter().map(ToString::to_string).collect::<Vec<_>>()).map_err(|e| e.to_string())
    };
    assert_eq!(of(&[]).unwrap(), []);
    assert_eq!(of(&["addon/coredns"]).unwrap(), [Addon::CoreDns]);
    assert_eq!(of(&["addon"]).unwrap(), Addon::ALL);
    assert!(of(&["etcd"]).unwrap_err().contains("\"etcd\" cannot be skipped"));
}

/// As kubeadm: `disabled` leaves one out, and what was left out is `disabled` in what the cluster says of itself.
#[test]
fn an_addon_that_is_disabled_is_done_without() {
    let text = "apiVersion: kubeadm.k8s.io/v1beta4\nkubernetesVersion: v1.36.0\n\
                dns: {disabled: false}\nproxy: {disabled: true}\n";
    let config = ClusterConfig::from_yaml(text).unwrap();
    assert_eq!(config.without, [Addon::KubeProxy]);
    let both = config.also_without(&[Addon::KubeProxy, Addon::CoreDns]);
    assert_eq!(both.without, [Addon::KubeProxy, Addon::CoreDns]);
    let kept = ClusterConfig::from_yaml(&both.to_yaml().unwrap()).unwrap();
    assert_eq!(kept.without, Addon::ALL);
    assert_eq!(kept.dns, both.dns);
    let older = json!({"apiVersion": "kubeadm.k8s.io/v1beta3", "kind": "ClusterConfiguration"});
    let older = ClusterConfig::from_given(&older, "v1.36.0").unwrap();
    let older = older.also_without(&Addon::ALL).to_yaml().unwrap();
    assert!(!older.contains("disabled"), "{older}");
}

#[test]
fn what_people_lay_over_coredns_is_in_its_deployment_alone_or_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let patched = |addon: Addon, text: &str| {
        std::fs::write(directory.path().join("corednsdeployment.yaml"), text).unwrap();
        let patches = Patches::read(directory.path()).unwrap();
        addon.patched(&cluster(), "https://10.0.0.1:6443", "example/image:v1", &patches)
    };
    let objects = patched(Addon::CoreDns, "spec: {replicas: 5}\n").unwrap();
    let replicas: Vec<&Value> = objects
        .iter()
        .filter_map(|object| object.pointer("/spec/replicas"))
        .collect();
    assert_eq!(replicas, [&json!(5)]);
    let error = patched(Addon::CoreDns, "spec: 7\n").unwrap_err().to_string();
    assert!(error.contains("corednsdeployment.yaml"), "{error}");
    patched(Addon::KubeProxy, "spec: 7\n").unwrap();
}
