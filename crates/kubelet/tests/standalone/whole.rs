//! Agents with cgroups, volumes, probes, Node object and server, on a real containerd.
use crate::node::{self, Node};
use k8s_openapi::api::core::v1::{ConfigMap, Node as NodeObject, Pod};
use kube::Api;
use kube::api::{DeleteParams, LogParams, Patch, PatchParams, PostParams};
use orlop_apiserver::{ApiServer, KubeletClientTls, UserInfo};
use orlop_cri::RuntimeService;
use orlop_kubelet::config::KubeletConfiguration;
use orlop_pki::{Authority, Identity, LeafRequest, ServingFiles, Usage};
use orlop_ports::free_port;
use orlop_store::embedded::{EmbeddedStore, Options};
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn local() -> KubeletConfiguration {
    KubeletConfiguration {
        address: "127.0.0.1".into(),
        port: free_port(),
        healthz_port: free_port(),
        ..KubeletConfiguration::default()
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn is_mounted(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.contains(&path.display().to_string())
}

/// N11 and A58, on the read-only port; what became of the manifest, on the node's own socket.
async fn measurements_are_there(node: &Node, port: u16) {
    let get = |path: &str| {
        let stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        plain_get(stream, path)
    };
    let memory = "container_memory_working_set_bytes{container=\"c\",namespace=\"default\",pod=\"web-n1\"} ";
    node.until("the container's memory", || {
        get("/metrics/resource").contains(memory)
    })
    .await;
    let resource = get("/metrics/resource");
    assert!(resource.starts_with("HTTP/1.1 200"), "{resource}");
    let value = |series: &str| -> f64 {
        let line = resource.lines().find_map(|line| line.strip_prefix(series));
        let value = line.and_then(|rest| rest.split_whitespace().next());
        value
            .unwrap_or_else(|| panic!("{series} in\n{resource}"))
            .parse()
            .unwrap()
    };
    let cpu = "cpu_usage_seconds_total{container=\"c\",namespace=\"default\",pod=\"web-n1\"} ";
    assert!(value(memory) > 0.0 && value(&format!("container_{cpu}")) > 0.0);
    assert!(value("node_memory_working_set_bytes ") > value(memory));
    assert!(value("node_cpu_usage_seconds_total ") > value(&format!("container_{cpu}")));
    assert!(resource.contains("\nresource_scrape_error 0\n"), "{resource}");

    let summary = get("/stats/summary");
    let body = summary.split("\r\n\r\n").nth(1).unwrap();
    let summary: serde_json::Value = serde_json::from_str(body).unwrap();
    let pod = &summary["pods"][0];
    assert_eq!(pod["podRef"]["name"], "web-n1", "{summary}");
    assert!(pod["memory"]["workingSetBytes"].as_u64().unwrap() > 0, "{pod}");
    assert!(pod["containers"][0]["rootfs"]["usedBytes"].is_u64(), "{pod}");
    assert!(
        pod["volume"]
            .as_array()
            .unwrap()
            .iter()
            .any(|volume| volume["name"] == "memory")
    );
    // What images take, containerd counts every 10 s.
    let images = &summary["node"]["runtime"]["imageFs"];
    assert!(images["usedBytes"].is_u64() && images["capacityBytes"].as_u64().unwrap() > 0);
    let cadvisor = get("/metrics/cadvisor");
    assert!(cadvisor.contains("container_cpu_usage_seconds_total{container=\"c\",cpu=\"total\""));
    let agent = get("/metrics");
    for series in [
        "kubelet_started_containers_total{container_type=\"container\"} 1",
        "kubelet_active_pods{static=\"true\"} 1",
        "kubelet_working_pods{lifecycle=\"sync\",config=\"desired\",static=\"true\"} 1",
        "kubelet_pod_start_duration_seconds_count 1",
    ] {
        assert!(agent.lines().any(|line| line == series), "{series} in\n{agent}");
    }
    // A young agent lets a part of the period pass before the first one.
    let probed = "probe_type=\"Liveness\",result=\"successful\"";
    node.until("a probe", || get("/metrics/probes").contains(probed))
        .await;
    assert!(get("/configz").starts_with("HTTP/1.1 404"));
    assert!(get("/runningpods/").starts_with("HTTP/1.1 405"));

    let body = |answer: String| -> serde_json::Value {
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {answer}"))
    };
    let pods = body(get("/pods"));
    let pod = &pods["items"][0];
    assert_eq!(
        (&pod["metadata"]["name"], &pod["status"]["phase"]),
        (&json!("web-n1"), &json!("Running"))
    );
    let socket = UnixStream::connect(node.path("control.sock")).unwrap();
    let status = body(plain_get(socket, "/status"));
    let manifest = &status["manifests"][0];
    assert!(
        manifest["manifest"].as_str().unwrap().ends_with("/web.yaml"),
        "{status}"
    );
    assert_eq!(
        (&manifest["pod"], &manifest["phase"], &manifest["ready"]),
        (&json!("web-n1_default"), &json!("Running"), &json!(true))
    );
}

/// E05, E08, E09, E11, R02, S07, C11: a static pod with everything around it, from its manifest to its removal.
#[tokio::test(flavor = "multi_thread")]
async fn a58_n11_static_pod_gets_its_surroundings_and_gives_them_back() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    let configuration = KubeletConfiguration {
        read_only_port: free_port(),
        ..local()
    };
    let (healthz_port, read_only_port) = (configuration.healthz_port, configuration.read_only_port);
    let agent = node.whole_agent(configuration, None, None).await;
    let shared = node.path("shared");
    let script = "rm -f /shared/sick; echo \"$B\" > /shared/variable; cp /etc/hosts /shared/hosts; \
        df -k /memory | tail -1 > /shared/df; trap exit TERM; while :; do sleep 0.1; done";
    let probe = |test: &str| json!({"exec": {"command": ["sh", "-c", test]}, "periodSeconds": 1, "failureThreshold": 1});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {
            "hostNetwork": true, "terminationGracePeriodSeconds": 1,
            "hostAliases": [{"ip": "192.0.2.9", "hostnames": ["elsewhere"]}],
            "volumes": [
                {"name": "shared", "hostPath": {"path": shared, "type": "DirectoryOrCreate"}},
                {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}},
            ],
            "containers": [{
                "name": "c", "image": node::BUSYBOX, "command": ["sh", "-c", script],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}],
                "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
                "volumeMounts": [{"name": "shared", "mountPath": "/shared"}, {"name": "memory", "mountPath": "/memory"}],
                "livenessProbe": probe("test ! -e /shared/sick"),
            }],
        },
    });
    node.write_manifest("web.yaml", &pod.to_string());
    let first = node.one_running().await;
    node.until("the size of its memory volume", || {
        !read(&shared.join("df")).is_empty()
    })
    .await;
    assert_eq!(read(&shared.join("variable")), "12");
    let hosts = read(&shared.join("hosts"));
    assert!(
        hosts.starts_with("# Kubernetes-managed hosts file (host network)."),
        "{hosts}"
    );
    assert!(hosts.ends_with("192.0.2.9\telsewhere"), "{hosts}");
    let df = read(&shared.join("df"));
    assert_eq!(df.split_whitespace().nth(1), Some("4096"), "{df}");

    for directory in ["kubelet", "kubelet/pods"] {
        let mode = node.path(directory).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750, "{directory}");
    }
    let directories: Vec<_> = std::fs::read_dir(node.path("kubelet/pods"))
        .unwrap()
        .flatten()
        .collect();
    let uid = directories[0].file_name().into_string().unwrap();
    let cgroup = |controller| node.cgroup(controller, &format!("kubepods/burstable/pod{uid}"));
    if cgroup("cpu").join("cpu.shares").exists() {
        assert_eq!(read(&cgroup("cpu").join("cpu.shares")), "102");
        assert_eq!(
            read(&cgroup("memory").join("memory.limit_in_bytes")),
            (64 << 20).to_string()
        );
        let burstable = node.cgroup("cpu", "kubepods/burstable/cpu.shares");
        assert_eq!(read(&burstable), "102");
    }
    let id = first.clone();
    let status = node
        .remote()
        .container_status(&id, false)
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(status.mounts.len(), 4, "{:?}", status.mounts);

    let stream = std::net::TcpStream::connect(("127.0.0.1", healthz_port)).unwrap();
    assert!(plain_get(stream, "/healthz").ends_with("ok"));
    measurements_are_there(&node, read_only_port).await;

    std::fs::write(shared.join("sick"), "").unwrap();
    let second = node.one_running_but(&first).await;
    let status = node
        .remote()
        .container_status(&second, false)
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(status.metadata.unwrap().attempt, 1);

    node.remove_manifest("web.yaml");
    node.until_none().await;
    let pods = node.path("kubelet/pods");
    node.until("its directory to go", || {
        std::fs::read_dir(&pods).unwrap().next().is_none()
    })
    .await;
    node.until("its cgroups to go", || {
        let hierarchies = ["cpu", "memory", "pids", "devices", "freezer", "systemd"];
        hierarchies.iter().all(|hierarchy| !cgroup(hierarchy).exists())
    })
    .await;
    assert!(!is_mounted(&pods));
    agent.stop().await;
    node.finish().await;
}

