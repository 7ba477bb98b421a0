//! The node's own object against the real API server, on a made-up runtime.
use super::*;
use crate::config::GoDuration;
use crate::testing::FakeRuntime;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Event as CoreEvent;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use orlop_apiserver::{ApiServer, UserInfo};
use orlop_store::embedded::{EmbeddedStore, Options};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

struct Bench {
    runtime: Arc<FakeRuntime>,
    admin: kube::Client,
    nodes: Api<Node>,
    snapshot: Snapshot,
    began: Instant,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Bench {
    async fn start(no_network: bool) -> Self {
        let usual = KubeletConfiguration::default().node_status_update_frequency;
        Self::start_through(no_network, usual, |client| client).await
    }

    /// Whose agent looks at its node this often, and reaches the API server through `way`.
    async fn start_through(
        no_network: bool,
        frequency: GoDuration,
        way: impl FnOnce(kube::Client) -> kube::Client,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&dir.path().join("store"), Options::default()).unwrap();
        let config = orlop_apiserver::Config::new("127.0.0.1:6443".parse().unwrap());
        let server = ApiServer::start(config, store).await.unwrap();
        let admin = orlop_client::in_process(server.in_process(UserInfo::admin("test")));
        let own = UserInfo::new("system:node:n1", ["system:nodes"]);
        let client = way(orlop_client::in_process(server.in_process(own)));
        let runtime = Arc::<FakeRuntime>::default();
        *runtime.no_network.lock() = no_network;
        let (own_node, snapshot) = watch::channel(None);
        let taint = json!({"key": "team", "value": "a", "effect": "PreferNoSchedule"});
        let context = NodeContext {
            recorder: Recorder::new(client.clone(), "kubelet", Some("n1")),
            client,
            runtime: runtime.clone(),
            node_name: "n1".into(),
            configuration: KubeletConfiguration {
                register_with_taints: vec![serde_json::from_value(taint).unwrap()],
                node_status_update_frequency: frequency,
                ..KubeletConfiguration::default()
            },
            root: dir.path().to_owned(),
            node_ips: vec!["10.0.0.7".parse().unwrap()],
            labels: [("team".to_owned(), "a".to_owned())].into(),
            cgroup_v1: true,
            state: State::default(),
            reports: ReportBoard::default(),
            devices: watch::channel(BTreeMap::new()).1,
            own_node,
        };
        let stop = CancellationToken::new();
        tokio::spawn(run(context, stop.clone()));
        Self {
            runtime,
            nodes: Api::all(admin.clone()),
            admin,
            snapshot,
            began: Instant::now(),
            stop,
            _dir: dir,
        }
    }

    /// Waits until the own node, as this agent shows it, is as `check` wants it.
    async fn until(&self, what: &str, check: impl Fn(&Node) -> bool) -> Arc<Node> {
        let mut snapshot = self.snapshot.clone();
        let shown = snapshot.wait_for(|node| node.as_deref().is_some_and(&check));
        match tokio::time::timeout(Duration::from_secs(20), shown).await {
            Ok(node) => node.unwrap().clone().unwrap(),
            Err(_) => panic!("waited in vain for {what}: {:#?}", self.snapshot.borrow()),
        }
    }

