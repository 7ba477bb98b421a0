//! The whole agent against the real API server, on a made-up runtime.
use super::*;
use crate::testing::{FakeRuntime, Plain};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams, WatchEvent};
use orlop_apiserver::{ApiServer, UserInfo};
use orlop_store::embedded::{EmbeddedStore, Options};
use serde_json::{Value, json};
use std::path::Path;
use tokio::sync::watch;

mod images;
mod lifecycle;
mod manifests;
mod resize;

const PATIENCE: Duration = Duration::from_secs(20);

struct Cluster {
    runtime: Arc<FakeRuntime>,
    surroundings: Arc<Plain>,
    admin: kube::Client,
    pods: Api<Pod>,
    manifests: PathBuf,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
    node: watch::Sender<Option<Arc<Node>>>,
    /// The node's own, and what its agent is configured with.
    client: kube::Client,
    configuration: KubeletConfiguration,
    life: Life,
}

/// One agent, from its start to its end.
struct Life {
    end: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    notices: mpsc::Sender<Notice>,
    orders: crate::pods::Orders,
}

/// What an agent finds at its start.
struct Found<'a> {
    dir: &'a Path,
    client: &'a kube::Client,
    configuration: &'a KubeletConfiguration,
    runtime: &'a Arc<FakeRuntime>,
    surroundings: &'a Arc<Plain>,
    node: watch::Receiver<Option<Arc<Node>>>,
}

impl Life {
    fn begin(found: Found<'_>, end: CancellationToken) -> Self {
        let (notices, told) = mpsc::channel(16);
        let config = Config {
            node_name: "n1".into(),
            configuration: found.configuration.clone(),
            client: Some(found.client.clone()),
            runtime: found.runtime.clone(),
            runtime_name: "fake".into(),
            runtime_socket: None,
            notices: tokio_stream::wrappers::ReceiverStream::new(told).boxed(),
            root_dir: found.dir.join("kubelet"),
            container_logs_dir: found.dir.join("containers"),
            metrics: crate::metrics::Metrics::default(),
            control_socket: None,
            node_labels: BTreeMap::new(),
            node_ips: vec!["192.0.2.1".parse().unwrap()],
            api_server_port: None,
            credential_providers: None,
            archives: Some(found.runtime.clone()),
            orders: Default::default(),
        };
        let shared = Shared::default();
        let orders = shared.orders.clone();
        let run = run_with(
            config,
            found.surroundings.clone(),
            shared,
            found.node,
            end.clone(),
        );
        let task = tokio::spawn(async move { run.await.unwrap() });
        Self {
            end,
            task,
            notices,
            orders,
        }
    }
}

impl Cluster {
    async fn start() -> Self {
        Self::start_on(Arc::default()).await
    }

    /// On a runtime that may have pods already.
    async fn start_on(runtime: Arc<FakeRuntime>) -> Self {
        Self::start_with(runtime, |_| ()).await
    }