fn plain_get(mut stream: impl Read + Write, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// E01, E02, E03, E12, N01, N09: a pod of the API server, with its objects, its log, and an agent that is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn api_pod_sees_its_objects_and_is_seen() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    let authority = Authority::ensure(&node.path("pki"), "ca", "kubernetes").unwrap();
    let leaf = |identity, usage| {
        authority
            .sign(&LeafRequest {
                identity,
                usage,
                dns_names: vec![],
                addresses: vec!["127.0.0.1".parse().unwrap()],
            })
            .unwrap()
    };
    let caller = leaf(Identity::new("kube-apiserver-kubelet-client", &[]), Usage::Client);
    let own = leaf(Identity::new("system:node:n1", &["system:nodes"]), Usage::Server);
    let tls = || {
        let tls = orlop_pki::server_config(&own.certificate, &own.key, authority.certificate()).unwrap();
        Arc::new(ServingFiles::fixed(tls))
    };
    let store = EmbeddedStore::open(&node.path("store"), Options::default()).unwrap();
    let mut config = orlop_apiserver::Config::new("127.0.0.1:6443".parse().unwrap());
    config.kubelet_client = KubeletClientTls {
        ca: Some(authority.certificate().to_owned()),
        identity: Some(caller.clone().into()),
    };
    let server = ApiServer::start(config, store).await.unwrap();
    let admin = orlop_client::in_process(server.in_process(UserInfo::admin("test")));
    let of_node = || {
        let user = UserInfo::new("system:node:n1", ["system:nodes"]);
        orlop_client::in_process(server.in_process(user))
    };
    let configuration = local();
    let agent = node
        .whole_agent(configuration.clone(), Some(of_node()), Some(tls()))
        .await;

    let nodes: Api<NodeObject> = Api::all(admin.clone());
    let is_ready = |node: &NodeObject| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    };
    node.until_async("a ready node", || async {
        nodes
            .get_opt("n1")
            .await
            .unwrap()
            .is_some_and(|node| is_ready(&node))
    })
    .await;
    let info = nodes.get("n1").await.unwrap().status.unwrap().node_info.unwrap();
    assert!(
        info.container_runtime_version.starts_with("containerd://"),
        "{info:?}"
    );

    let pods: Api<Pod> = Api::namespaced(admin.clone(), "default");
    let maps: Api<ConfigMap> = Api::namespaced(admin.clone(), "default");
    let script = "echo \"$NODE $KEY $(cat /map/key)\"; trap exit TERM; while :; do cat /map/key > /map-seen; sleep 0.1; done";
    let pod = json!({
        "metadata": {"name": "web"},
        "spec": {
            "nodeName": "n1", "hostNetwork": true, "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "volumes": [{"name": "map", "configMap": {"name": "m"}}],
            "containers": [{
                "name": "c", "image": node::BUSYBOX, "command": ["sh", "-c", script],
                "env": [
                    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "key"}}},
                ],
                "volumeMounts": [{"name": "map", "mountPath": "/map"}],
                "readinessProbe": {"exec": {"command": ["test", "-e", "/map-seen"]}, "periodSeconds": 1},
            }],
        },
    });
    let pod: Pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    // Until its map is there it waits, and starts then without being made anew.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(node.running().await.is_empty());
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"key": "old"}})).unwrap();
    let created = Instant::now();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let first = node.one_running().await;
    assert!(
        created.elapsed() < Duration::from_secs(5),
        "{:?}",
        created.elapsed()
    );
    let ready = || async {
        let status = pods.get("web").await.unwrap().status.unwrap_or_default();
        let mut conditions = status.conditions.into_iter().flatten();
        conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    node.until_async("a ready pod", ready).await;
    let log = pods.logs("web", &LogParams::default()).await.unwrap();
    assert_eq!(log, "n1 old old\n");

    // Another agent takes over: nothing restarts, and its volume goes on being followed.
    agent.stop().await;
    let configuration = KubeletConfiguration {
        port: free_port(),
        healthz_port: free_port(),
        ..configuration
    };
    let agent = node
        .whole_agent(configuration, Some(of_node()), Some(tls()))
        .await;
    let uid = pods.get("web").await.unwrap().metadata.uid.unwrap();
    let file = node
        .path("kubelet")
        .join(format!("pods/{uid}/volumes/kubernetes.io~configmap/map/key"));
    assert_eq!(read(&file), "old");
    let patch = Patch::Merge(json!({"data": {"key": "new"}}));
    maps.patch("m", &PatchParams::default(), &patch).await.unwrap();
    node.until("the new content", || read(&file) == "new").await;
    // One so young (§5: less than 10 s) may have been unready in between.
    node.until_async("a ready pod again", ready).await;
    assert_eq!(node.running().await, [first]);

    pods.delete("web", &DeleteParams::default()).await.unwrap();
    node.until_async("the pod to go", || async {
        pods.get_opt("web").await.unwrap().is_none()
    })
    .await;
    node.until("its directory to go", || {
        !node.path("kubelet/pods").join(&uid).exists()
    })
    .await;
    agent.stop().await;
    node.finish().await;
}
