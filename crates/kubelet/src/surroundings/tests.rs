//! Surroundings in a temporary directory, against the real API server where objects are involved.
use super::*;
use crate::config::KubeletConfiguration;
use crate::sources::Source;
use crate::testing::FakeRuntime;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use orlop_apiserver::{ApiServer, UserInfo};
use orlop_store::embedded::{EmbeddedStore, Options};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

fn surroundings(dir: &Path, client: Option<kube::Client>) -> Arc<NodeSurroundings> {
    std::fs::create_dir_all(dir.join("cgroup/cpu")).unwrap();
    let pods = PodsHandle::default();
    let cgroups = Cgroups::new(
        &KubeletConfiguration::default(),
        "cgroupfs",
        &dir.join("cgroup"),
        1 << 30,
    );
    NodeSurroundings::new(Parts {
        lacks: crate::volumes::image::Lacks::default(),
        local: None,
        api_server_port: None,
        providers: None,
        devices: crate::devices::Devices::open(&dir.join("kubelet"), Default::default()),
        metrics: Default::default(),
        cgroups: Arc::new(cgroups),
        probes: Probes::new(
            Arc::<FakeRuntime>::default(),
            Recorder::disabled(),
            pods.clone(),
            Default::default(),
        ),
        settings: environment::Settings {
            node: Default::default(),
            root: dir.join("kubelet"),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            resolv_conf: dir.join("resolv.conf"),
        },
        client,
        recorder: Recorder::disabled(),
        pods,
    })
}

fn pod(volumes: Value, mounts: Value) -> Arc<Pod> {
    let object = json!({"metadata": {"name": "p", "namespace": "default", "uid": "u"}, "spec": {"volumes": volumes,
        "containers": [{"name": "c", "env": [{"name": "A", "value": "b"}], "volumeMounts": mounts}]}});
    Arc::new(serde_json::from_value(object).unwrap())
}

async fn setting(surroundings: &NodeSurroundings, pod: &Pod) -> ContainerSetting {
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let addresses = Addresses {
        pod: vec!["10.0.0.7".into()],
        host: Vec::new(),
    };
    surroundings.container(pod, container, &addresses).await.unwrap()
}

#[tokio::test]
async fn pod_gets_its_surroundings_and_gives_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let surroundings = surroundings(dir.path(), None);
    let pod = pod(
        json!([{"name": "v", "emptyDir": {}}]),
        json!([{"name": "v", "mountPath": "/v"}]),
    );
    surroundings.prepare(&pod).await.unwrap();
    let setting = setting(&surroundings, &pod).await;
    assert_eq!(setting.env, [("A".to_owned(), "b".to_owned())]);
    let paths: Vec<&str> = setting
        .mounts
        .iter()
        .map(|mount| mount.container_path.as_str())
        .collect();
    assert_eq!(paths, ["/v", "/etc/hosts"]);
    assert_eq!(setting.resources.oom_score_adj, 1000);
    let cgroup = dir.path().join("cgroup/cpu/kubepods/besteffort/podu");
    assert!(cgroup.is_dir() && Path::new(&setting.mounts[0].host_path).is_dir());
    assert_eq!(surroundings.leftovers(), ["u"]);
    // What a real cgroup's files do by themselves.
    std::fs::remove_file(cgroup.join("cpu.shares")).unwrap();
    surroundings.release("u").await.unwrap();
    assert!(surroundings.leftovers().is_empty() && !cgroup.exists());
    surroundings.release("u").await.unwrap();
}

#[tokio::test]
async fn finished_pod_keeps_its_containers_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let surroundings = surroundings(dir.path(), None);
    let pod = pod(json!([]), json!([]));
    surroundings.pods.put(pod.clone(), Source::File);
    let words = dir.path().join("kubelet/pods/u/containers/c/1");
    std::fs::create_dir_all(words.parent().unwrap()).unwrap();
    std::fs::write(&words, "DONE").unwrap();
    surroundings.release("u").await.unwrap();
    assert!(words.exists());
    surroundings.pods.remove("u");
    surroundings.release("u").await.unwrap();
    assert!(surroundings.leftovers().is_empty());
}

#[tokio::test]
async fn e11_volume_that_cannot_be_had_is_told_in_the_events_words() {
    let dir = tempfile::tempdir().unwrap();
    let surroundings = surroundings(dir.path(), None);
    let missing = dir.path().join("missing");
    let pod = pod(
        json!([{"name": "v", "hostPath": {"path": missing, "type": "Directory"}}]),
        json!([{"name": "v", "mountPath": "/v"}]),
    );
    let lacking = surroundings.prepare(&pod).await.unwrap_err();
    assert_eq!(lacking.reason, "FailedMount");
    let reason = format!(
        "hostPath type check failed: {} is not a directory",
        missing.display()
    );
    assert_eq!(
        lacking.message,
        format!("MountVolume.SetUp failed for volume \"v\" : {reason}")
    );
}

#[tokio::test]
async fn a_volume_that_comes_with_an_ephemeral_container_is_set_up_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let surroundings = surroundings(dir.path(), None);
    let pod = pod(
        json!([{"name": "v", "emptyDir": {}}, {"name": "new", "emptyDir": {}}]),
        json!([{"name": "v", "mountPath": "/v"}]),
    );
    surroundings.prepare(&pod).await.unwrap();
    let at = dir
        .path()
        .join("kubelet/pods/u/volumes/kubernetes.io~empty-dir/new");
    assert!(!at.exists());
    let container = json!({"name": "e", "volumeMounts": [{"name": "new", "mountPath": "/new"}]});
    let mut newer = Pod::clone(&pod);
    let spec = newer.spec.as_mut().unwrap();
    spec.ephemeral_containers = Some(vec![serde_json::from_value(container.clone()).unwrap()]);
    surroundings.refresh(&Arc::new(newer.clone()));
    let container: Container = serde_json::from_value(container).unwrap();
    let addresses = Addresses::default();
    let setting = surroundings
        .container(&newer, &container, &addresses)
        .await
        .unwrap();
    assert_eq!(setting.mounts[0].host_path, at.display().to_string());
    assert!(at.is_dir());
}