    /// With another configuration than the usual one.
    async fn start_with(runtime: Arc<FakeRuntime>, change: impl FnOnce(&mut KubeletConfiguration)) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter("orlop_kubelet=debug")
            .with_test_writer()
            .try_init();
        let dir = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let store = EmbeddedStore::open(&dir.path().join("store"), Options::default()).unwrap();
        let mut config = orlop_apiserver::Config::new("127.0.0.1:6443".parse().unwrap());
        config.shutdown = stop.clone();
        let server = ApiServer::start(config, store).await.unwrap();
        let admin = orlop_client::in_process(server.in_process(UserInfo::admin("test")));
        let own = UserInfo::new("system:node:n1", ["system:nodes"]);
        let client = orlop_client::in_process(server.in_process(own));
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
        let node: Node = serde_json::from_value(node).unwrap();
        let node = Api::<Node>::all(admin.clone())
            .create(&PostParams::default(), &node)
            .await
            .unwrap();
        let (node, snapshot) = watch::channel(Some(Arc::new(node)));
        let manifests = dir.path().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        let mut configuration = KubeletConfiguration {
            static_pod_path: manifests.display().to_string(),
            pod_logs_dir: dir.path().join("logs").display().to_string(),
            ..KubeletConfiguration::default()
        };
        change(&mut configuration);
        let surroundings = Arc::<Plain>::default();
        let found = Found {
            dir: dir.path(),
            client: &client,
            configuration: &configuration,
            runtime: &runtime,
            surroundings: &surroundings,
            node: snapshot,
        };
        let life = Life::begin(found, stop.child_token());
        let pods = Api::namespaced(admin.clone(), "default");
        Self {
            runtime,
            surroundings,
            admin,
            pods,
            manifests,
            stop,
            _dir: dir,
            node,
            client,
            configuration,
            life,
        }
    }

    /// The agent ends, and another begins on what there is.
    async fn restart(&mut self) {
        self.life.end.cancel();
        let ended = tokio::time::timeout(PATIENCE, &mut self.life.task).await;
        ended.unwrap().unwrap();
        let found = Found {
            dir: self._dir.path(),
            client: &self.client,
            configuration: &self.configuration,
            runtime: &self.runtime,
            surroundings: &self.surroundings,
            node: self.node.subscribe(),
        };
        self.life = Life::begin(found, self.stop.child_token());
    }

    fn write(&self, image: &str) {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec: {{containers: [{{name: c, image: '{image}'}}]}}\n"
        );
        let hidden = self.manifests.join(".web");
        std::fs::write(&hidden, text).unwrap();
        std::fs::rename(hidden, self.manifests.join("web.yaml")).unwrap();
    }

    /// Waits until the pod of that name is as `check` wants it (`None`: gone).
    async fn until(&self, what: &str, name: &str, check: impl Fn(Option<&Pod>) -> bool) -> Option<Pod> {
        let wait = async {
            loop {
                let found = self.pods.get_opt(name).await.unwrap();
                if check(found.as_ref()) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(found) => found,
            Err(_) => panic!(
                "waited in vain for {what}: {:#?}",
                self.pods.get_opt(name).await.unwrap()
            ),
        }
    }

    async fn until_running_but(&self, what: &str, name: &str, other: &str) -> Pod {
        let check = |pod: Option<&Pod>| {
            pod.is_some_and(|pod| {
                orlop_api::pod::phase(pod) == "Running" && orlop_api::pod::uid(pod) != other
            })
        };
        self.until(what, name, check).await.unwrap()
    }

    async fn create(&self, name: &str, more: Value, spec: Value) -> Pod {
        let mut object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        object["metadata"]["annotations"] = more;
        object["spec"]["nodeName"] = "n1".into();
        object["spec"]["containers"] = json!([{"name": name, "image": "i:1"}]);
        self.pods
            .create(&PostParams::default(), &serde_json::from_value(object).unwrap())
            .await
            .unwrap()
    }

    /// A pod with this spec, on this node.
    async fn create_with(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = "n1".into();
        for container in spec["containers"].as_array_mut().unwrap() {
            container["image"] = "i:1".into();
        }
        let object = json!({"metadata": {"name": name}, "spec": spec});
        self.pods
            .create(&PostParams::default(), &serde_json::from_value(object).unwrap())
            .await
            .unwrap();
    }

    fn starts(&self) -> usize {
        self.runtime
            .calls()
            .iter()
            .filter(|call| call.starts_with("StartContainer"))
            .count()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn uid_of(pod: &Pod) -> String {
    orlop_api::pod::uid(pod).to_owned()
}

fn force() -> DeleteParams {
    DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    }
}

#[tokio::test]
async fn a13_a32_a33_a42_mirror_lives_as_long_as_its_static_pod() {
    let cluster = Cluster::start().await;
    cluster.write("i:1");
    let first = cluster.until_running_but("the mirror", "web-n1", "").await;
    let annotations = first.metadata.annotations.clone().unwrap();
    assert_eq!(
        annotations["kubernetes.io/config.mirror"],
        annotations["kubernetes.io/config.hash"]
    );
    assert_eq!(first.metadata.owner_references.as_ref().unwrap()[0].name, "n1");
    let status = first.status.clone().unwrap();
    assert_eq!(
        (status.host_ip.as_deref(), status.pod_ip.as_deref()),
        (Some("192.0.2.1"), Some("10.0.0.5"))
    );
    let starts = cluster.starts();

    cluster
        .pods
        .delete("web-n1", &DeleteParams::default())
        .await
        .unwrap();
    let second = cluster
        .until_running_but("another mirror", "web-n1", &uid_of(&first))
        .await;
    cluster.pods.delete("web-n1", &force()).await.unwrap();
    let third = cluster
        .until_running_but("a mirror after a forced delete", "web-n1", &uid_of(&second))
        .await;
    assert_eq!(cluster.starts(), starts, "containers are not touched");

    let overwritten = kube::api::Patch::Merge(json!({"status": {"phase": "Failed"}}));
    cluster
        .pods
        .patch_status("web-n1", &Default::default(), &overwritten)
        .await
        .unwrap();
    cluster
        .until_running_but("the status restored", "web-n1", "")
        .await;

    cluster.write("i:2");
    let edited = cluster
        .until_running_but("the mirror of the edited manifest", "web-n1", &uid_of(&third))
        .await;
    assert_eq!(edited.spec.unwrap().containers[0].image.as_deref(), Some("i:2"));
    std::fs::remove_file(cluster.manifests.join("web.yaml")).unwrap();
    cluster
        .until("the mirror to go", "web-n1", |pod| pod.is_none())
        .await;
    assert!(cluster.runtime.running().is_empty());
}

#[tokio::test]
async fn p03_p13_deleted_api_pod_is_stopped_told_terminal_and_then_removed() {
    let cluster = Cluster::start().await;
    cluster.create("app", json!({}), json!({})).await;
    let running = cluster.until_running_but("the pod", "app", "").await;
    let ready = orlop_api::pod::is_ready(&running);
    assert!(ready, "{:#?}", running.status);
    let parameters = kube::api::WatchParams::default().fields("metadata.name=app");
    let version = running.metadata.resource_version.clone().unwrap();
    let mut changes = cluster.pods.watch(&parameters, &version).await.unwrap().boxed();
    cluster.runtime.stubborn.lock().push("app".into());
    let grace = DeleteParams {
        grace_period_seconds: Some(2),
        ..DeleteParams::default()
    };
    cluster.pods.delete("app", &grace).await.unwrap();
    cluster.runtime.until("StopContainer app 2").await;
    assert!(
        cluster.pods.get_opt("app").await.unwrap().is_some(),
        "the object stays while containers run"
    );
    cluster
        .until("the object to go", "app", |pod| pod.is_none())
        .await;
    assert!(cluster.runtime.running().is_empty());
    // What a watcher of it has seen from its deletion on until it was gone.
    let mut seen = Vec::new();
    loop {
        let change = tokio::time::timeout(PATIENCE, changes.next()).await.unwrap();
        match change.unwrap().unwrap() {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                if pod.metadata.deletion_timestamp.is_some() {
                    seen.push(orlop_api::pod::phase(&pod).to_owned());
                }
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Deleted(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen.first().map(String::as_str), Some("Running"), "{seen:?}");
    assert_eq!(seen.last().map(String::as_str), Some("Failed"), "{seen:?}");
}

#[tokio::test]
async fn i06_exit_event_restarts_a_container_at_once_and_shows() {
    let cluster = Cluster::start().await;
    cluster.create("app", json!({}), json!({})).await;
    cluster.until_running_but("the pod", "app", "").await;
    let id = cluster.runtime.running().remove(0);
    cluster.runtime.exit("app", 3);
    let event = orlop_cri::events::RuntimeEvent {
        container_id: id,
        kind: orlop_cri::events::EventKind::Exited,
        exit_code: Some(3),
        at: std::time::SystemTime::now(),
    };
    cluster.life.notices.send(Notice::Event(event)).await.unwrap();
    let restarted = |pod: Option<&Pod>| {
        let statuses = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
        statuses.is_some_and(|statuses| statuses[0].restart_count == 1 && statuses[0].ready)
    };
    cluster.until("a restart", "app", restarted).await;
}

#[tokio::test]
async fn a27_p24_pod_that_does_not_fit_is_failed_and_goes_when_deleted() {
    let cluster = Cluster::start().await;
    cluster
        .create("misfit", json!({}), json!({"nodeSelector": {"disk": "ssd"}}))
        .await;
    let failed = |pod: Option<&Pod>| pod.is_some_and(|pod| orlop_api::pod::phase(pod) == "Failed");
    let pod = cluster.until("its rejection", "misfit", failed).await.unwrap();
    let status = pod.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NodeAffinity"));
    assert!(
        status
            .message
            .unwrap()
            .starts_with("Pod was rejected: Predicate NodeAffinity failed")
    );
    cluster
        .pods
        .delete("misfit", &DeleteParams::default())
        .await
        .unwrap();
    cluster
        .until("the object to go", "misfit", |pod| pod.is_none())
        .await;
    assert_eq!(cluster.starts(), 0);
}

/// A31, as far as it goes here: rejected it is; what upstream needs a restart for, the label alone does.
#[tokio::test]
async fn a31_rejected_static_pod_runs_when_the_label_is_added() {
    let cluster = Cluster::start().await;
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  nodeSelector: {disk: ssd}\n  \
                    containers: [{name: c, image: 'i:1'}]\n";
    std::fs::write(cluster.manifests.join("web.yaml"), manifest).unwrap();
    let failed = |pod: Option<&Pod>| pod.is_some_and(|pod| orlop_api::pod::phase(pod) == "Failed");
    let pod = cluster.until("its rejection", "web-n1", failed).await.unwrap();
    assert_eq!(pod.status.unwrap().reason.as_deref(), Some("NodeAffinity"));
    assert_eq!(cluster.starts(), 0);
    cluster.node.send_modify(|node| {
        let mut labelled = Node::clone(node.as_ref().unwrap());
        let labels = labelled.metadata.labels.get_or_insert_default();
        labels.insert("disk".into(), "ssd".into());
        *node = Some(Arc::new(labelled));
    });
    let pod = cluster.until_running_but("the pod", "web-n1", "").await;
    assert_eq!(pod.status.unwrap().reason, None);
    assert_eq!(cluster.starts(), 1);
}

#[tokio::test]
async fn rejected_static_pod_runs_when_another_gives_its_port_back() {
    let cluster = Cluster::start().await;
    let write = |name: &str| {
        let manifest = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  \
             - {{name: {name}, image: 'i:1', ports: [{{containerPort: 80, hostPort: 80}}]}}\n"
        );
        std::fs::write(cluster.manifests.join(format!("{name}.yaml")), manifest).unwrap();
    };
    write("one");
    cluster.until_running_but("the first pod", "one-n1", "").await;
    write("two");
    let failed = |pod: Option<&Pod>| pod.is_some_and(|pod| orlop_api::pod::phase(pod) == "Failed");
    let pod = cluster.until("its rejection", "two-n1", failed).await.unwrap();
    assert_eq!(pod.status.unwrap().reason.as_deref(), Some("NodePorts"));
    std::fs::remove_file(cluster.manifests.join("one.yaml")).unwrap();
    cluster.until_running_but("the second pod", "two-n1", "").await;
}

/// I27, on the runtime's side; the API server's is its own.
#[tokio::test]
async fn i27_ephemeral_container_of_a_running_pod_runs() {
    let cluster = Cluster::start().await;
    cluster.create("app", json!({}), json!({})).await;
    cluster.until_running_but("the pod", "app", "").await;
    let debugger = json!({"spec": {"ephemeralContainers": [{"name": "debugger", "image": "i:1"}]}});
    cluster
        .pods
        .patch_subresource(
            "ephemeralcontainers",
            "app",
            &Default::default(),
            &kube::api::Patch::Strategic(debugger),
        )
        .await
        .unwrap();
    cluster.runtime.until("StartContainer debugger").await;
    let runs = |pod: Option<&Pod>| {
        let statuses = pod.and_then(|pod| pod.status.as_ref()?.ephemeral_container_statuses.as_ref());
        statuses.is_some_and(|statuses| statuses[0].state.as_ref().unwrap().running.is_some())
    };
    let pod = cluster.until("its status", "app", runs).await.unwrap();
    assert_eq!(
        pod.status.unwrap().container_statuses.unwrap()[0].restart_count,
        0
    );
    assert_eq!(cluster.starts(), 2);
}

#[tokio::test]
async fn a39_mirror_made_by_a_user_goes_and_never_runs() {
    let cluster = Cluster::start().await;
    cluster
        .create("fake-n1", json!({"kubernetes.io/config.mirror": "x"}), json!({}))
        .await;
    cluster
        .until("the object to go", "fake-n1", |pod| pod.is_none())
        .await;
    assert_eq!(cluster.starts(), 0);
}

#[tokio::test]
async fn manifest_that_cannot_run_is_shown_in_the_api_until_it_is_mended() {
    let cluster = Cluster::start().await;
    std::fs::write(
        cluster.manifests.join("web.yaml"),
        "apiVersion: v1\nkind: Pod\nspec: 3\n",
    )
    .unwrap();
    let shown = |pod: Option<&Pod>| {
        let status = pod.and_then(|pod| pod.status.as_ref());
        status.is_some_and(|status| status.reason.as_deref() == Some("InvalidManifest"))
    };
    let name = "invalid-manifest-web-n1";
    let pod = cluster.until("the placeholder", name, shown).await.unwrap();
    let message = pod.status.unwrap().message.unwrap();
    assert!(message.contains("web.yaml: line 3"), "{message}");
    assert_eq!(cluster.starts(), 0);
    cluster.write("i:1");
    cluster.until_running_but("the pod", "web-n1", "").await;
    cluster
        .until("the placeholder to go", name, |pod| pod.is_none())
        .await;
}

#[tokio::test]
async fn pod_after_another_starts_when_that_is_ready() {
    let cluster = Cluster::start().await;
    let write = |name: &str, after: &str| {
        let manifest = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  annotations: {{orlop.dev/after: '{after}'}}\n\
             spec: {{containers: [{{name: {name}, image: 'i:1'}}]}}\n"
        );
        let hidden = cluster.manifests.join(format!(".{name}"));
        std::fs::write(&hidden, manifest).unwrap();
        std::fs::rename(hidden, cluster.manifests.join(format!("{name}.yaml"))).unwrap();
    };
    // One whose sandbox can't be made is not ready.
    cluster.runtime.failing.lock().push("RunPodSandbox".into());
    write("first", "");
    cluster.runtime.until_any("RunPodSandbox").await;
    write("second", "first, absent");
    let held = |pod: Option<&Pod>| {
        let status = pod.and_then(|pod| pod.status.as_ref());
        status.is_some_and(|status| status.reason.as_deref() == Some("WaitingForPods"))
    };
    let pod = cluster.until("it to be held", "second-n1", held).await.unwrap();
    let message = pod.status.unwrap().message.unwrap();
    assert!(message.contains("waits for first-n1"), "{message}");
    cluster.runtime.failing.lock().clear();
    write("first", "again");
    cluster.until_running_but("the first pod", "first-n1", "").await;
    let pod = cluster.until_running_but("the second pod", "second-n1", "").await;
    assert_eq!(pod.status.unwrap().reason, None);
    let starts: Vec<String> = cluster
        .runtime
        .calls()
        .into_iter()
        .filter(|call| call.starts_with("StartContainer"))
        .collect();
    assert_eq!(starts, ["StartContainer first", "StartContainer second"]);
}

#[tokio::test]
async fn a15_a17_a34_mirror_stays_while_the_old_pod_stops_and_its_successor_waits() {
    let cluster = Cluster::start().await;
    cluster.write("i:1");
    let first = cluster.until_running_but("the mirror", "web-n1", "").await;
    cluster.runtime.stubborn.lock().push("c".into());
    cluster.write("i:2");
    cluster.runtime.until("StopContainer c 30").await;
    let during = cluster.pods.get("web-n1").await.unwrap();
    assert_eq!(uid_of(&during), uid_of(&first));
    assert_eq!(during.metadata.deletion_timestamp, None);
    assert_eq!(orlop_api::pod::phase(&during), "Running");
    let made = cluster.runtime.count("RunPodSandbox");
    assert_eq!(made, 1, "the successor waits");
    cluster.runtime.end_stubborn();
    let second = cluster
        .until_running_but("the successor's mirror", "web-n1", &uid_of(&first))
        .await;
    let calls = cluster.runtime.calls();
    let stopped = calls.iter().position(|call| call == "stopped c").unwrap();
    let made = calls
        .iter()
        .rposition(|call| call.starts_with("RunPodSandbox"))
        .unwrap();
    assert!(stopped < made, "{calls:#?}");
    assert_eq!(second.metadata.generation, Some(1));
    assert_eq!(second.status.unwrap().observed_generation, None);
}

#[tokio::test]
async fn a36_what_users_change_in_a_mirror_neither_reaches_the_node_nor_is_reverted() {
    let cluster = Cluster::start().await;
    cluster.write("i:1");
    cluster.until_running_but("the mirror", "web-n1", "").await;
    let starts = cluster.starts();
    let patch =
        json!({"metadata": {"labels": {"x": "y"}}, "spec": {"containers": [{"name": "c", "image": "i:9"}]}});
    let patch = kube::api::Patch::Strategic(patch);
    cluster
        .pods
        .patch("web-n1", &Default::default(), &patch)
        .await
        .unwrap();
    // A whole round over the runtime and the board.
    cluster
        .life
        .notices
        .send(Notice::Subscribed(orlop_cri::events::Source::Containerd))
        .await
        .unwrap();
    cluster.create("other", json!({}), json!({})).await;
    cluster.until_running_but("another pod", "other", "").await;
    let mirror = cluster.pods.get("web-n1").await.unwrap();
    assert_eq!(mirror.metadata.labels.as_ref().unwrap()["x"], "y");
    assert_eq!(mirror.spec.unwrap().containers[0].image.as_deref(), Some("i:9"));
    assert_eq!(cluster.starts(), starts + 1);
}

#[tokio::test]
async fn a38_static_pod_of_a_missing_namespace_runs_and_its_mirror_comes_with_the_namespace() {
    let cluster = Cluster::start().await;
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: later}\nspec: {containers: [{name: c, image: \
                    'i:1'}]}\n";
    std::fs::write(cluster.manifests.join("web.yaml"), manifest).unwrap();
    cluster.runtime.until("StartContainer c").await;
    let namespace = json!({"metadata": {"name": "later"}});
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(cluster.admin.clone());
    namespaces
        .create(
            &PostParams::default(),
            &serde_json::from_value(namespace).unwrap(),
        )
        .await
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(cluster.admin.clone(), "later");
    let appears = async {
        while pods.get_opt("web-n1").await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let appeared = tokio::time::timeout(Duration::from_secs(60), appears).await;
    assert!(appeared.is_ok(), "no mirror");
    assert_eq!(cluster.starts(), 1);
}

#[tokio::test]
async fn a47_pod_whose_priority_class_is_unknown_runs_without_a_mirror() {
    let cluster = Cluster::start().await;
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  priorityClassName: nobody-knows\n  \
                    containers: [{name: c, image: 'i:1'}]\n";
    std::fs::write(cluster.manifests.join("web.yaml"), manifest).unwrap();
    cluster.runtime.until("StartContainer c").await;
    cluster.create("other", json!({}), json!({})).await;
    cluster.until_running_but("another pod", "other", "").await;
    assert_eq!(cluster.pods.get_opt("web-n1").await.unwrap(), None);
    let manifest = manifest
        .replace("nobody-knows", "system-node-critical\n  priority: 2000001000")
        .replace("name: web", "name: critical");
    std::fs::write(cluster.manifests.join("critical.yaml"), manifest).unwrap();
    let mirror = cluster.until_running_but("its mirror", "critical-n1", "").await;
    assert_eq!(mirror.spec.unwrap().priority, Some(2_000_001_000));
}

#[tokio::test]
async fn a50_s12_critical_pod_pushes_others_aside() {
    let cluster = Cluster::start().await;
    cluster.node.send_modify(|node| {
        let mut small = Node::clone(node.as_ref().unwrap());
        let allocatable = json!({"allocatable": {"cpu": "1", "memory": "4Gi", "pods": "10"}});
        small.status = serde_json::from_value(allocatable).unwrap();
        *node = Some(Arc::new(small));
    });
    let asks = |cpu: &str| json!({"containers": [{"name": "x", "resources": {"requests": {"cpu": cpu}}}]});
    cluster.create_with("big", asks("800m")).await;
    cluster
        .create_with("idle", json!({"containers": [{"name": "x"}]}))
        .await;
    cluster.until_running_but("the big pod", "big", "").await;
    cluster.until_running_but("the idle pod", "idle", "").await;
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - name: c\n    image: 'i:1'\n    \
                    resources: {requests: {cpu: '1'}}\n";
    cluster.runtime.stubborn.lock().push("x".into());
    std::fs::write(cluster.manifests.join("web.yaml"), manifest).unwrap();
    cluster.runtime.until("StopContainer x 30").await;
    cluster.runtime.end_stubborn();
    cluster.until_running_but("the critical pod", "web-n1", "").await;
    let over = |pod: Option<&Pod>| pod.is_some_and(orlop_api::pod::is_terminal);
    let big = cluster
        .until("the end of the big pod", "big", over)
        .await
        .unwrap();
    let status = big.status.unwrap();
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("Preempting"))
    );
    cluster
        .until_told("big", "Preempting: Preempted in order to admit critical pod")
        .await;
    let conditions = status.conditions.unwrap();
    let disrupted = conditions
        .iter()
        .find(|condition| condition.type_ == "DisruptionTarget");
    assert_eq!(disrupted.unwrap().reason.as_deref(), Some("TerminationByKubelet"));
    let idle = cluster.pods.get("idle").await.unwrap();
    assert_eq!(orlop_api::pod::phase(&idle), "Running");
}

