use super::*;
use crate::layout::COMPONENTS;

fn cluster() -> ClusterConfig {
    ClusterConfig {
        etcd_tag: "3.5.21-0".to_owned(),
        pod_subnet: Some("10.244.0.0/16".to_owned()),
        ..ClusterConfig::new("v1.36.0")
    }
}

fn node() -> NodeConfig {
    crate::testing::node("master-01")
}

fn rendered(component: &str, cluster: &ClusterConfig, members: &InitialCluster, root: &str) -> Value {
    let machine = Machine {
        root: Path::new(root),
        ca_directories: &["/usr/share/ca-certificates"],
        has_key: true,
    };
    render(component, cluster, &node(), members, machine).unwrap()
}

#[test]
fn controllers_sign_only_where_the_authoritys_key_is() {
    for (has_key, want) in [(true, "/etc/kubernetes/pki/ca.key"), (false, "")] {
        let machine = Machine {
            root: Path::new("/"),
            ca_directories: &[],
            has_key,
        };
        let component = "kube-controller-manager";
        let members = InitialCluster::default();
        let pod = render(component, &cluster(), &node(), &members, machine).unwrap();
        let flag = format!("--cluster-signing-key-file={want}");
        assert!(command(&pod).contains(&flag.as_str()), "{pod}");
        assert!(command(&pod).contains(&"--root-ca-file=/etc/kubernetes/pki/ca.crt"));
    }
}

fn plain(component: &str) -> Value {
    rendered(component, &cluster(), &InitialCluster::default(), "/")
}

fn command(pod: &Value) -> Vec<&str> {
    let words = pod["spec"]["containers"][0]["command"].as_array().unwrap();
    words.iter().map(|word| word.as_str().unwrap()).collect()
}