#[tokio::test]
async fn where_claims_lead_to_is_looked_for_of_a_pod_found_running_that_shows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let surroundings = surroundings(dir.path(), None);
    for (volume, is_followed) in [
        (json!({"name": "v", "emptyDir": {}}), false),
        (json!({"name": "v", "hostPath": {"path": "/"}}), false),
        (json!({"name": "v", "ephemeral": {}}), true),
        (
            json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}}),
            true,
        ),
        (json!({"name": "v", "configMap": {"name": "m"}}), true),
    ] {
        surroundings.turns.remove("u");
        let pod = pod(json!([volume]), json!([{"name": "v", "mountPath": "/v"}]));
        surroundings.refresh(&pod);
        assert_eq!(surroundings.turns.known("u").is_some(), is_followed, "{volume}");
    }
}

async fn until(what: &str, check: impl Fn() -> bool) {
    let wait = async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(done.is_ok(), "waited in vain for {what}");
}

/// A client of a server of its own.
async fn api(dir: &Path) -> kube::Client {
    let store = EmbeddedStore::open(&dir.join("store"), Options::default()).unwrap();
    let config = orlop_apiserver::Config::new("127.0.0.1:6443".parse().unwrap());
    let server = ApiServer::start(config, store).await.unwrap();
    orlop_client::in_process(server.in_process(UserInfo::admin("test")))
}

async fn create_map(maps: &Api<ConfigMap>) {
    let map = json!({"metadata": {"name": "m"}, "data": {"key": "old"}});
    let map: ConfigMap = serde_json::from_value(map).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
}

#[tokio::test]
async fn p09_worker_is_woken_when_the_missing_map_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let client = api(dir.path()).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let surroundings = surroundings(dir.path(), Some(client));
    let pod = pod(
        json!([{"name": "v", "configMap": {"name": "m"}}]),
        json!([{"name": "v", "mountPath": "/v"}]),
    );
    surroundings.pods.put(pod.clone(), Source::Api);
    let lacking = surroundings.prepare(&pod).await.unwrap_err();
    assert_eq!(
        lacking.message,
        "MountVolume.SetUp failed for volume \"v\" : configmap \"m\" not found"
    );
    let mailbox = Mailbox::default();
    surroundings.call_back("u", &mailbox);
    create_map(&maps).await;
    let woken = tokio::time::timeout(Duration::from_secs(20), mailbox.next()).await;
    assert!(woken.unwrap().runtime_changed);
    surroundings.prepare(&pod).await.unwrap();
}

#[tokio::test]
async fn e12_config_map_of_a_pod_found_running_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let client = api(dir.path()).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    create_map(&maps).await;
    let surroundings = surroundings(dir.path(), Some(client));
    let pod = pod(
        json!([{"name": "v", "configMap": {"name": "m"}}]),
        json!([{"name": "v", "mountPath": "/v"}]),
    );
    surroundings.pods.put(pod.clone(), Source::Api);
    // As its worker does with a pod it finds running.
    surroundings.refresh(&pod);
    let file = dir
        .path()
        .join("kubelet/pods/u/volumes/kubernetes.io~configmap/v/key");
    let holds = |text: &'static str| {
        let file = file.clone();
        move || std::fs::read_to_string(&file).is_ok_and(|content| content == text)
    };
    until("the volume", holds("old")).await;
    let patch = Patch::Merge(json!({"data": {"key": "new"}}));
    maps.patch("m", &PatchParams::default(), &patch).await.unwrap();
    until("the change", holds("new")).await;
    surroundings.pods.remove("u");
    surroundings.release("u").await.unwrap();
    assert!(surroundings.leftovers().is_empty());
}

#[tokio::test]
async fn a_pod_whose_volumes_hang_delays_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let client = api(dir.path()).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    create_map(&maps).await;
    let surroundings = surroundings(dir.path(), Some(client));
    let pod = |uid: &str| {
        let mut pod = Pod::clone(&pod(
            json!([{"name": "v", "configMap": {"name": "m"}}]),
            json!([{"name": "v", "mountPath": "/v"}]),
        ));
        pod.metadata.uid = Some(uid.to_owned());
        Arc::new(pod)
    };
    // More than ever waited in line.
    let hung: Vec<_> = (0..100).map(|number| pod(&format!("hung{number}"))).collect();
    let healthy = pod("u");
    for pod in hung.iter().chain([&healthy]) {
        surroundings.pods.put(pod.clone(), Source::Api);
        surroundings.prepare(pod).await.unwrap();
    }
    let turns: Vec<_> = hung.iter().map(|pod| surroundings.turns.of(uid(pod))).collect();
    let mut held = Vec::new();
    for turn in &turns {
        held.push(turn.lock().await);
    }
    let file = |uid: &str| {
        let volume = format!("kubelet/pods/{uid}/volumes/kubernetes.io~configmap/v/key");
        std::fs::read_to_string(dir.path().join(volume)).unwrap()
    };
    for text in ["new", "newer"] {
        let patch = Patch::Merge(json!({"data": {"key": text}}));
        maps.patch("m", &PatchParams::default(), &patch).await.unwrap();
        until("the change", || file("u") == text).await;
    }
    assert_eq!(file("hung0"), "old");
    drop(held);
    until("the others", || hung.iter().all(|pod| file(uid(pod)) == "newer")).await;
}