/// A50 with the amounts given for whole pods.
#[tokio::test]
async fn a51_critical_pod_pushes_others_aside_by_pod_level_resources() {
    let cluster = Cluster::start().await;
    cluster.node.send_modify(|node| {
        let mut small = Node::clone(node.as_ref().unwrap());
        let allocatable = json!({"allocatable": {"cpu": "1", "memory": "4Gi", "pods": "10"}});
        small.status = serde_json::from_value(allocatable).unwrap();
        *node = Some(Arc::new(small));
    });
    let big = json!({"resources": {"requests": {"cpu": "800m"}}, "containers": [{"name": "x"}]});
    cluster.create_with("big", big).await;
    cluster
        .create_with("idle", json!({"containers": [{"name": "x"}]}))
        .await;
    cluster.until_running_but("the big pod", "big", "").await;
    cluster.until_running_but("the idle pod", "idle", "").await;
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  resources: {requests: {cpu: '1'}}\n  \
                    containers:\n  - {name: c, image: 'i:1'}\n";
    std::fs::write(cluster.manifests.join("web.yaml"), manifest).unwrap();
    cluster.until_running_but("the critical pod", "web-n1", "").await;
    let over = |pod: Option<&Pod>| pod.is_some_and(orlop_api::pod::is_terminal);
    let big = cluster
        .until("the end of the big pod", "big", over)
        .await
        .unwrap();
    assert_eq!(
        orlop_api::pod::phase(&big),
        "Succeeded",
        "it ended well when told to"
    );
    let idle = cluster.pods.get("idle").await.unwrap();
    assert_eq!(orlop_api::pod::phase(&idle), "Running");
}