/// Contract, static and mirror pods, §9.
#[test]
fn every_manifest_has_kubeadms_frame() {
    for component in COMPONENTS {
        let pod = plain(component);
        let (meta, spec) = (&pod["metadata"], &pod["spec"]);
        assert_eq!(meta["namespace"], "kube-system");
        assert_eq!(meta["labels"]["component"], component);
        assert_eq!(meta["labels"]["tier"], "control-plane");
        assert_eq!(spec["hostNetwork"], true);
        assert_eq!(spec["priority"], 2_000_001_000);
        assert_eq!(spec["priorityClassName"], "system-node-critical");
        assert_eq!(
            spec["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        let container = &spec["containers"][0];
        assert_eq!(container["name"], component);
        assert_eq!(container["imagePullPolicy"], "IfNotPresent");
        assert_eq!(container["ports"][0]["name"], "probe-port");
        for probe in ["livenessProbe", "startupProbe"] {
            assert_eq!(
                container[probe]["httpGet"]["port"], "probe-port",
                "{component} {probe}"
            );
            assert_eq!(container[probe]["initialDelaySeconds"], 10);
            assert_eq!(container[probe]["timeoutSeconds"], 15);
        }
        assert_eq!(container["startupProbe"]["failureThreshold"], 24);
        for volume in spec["volumes"].as_array().unwrap() {
            assert!(volume["hostPath"]["path"].is_string(), "{component}: {volume}");
        }
        let flags: Vec<&str> = command(&pod)[1..].to_vec();
        let mut sorted = flags.clone();
        sorted.sort_unstable_by_key(|flag| flag.split('=').next());
        assert_eq!(flags, sorted, "{component}");
    }
}

#[test]
fn images_are_upstreams_names() {
    for (component, want) in [
        ("etcd", "registry.k8s.io/etcd:3.5.21-0"),
        ("kube-apiserver", "registry.k8s.io/kube-apiserver:v1.36.0"),
        (
            "kube-controller-manager",
            "registry.k8s.io/kube-controller-manager:v1.36.0",
        ),
        ("kube-scheduler", "registry.k8s.io/kube-scheduler:v1.36.0"),
    ] {
        assert_eq!(plain(component)["spec"]["containers"][0]["image"], want);
    }
}

#[test]
fn probes_ask_where_the_component_listens() {
    for (component, scheme, host, port, live, ready) in [
        ("etcd", "HTTP", "127.0.0.1", 2381, "/livez", Some("/readyz")),
        (
            "kube-apiserver",
            "HTTPS",
            "10.0.0.1",
            6443,
            "/livez",
            Some("/readyz"),
        ),
        (
            "kube-controller-manager",
            "HTTPS",
            "127.0.0.1",
            10257,
            "/healthz",
            None,
        ),
        (
            "kube-scheduler",
            "HTTPS",
            "127.0.0.1",
            10259,
            "/livez",
            Some("/readyz"),
        ),
    ] {
        let pod = plain(component);
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["ports"][0]["containerPort"], port);
        let get = &container["livenessProbe"]["httpGet"];
        assert_eq!(
            (&get["scheme"], &get["host"], &get["path"]),
            (&scheme.into(), &host.into(), &live.into())
        );
        assert_eq!(
            container["readinessProbe"]["httpGet"]["path"].as_str(),
            ready,
            "{component}"
        );
    }
}

/// As kubeadm: the first of the URLs that the configuration gives.
#[test]
fn etcd_is_asked_where_it_is_told_to_tell_of_its_health() {
    for (urls, scheme, host, port) in [
        ("http://127.0.0.1:2481", "HTTP", "127.0.0.1", 2481),
        ("http://0.0.0.0:2381", "HTTP", "127.0.0.1", 2381),
        (
            "https://10.0.0.1:9379,http://127.0.0.1:2381",
            "HTTPS",
            "10.0.0.1",
            9379,
        ),
        ("http://[fd00::1]:2381", "HTTP", "fd00::1", 2381),
        ("http://[::]:2481", "HTTP", "127.0.0.1", 2481),
        ("http://etcd.example", "HTTP", "etcd.example", 2381),
        ("", "HTTP", "127.0.0.1", 2381),
        ("a b", "HTTP", "127.0.0.1", 2381),
    ] {
        let text = format!(
            "kubernetesVersion: v1.36.0\netcd: {{local: {{extraArgs: [{{name: listen-metrics-urls, value: \"{urls}\"}}]}}}}\n"
        );
        let config = ClusterConfig::from_yaml(&text).unwrap();
        let pod = rendered("etcd", &config, &InitialCluster::default(), "/");
        let container = &pod["spec"]["containers"][0];
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            let get = &container[probe]["httpGet"];
            assert_eq!(
                (
                    &get["scheme"],
                    &get["host"],
                    &container["ports"][0]["containerPort"]
                ),
                (&scheme.into(), &host.into(), &port.into()),
                "{urls}"
            );
        }
    }
}

/// Older versions end at a flag they don't know.
#[test]
fn etcd_gets_what_its_version_understands() {
    for (tag, has, has_not, live) in [
        (
            "3.4.23-0",
            "--experimental-initial-corrupt-check=true",
            "watch-progress",
            "/health?exclude=NOSPACE&serializable=true",
        ),
        (
            "3.5.21-0",
            "--experimental-watch-progress-notify-interval=5s",
            "feature-gates",
            "/livez",
        ),
        (
            "3.6.5-0",
            "--watch-progress-notify-interval=5s",
            "experimental",
            "/livez",
        ),
    ] {
        let cluster = ClusterConfig {
            etcd_tag: tag.to_owned(),
            ..cluster()
        };
        let pod = rendered("etcd", &cluster, &InitialCluster::default(), "/");
        assert!(command(&pod).contains(&has), "{tag}");
        assert!(!command(&pod).iter().any(|word| word.contains(has_not)), "{tag}");
        assert_eq!(
            pod["spec"]["containers"][0]["livenessProbe"]["httpGet"]["path"],
            live
        );
    }
}

#[test]
fn a_member_that_joins_knows_the_others() {
    let members = InitialCluster {
        members: vec![
            ("a".to_owned(), "https://10.0.0.2:2380".to_owned()),
            ("master-01".to_owned(), "https://10.0.0.1:2380".to_owned()),
        ],
    };
    let pod = rendered("etcd", &cluster(), &members, "/");
    let words = command(&pod);
    assert!(words.contains(&"--initial-cluster-state=existing"));
    assert!(
        words.contains(&"--initial-cluster=a=https://10.0.0.2:2380,master-01=https://10.0.0.1:2380"),
        "{words:?}"
    );
    let alone = plain("etcd");
    let words = command(&alone);
    assert!(words.contains(&"--initial-cluster=master-01=https://10.0.0.1:2380"));
    assert!(!words.iter().any(|word| word.contains("initial-cluster-state")));
}