    async fn patch(&self, patch: Value) {
        let patch = Patch::Merge(patch);
        self.nodes
            .patch("n1", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Waits until events on the node have been told, in whatever order.
    async fn until_events(&self, reasons: &[&str]) {
        let events: Api<CoreEvent> = Api::namespaced(self.admin.clone(), "default");
        let wait = async {
            loop {
                let all = events.list(&ListParams::default()).await.unwrap();
                let told: Vec<_> = all.iter().filter_map(|event| event.reason.as_deref()).collect();
                if reasons.iter().all(|reason| told.contains(reason)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(told.is_ok(), "not all of {reasons:?} were told");
    }
}

fn ready(node: &Node) -> bool {
    node.status.as_ref().is_some_and(status::is_ready)
}

fn labels(node: &Node) -> BTreeMap<String, String> {
    node.metadata.labels.clone().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n01_node_is_ready_within_a_second_and_renews_its_lease() {
    let bench = Bench::start(false).await;
    let node = bench.until("readiness", ready).await;
    let took = bench.began.elapsed();
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    assert_eq!(labels(&node)["team"], "a");
    assert_eq!(labels(&node)["kubernetes.io/hostname"], "n1");
    let taints = node.spec.as_ref().unwrap().taints.clone().unwrap_or_default();
    assert!(taints.iter().any(|taint| taint.key == "team"));
    let told = ["Starting", "CgroupV1", "NodeHasSufficientMemory", "NodeReady"];
    bench.until_events(&told).await;
    let leases: Api<Lease> = Api::namespaced(bench.admin.clone(), "kube-node-lease");
    let lease = loop {
        if let Some(lease) = leases.get_opt("n1").await.unwrap() {
            break lease;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let spec = lease.spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("n1"));
    assert_eq!(spec.lease_duration_seconds, Some(40));
    let owners = lease.metadata.owner_references.unwrap();
    assert_eq!(Some(&owners[0].uid), node.metadata.uid.as_ref());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n02_default_labels_come_back_and_given_ones_do_not() {
    let bench = Bench::start(false).await;
    bench.until("readiness", ready).await;
    bench
        .patch(json!({"metadata": {"labels": {"kubernetes.io/os": "plan9", "team": null}}}))
        .await;
    let mended = |node: &Node| {
        let labels = labels(node);
        labels.get("kubernetes.io/os").is_some_and(|os| os == "linux") && !labels.contains_key("team")
    };
    bench.until("the label", mended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n03_node_without_network_is_not_ready_until_there_is_one() {
    let bench = Bench::start(true).await;
    let node = bench.until("its status", |node| node.status.is_some()).await;
    let status = node.status.clone().unwrap();
    let last = status.conditions.as_ref().unwrap().last().unwrap().clone();
    assert!(
        last.message
            .unwrap()
            .starts_with("container runtime network not ready: NetworkReady=false")
    );
    *bench.runtime.no_network.lock() = false;
    bench.until("readiness", ready).await;
    bench.until_events(&["NodeNotReady", "NodeReady"]).await;
}

/// As when the API server's machine dies at a bad moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_that_nobody_answers_is_posted_again() {
    let is_held = Arc::new(AtomicBool::new(false));
    let held = is_held.clone();
    let way = move |client: kube::Client| {
        orlop_client::in_process(tower::service_fn(
            move |request: http::Request<kube::client::Body>| {
                let is_status = request.uri().path().ends_with("/status");
                let is_first = is_status && !held.swap(true, SeqCst);
                let client = client.clone();
                async move {
                    if is_first {
                        std::future::pending::<()>().await;
                    }
                    client.send(request).await
                }
            },
        ))
    };
    let often = GoDuration(Duration::from_secs(1));
    let bench = Bench::start_through(true, often, way).await;
    bench.until("its status", |node| node.status.is_some()).await;
    *bench.runtime.no_network.lock() = false;
    bench.until("readiness", ready).await;
    assert!(is_held.load(SeqCst));
}

/// As when the node was cut off for a while: the node lifecycle controller has given it up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_given_up_says_at_once_that_it_is_ready() {
    let bench = Bench::start(false).await;
    let first = bench.until("readiness", ready).await;
    // Times of conditions are whole seconds; nobody insists sooner.
    tokio::time::sleep(INSIST_PAUSE).await;
    let mut status = first.status.clone().unwrap();
    for condition in status.conditions.iter_mut().flatten() {
        condition.status = "Unknown".to_owned();
        condition.reason = Some("NodeStatusUnknown".to_owned());
    }
    let conditions = json!({"status": {"conditions": status.conditions}});
    let patch = Patch::Merge(conditions);
    bench
        .nodes
        .patch_status("n1", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let began = Instant::now();
    let since = |node: &Node| {
        let conditions = node.status.clone().unwrap().conditions.unwrap();
        let ready = conditions.into_iter().find(|c| c.type_ == "Ready").unwrap();
        ready.last_transition_time
    };
    let again = |node: &Node| ready(node) && since(node) != since(&first);
    bench.until("readiness again", again).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn s10_pods_together_have_what_is_not_reserved_and_no_threshold_is_taken_off() {
    let share = |reserved: &[(&str, &str)], threshold: &str| {
        let texts = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        let (system, kube) = reserved.split_at(reserved.len() / 2);
        share_of_pods(&KubeletConfiguration {
            system_reserved: system.iter().map(texts).collect(),
            kube_reserved: kube.iter().map(texts).collect(),
            eviction_hard: [("memory.available".to_owned(), threshold.to_owned())].into(),
            ..KubeletConfiguration::default()
        })
    };
    let whole = share(&[], "1Mi");
    assert_eq!(whole.memory, Some(memory_capacity()));
    assert_eq!(share(&[], "2Mi"), whole);
    let reserved = [
        ("cpu", "100m"),
        ("memory", "1Mi"),
        ("memory", "2Mi"),
        ("pid", "10"),
    ];
    let left = share(&reserved, "1Mi");
    assert_eq!(left.memory, whole.memory.map(|all| all - (3 << 20)));
    assert_eq!(left.milli_cpu, whole.milli_cpu.map(|all| all - 100));
    assert_eq!(left.processes, whole.processes.map(|all| all - 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_node_is_registered_again_and_cordoning_is_told() {
    let bench = Bench::start(false).await;
    let first = bench.until("readiness", ready).await;
    bench.nodes.delete("n1", &DeleteParams::default()).await.unwrap();
    let other = |node: &Node| node.metadata.uid != first.metadata.uid && ready(node);
    bench.until("another node", other).await;
    bench.patch(json!({"spec": {"unschedulable": true}})).await;
    bench.until_events(&["NodeNotSchedulable"]).await;
    bench.patch(json!({"spec": {"unschedulable": null}})).await;
    bench.until_events(&["NodeSchedulable"]).await;
}

/// As a cluster's administrator advertises a resource, and as a test of a scheduler does it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resources_in_the_capacity_of_a_node_become_allocatable_and_what_was_wiped_comes_back() {
    let bench = Bench::start(false).await;
    bench.until("readiness", ready).await;
    tokio::time::sleep(INSIST_PAUSE).await;
    let patch = json!({"status": {"capacity": {"example.com/dongle": "4"},
        "nodeInfo": {"kubeletVersion": "", "osImage": ""}, "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}}});
    bench
        .nodes
        .patch_status("n1", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    let of = |node: &Node, list: fn(&NodeStatus) -> &Option<BTreeMap<String, Quantity>>| {
        let list = list(node.status.as_ref().unwrap()).clone().unwrap_or_default();
        list.get("example.com/dongle").map(|quantity| quantity.0.clone())
    };
    bench
        .until("the resource", |node| {
            of(node, |status| &status.allocatable).as_deref() == Some("4")
                && of(node, |status| &status.capacity).as_deref() == Some("4")
        })
        .await;
    bench
        .until("its own word on the machine", |node| {
            let status = node.status.as_ref().unwrap();
            let endpoint = status
                .daemon_endpoints
                .clone()
                .unwrap_or_default()
                .kubelet_endpoint;
            status.node_info.as_ref().unwrap().kubelet_version == status::KUBELET_VERSION
                && endpoint.is_some_and(|endpoint| endpoint.port != 0)
        })
        .await;
}