#[tokio::test]
async fn a53_critical_pod_that_cannot_fit_kills_nobody() {
    let cluster = Cluster::start().await;
    cluster.create("app", json!({}), json!({})).await;
    cluster.until_running_but("the pod", "app", "").await;
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - name: c\n    image: 'i:1'\n    \
                    resources: {requests: {cpu: '9999'}}\n";
    std::fs::write(cluster.manifests.join("web.yaml"), manifest).unwrap();
    let failed = |pod: Option<&Pod>| pod.is_some_and(|pod| orlop_api::pod::phase(pod) == "Failed");
    let pod = cluster.until("its rejection", "web-n1", failed).await.unwrap();
    assert_eq!(
        pod.status.unwrap().reason.as_deref(),
        Some("UnexpectedAdmissionError")
    );
    assert_eq!(cluster.runtime.running().len(), 1);
}

#[tokio::test]
async fn a30_version_of_a_manifest_that_changed_while_the_agent_was_down_is_cleaned_up() {
    let before = Cluster::start().await;
    before.write("i:1");
    before.until_running_but("the first version", "web-n1", "").await;
    let runtime = before.runtime.clone();
    let first = runtime.running();
    drop(before);
    let after = Cluster::start_on(runtime.clone()).await;
    after.write("i:2");
    after.runtime.until("StopContainer c 2").await;
    after.until_running_but("the second version", "web-n1", "").await;
    let gone = async {
        while runtime.running().iter().any(|id| first.contains(id)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, gone).await.is_ok());
    assert_eq!(runtime.running().len(), 1);
}