#[test]
fn the_root_moves_host_paths_and_nothing_else() {
    let pod = rendered(
        "kube-apiserver",
        &cluster(),
        &InitialCluster::default(),
        "/srv/n1",
    );
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let certs = volumes
        .iter()
        .find(|volume| volume["name"] == "k8s-certs")
        .unwrap();
    assert_eq!(certs["hostPath"]["path"], "/srv/n1/etc/kubernetes/pki");
    let names: Vec<&str> = volumes
        .iter()
        .filter_map(|volume| volume["name"].as_str())
        .collect();
    assert_eq!(names, ["ca-certs", "k8s-certs", "usr-share-ca-certificates"]);
    assert!(command(&pod).contains(&"--client-ca-file=/etc/kubernetes/pki/ca.crt"));
}

#[test]
fn ranges_of_pods_are_given_out_only_when_there_is_one() {
    let pod = plain("kube-controller-manager");
    assert!(command(&pod).contains(&"--cluster-cidr=10.244.0.0/16"));
    assert!(command(&pod).contains(&"--service-cluster-ip-range=10.96.0.0/12"));
    let without = ClusterConfig {
        pod_subnet: None,
        ..cluster()
    };
    let pod = rendered(
        "kube-controller-manager",
        &without,
        &InitialCluster::default(),
        "/",
    );
    let of_ranges = |word: &&str| word.contains("cidr") || word.contains("range");
    assert!(!command(&pod).iter().any(of_ranges), "{pod}");
}

#[test]
fn what_the_configuration_adds_is_in_the_manifest() {
    let text = r#"
kubernetesVersion: v1.36.0
apiServer:
  extraArgs:
  - {name: authorization-mode, value: "Node,RBAC,Webhook"}
  - {name: audit-policy-file, value: /etc/audit/policy.yaml}
  - {name: runtime-config, value: a=true}
  - {name: runtime-config, value: b=true}
  extraEnvs:
  - {name: GOGC, value: "50"}
  extraVolumes:
  - {name: audit, hostPath: /etc/audit, mountPath: /etc/audit, readOnly: true, pathType: DirectoryOrCreate}
controllerManager:
  extraArgs: {bind-address: 0.0.0.0}
scheduler:
  extraArgs: {bind-address: 10.0.0.1}
"#;
    let config = ClusterConfig::from_yaml(text).unwrap();
    let pod = rendered("kube-apiserver", &config, &InitialCluster::default(), "/");
    let words = command(&pod);
    let modes: Vec<&&str> = words
        .iter()
        .filter(|word| word.starts_with("--authorization-mode="))
        .collect();
    assert_eq!(modes, [&"--authorization-mode=Node,RBAC,Webhook"]);
    for want in [
        "--audit-policy-file=/etc/audit/policy.yaml",
        "--runtime-config=a=true",
        "--runtime-config=b=true",
    ] {
        assert!(words.contains(&want), "{words:?}");
    }
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["env"][0]["name"], "GOGC");
    assert_eq!(
        container["volumeMounts"][0],
        serde_json::json!({"name": "audit", "mountPath": "/etc/audit", "readOnly": true})
    );
    assert_eq!(
        pod["spec"]["volumes"][0],
        serde_json::json!({"name": "audit", "hostPath": {"path": "/etc/audit", "type": "DirectoryOrCreate"}})
    );
    for (component, host) in [
        ("kube-controller-manager", "127.0.0.1"),
        ("kube-scheduler", "10.0.0.1"),
    ] {
        let pod = rendered(component, &config, &InitialCluster::default(), "/");
        assert_eq!(
            pod["spec"]["containers"][0]["livenessProbe"]["httpGet"]["host"],
            host
        );
    }
}