#[tokio::test]
async fn a49_eviction_of_a_mirror_leaves_its_containers_alone() {
    let cluster = Cluster::start().await;
    cluster.write("i:1");
    let first = cluster.until_running_but("the mirror", "web-n1", "").await;
    let starts = cluster.starts();
    cluster.pods.evict("web-n1", &Default::default()).await.unwrap();
    cluster
        .until_running_but("another mirror", "web-n1", &uid_of(&first))
        .await;
    assert_eq!(cluster.starts(), starts);
    assert_eq!(cluster.runtime.running().len(), 1);
}

#[tokio::test]
async fn a40_mirror_belongs_to_the_node_that_was_registered_anew() {
    let cluster = Cluster::start().await;
    cluster.write("i:1");
    cluster.until_running_but("the mirror", "web-n1", "").await;
    let starts = cluster.starts();
    let nodes: Api<Node> = Api::all(cluster.admin.clone());
    nodes.delete("n1", &DeleteParams::default()).await.unwrap();
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "n1"}})).unwrap();
    let node = nodes.create(&PostParams::default(), &node).await.unwrap();
    let owner = node.metadata.uid.clone().unwrap();
    cluster.node.send_replace(Some(Arc::new(node)));
    let owned = |pod: Option<&Pod>| {
        let owners = pod.and_then(|pod| pod.metadata.owner_references.as_ref());
        owners.is_some_and(|owners| owners[0].uid == owner)
    };
    // Anything that happens to the pod's page has it looked at, unless the agent has done so already.
    if let Err(error) = cluster.pods.delete("web-n1", &force()).await {
        assert!(
            matches!(&error, kube::Error::Api(status) if status.code == 404),
            "{error}"
        );
    }
    cluster.until("a mirror of the new node", "web-n1", owned).await;
    assert_eq!(cluster.starts(), starts);
}
