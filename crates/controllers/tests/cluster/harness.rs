//! A cluster for a test: API server, store, controllers, scheduler and hollow nodes.

use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::runtime::{WatchStreamExt, watcher};
use orlop_apiserver::{ApiServer, Config, UserInfo};
use orlop_controllers::{Accounts, CertificateSigning, ClusterRange, ControllersConfig};
use orlop_pki::TokenSigner;
use orlop_store::embedded::{EmbeddedStore, Options};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::{BoxError, ServiceExt};

/// How long something may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An answer; one that says that the caller has no right is noted.
async fn noted<B>(
    asked: &str,
    answer: Response<B>,
    refused: &Mutex<Vec<String>>,
) -> Result<Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, body) = answer.into_parts();
    if parts.status != StatusCode::FORBIDDEN {
        let body = body.map_err(Into::into).boxed_unsync();
        return Ok(Response::from_parts(parts, body));
    }
    let body = body.collect().await.map_err(Into::into)?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    if text.contains(" cannot ") {
        refused.lock().unwrap().push(format!("{asked}: {text}"));
    }
    let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
    Ok(Response::from_parts(parts, body))
}

pub struct Cluster {
    pub client: kube::Client,
    server: Arc<ApiServer>,
    _stop: DropGuard,
    stop: CancellationToken,
    agents: CancellationToken,
    /// What controllers tell clients within the cluster to trust.
    pub root_ca: watch::Sender<Arc<str>>,
    /// What controllers had no right to.
    refused: Arc<Mutex<Vec<String>>>,
    _store: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let refused = self.refused.lock().unwrap();
        if !refused.is_empty() && !std::thread::panicking() {
            panic!("controllers had no right to {refused:#?}");
        }
    }
}

impl Cluster {
    /// A server with nothing running against it.
    pub async fn bare() -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(directory.path(), Options::default()).unwrap();
        let stop = CancellationToken::new();
        let mut config = Config::new("127.0.0.1:6443".parse().unwrap());
        config.shutdown = stop.clone();
        let server = ApiServer::start(config, store).await.unwrap();
        let client = orlop_client::in_process(server.in_process(UserInfo::admin("test")));
        Self {
            client,
            server,
            _stop: stop.clone().drop_guard(),
            agents: stop.child_token(),
            root_ca: watch::channel("the CA".into()).0,
            stop,
            refused: Arc::default(),
            _store: directory,
        }
    }

    /// A server with controllers, scheduler and hollow node agents.
    pub async fn start() -> Self {
        let cluster = Self::bare().await;
        cluster.run_controllers();
        cluster.run_scheduler();
        cluster.run_agents();
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
            Api::namespaced(cluster.client.clone(), "default");
        eventually("the default account", || async {
            accounts.get_opt("default").await.unwrap()
        })
        .await;
        cluster
    }

    fn client_as(&self, user: &str) -> kube::Client {
        let groups: [String; 0] = [];
        orlop_client::in_process(self.server.in_process(UserInfo::new(user, groups)))
    }

    /// Clients that are service accounts of kube-system, which ask for nothing that those may not.
    fn accounts(&self) -> impl Fn(&'static str) -> kube::Client + Send + Sync + 'static {
        let (server, refused) = (self.server.clone(), self.refused.clone());
        move |name| {
            let refused = refused.clone();
            let service = server.in_process(UserInfo::service_account("kube-system", name));
            orlop_client::in_process(tower::service_fn(move |request: Request<Body>| {
                let asked = format!("{} {}", request.method(), request.uri());
                let (answer, refused) = (service.clone().oneshot(request), refused.clone());
                async move { noted(&asked, answer.await?, &refused).await }
            }))
        }
    }

    pub fn run_controllers(&self) -> CancellationToken {
        self.run_controllers_sharing(None)
    }

    /// Who signs what is kept in Secrets.
    pub fn token_signer(&self) -> TokenSigner {
        TokenSigner::ensure(self._store.path()).unwrap()
    }

    /// With pod addresses to share out to nodes.
    pub fn run_controllers_sharing(&self, node_ranges: Option<ClusterRange>) -> CancellationToken {
        self.run_controllers_with(|config| config.node_ranges = node_ranges)
    }

    /// With what `configure` says on top.
    pub fn run_controllers_with(&self, configure: impl FnOnce(&mut ControllersConfig)) -> CancellationToken {
        let stop = self.stop.child_token();
        let mut config = ControllersConfig {
            root_ca: Some(self.root_ca.subscribe().into()),
            signing: Some(CertificateSigning {
                authority: orlop_pki::Authority::ephemeral("kubernetes").unwrap().into(),
                lifetime_max: Duration::from_secs(3600),
            }),
            token_signer: Some(Arc::new(self.token_signer())),
            // With no more than upstream gives its own.
            accounts: Some(Accounts::new(self.accounts())),
            ..ControllersConfig::default()
        };
        configure(&mut config);
        let run = orlop_controllers::run(
            self.client_as("system:kube-controller-manager"),
            config,
            stop.clone(),
        );
        tokio::spawn(async move { run.await.unwrap() });
        stop
    }

    pub fn run_scheduler(&self) {
        self.run_scheduler_by(orlop_scheduler::Options::default());
    }

    pub fn run_scheduler_by(&self, options: orlop_scheduler::Options) {
        self.run_scheduler_through(self.scheduler_client(), options);
    }

    pub fn scheduler_client(&self) -> kube::Client {
        self.client_as("system:kube-scheduler")
    }

    /// By a client that the test has its hands on.
    pub fn run_scheduler_through(&self, client: kube::Client, options: orlop_scheduler::Options) {
        let stop = self.stop.child_token();
        tokio::spawn(async move {
            let metrics = Arc::new(orlop_metrics::PartMetrics::new(""));
            let readiness = orlop_client::Readiness::default();
            let run = orlop_scheduler::run_measured(client, &options, metrics, &readiness, stop);
            run.await.unwrap();
        });
    }

    /// Plays the node agents of all nodes: bound pods run and are ready, deleted ones go.
    pub fn run_agents(&self) {
        self.run_agents_until(self.agents.clone());
    }

    /// The same, after they were stopped.
    pub fn run_agents_again(&self) {
        self.run_agents_until(self.stop.child_token());
    }

    fn run_agents_until(&self, stop: CancellationToken) {
        let client = self.client.clone();
        tokio::spawn(async move {
            let pods = watcher(Api::<Pod>::all(client.clone()), watcher::Config::default())
                .default_backoff()
                .applied_objects();
            let each = pods.for_each_concurrent(16, |pod| {
                let client = client.clone();
                async move {
                    if let Ok(pod) = pod {
                        agent(&client, pod).await;
                    }
                }
            });
            tokio::select! { () = each => {}, () = stop.cancelled() => {} }
        });
    }

    /// From now on no node agent does anything.
    pub fn stop_agents(&self) {
        self.agents.cancel();
    }

    /// A node that is ready.
    pub async fn add_node(&self, name: &str, labels: Value) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = json!({
            "metadata": {"name": name, "labels": labels},
            "status": {
                "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                    "lastHeartbeatTime": jiff::Timestamp::now().to_string()}],
            },
        });
        nodes
            .create(&PostParams::default(), &serde_json::from_value(node).unwrap())
            .await
            .unwrap();
    }

    pub async fn patch_node(&self, name: &str, patch: Value) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    pub async fn set_ready(&self, node: &str, status: &str) {
        let patch = json!({"status": {"conditions": [{"type": "Ready", "status": status,
            "lastHeartbeatTime": jiff::Timestamp::now().to_string()}]}});
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes
            .patch_status(node, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .unwrap();
    }

    pub fn sets(&self) -> Api<DaemonSet> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub async fn create_set(&self, name: &str, spec: Value) {
        let set = daemon_set(name, spec);
        self.sets().create(&PostParams::default(), &set).await.unwrap();
    }

    pub async fn patch_set(&self, name: &str, patch: Value) {
        self.sets()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// The pods of a DaemonSet that aren't terminating, as `node image ready` lines.
    pub async fn running(&self, set: &str) -> Vec<String> {
        let params = ListParams::default().labels(&format!("app={set}"));
        let mut lines: Vec<String> = self
            .pods()
            .list(&params)
            .await
            .unwrap()
            .items
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .map(|pod| {
                let spec = pod.spec.as_ref().unwrap();
                let node = spec.node_name.as_deref().unwrap_or("-");
                let image = spec.containers[0].image.as_deref().unwrap_or_default();
                format!(
                    "{node} {image} {}",
                    if orlop_api::pod::is_ready(pod) {
                        "ready"
                    } else {
                        "waiting"
                    }
                )
            })
            .collect();
        lines.sort();
        lines
    }

    /// Waits until the set's pods are exactly these.
    pub async fn expect_running<const N: usize>(&self, set: &str, want: [&str; N]) {
        let mut last = Vec::new();
        for _ in 0..PATIENCE.as_millis() / 20 {
            last = self.running(set).await;
            if last == want {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("pods of {set} are {last:#?}, not {want:#?}");
    }

    /// Waits until the images of the pods labelled `app` are exactly these.
    pub async fn expect_images<const N: usize>(&self, app: &str, want: [&str; N]) {
        eventually("the pods' images", || async {
            let lines = self.running(app).await;
            let images: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').nth(1)).collect();
            (images == want).then_some(())
        })
        .await;
    }

    /// desired, current, ready, updated, available, misscheduled.
    pub async fn expect_status(&self, set: &str, want: [i32; 6]) {
        let mut last = [0; 6];
        for _ in 0..PATIENCE.as_millis() / 20 {
            let status = self.sets().get(set).await.unwrap().status.unwrap_or_default();
            last = [
                status.desired_number_scheduled,
                status.current_number_scheduled,
                status.number_ready,
                status.updated_number_scheduled.unwrap_or(0),
                status.number_available.unwrap_or(0),
                status.number_misscheduled,
            ];
            if last == want {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("status of {set} is {last:?}, not {want:?}");
    }
}

/// Waits until `look` finds something.
pub async fn eventually<T, F>(what: &str, look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    eventually_within(PATIENCE, what, look).await
}

/// The same, for what takes its time.
pub async fn eventually_within<T, F>(patience: Duration, what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(patience, found)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {patience:?}"))
}

/// A DaemonSet of one container with image `img:1`; `spec` is merged over its spec.
pub fn daemon_set(name: &str, spec: Value) -> DaemonSet {
    let mut set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "img:1"}], "terminationGracePeriodSeconds": 1},
            },
        },
    });
    orlop_api::patch::merge(&mut set["spec"], &spec);
    serde_json::from_value(set).unwrap()
}

pub fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

async fn agent(client: &kube::Client, pod: Pod) {
    let namespace = pod.metadata.namespace.clone().unwrap();
    let name = pod.metadata.name.clone().unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let spec = pod.spec.as_ref().unwrap();
    if spec.node_name.is_none() {
        return;
    }
    if pod.metadata.deletion_timestamp.is_some() {
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        ignore(pods.delete(&name, &now).await);
    } else if !orlop_api::pod::is_terminal(&pod) && !orlop_api::pod::is_ready(&pod) {
        // Images called `broken…` never become ready.
        let ready = !spec.containers[0]
            .image
            .as_deref()
            .unwrap_or_default()
            .starts_with("broken");
        let image = match spec.restart_policy.as_deref() {
            // Whatever it runs once ends well.
            Some("Never") if spec.containers[0].command.is_some() => "done",
            _ => spec.containers[0].image.as_deref().unwrap_or_default(),
        };
        if let Some(patch) = ended(&image_of_index(&pod, image), &spec.containers[0].name) {
            ignore(
                pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch))
                    .await,
            );
            return;
        }
        if orlop_api::pod::phase(&pod) == "Running" && !ready {
            return;
        }
        let ip = ip_of(&name);
        let patch = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [
            {"type": "Ready", "status": if ready { "True" } else { "False" },
             "lastTransitionTime": jiff::Timestamp::now().to_string()}]}});
        ignore(
            pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch))
                .await,
        );
    }
}

/// Of an image `A|B` that part which is for the pod's completion index: A if it is even, B if it is odd.
fn image_of_index(pod: &Pod, image: &str) -> String {
    let index: Option<u32> = pod.metadata.labels.as_ref().and_then(|labels| {
        let index = labels.get("batch.kubernetes.io/job-completion-index")?;
        index.parse().ok()
    });
    match image.split_once('|') {
        Some((even, _)) if index.is_some_and(|index| index % 2 == 0) => even.to_owned(),
        Some((_, odd)) => odd.to_owned(),
        None => image.to_owned(),
    }
}

/// Images called `done…` end well at once, those called `fail-N` with exit code N.
fn ended(image: &str, container: &str) -> Option<Value> {
    let (phase, code) = if image.starts_with("done") {
        ("Succeeded", 0)
    } else {
        ("Failed", image.strip_prefix("fail-")?.parse().ok()?)
    };
    Some(
        json!({"status": {"phase": phase, "containerStatuses": [{"name": container, "image": image, "imageID": "",
        "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": code,
            "finishedAt": jiff::Timestamp::now().to_string()}}}]}}),
    )
}

/// An address that is a pod's own, but for unlikely chance.
fn ip_of(pod: &str) -> String {
    let [_, b, c, d] = orlop_api::fnv::fnv1a32(pod.as_bytes()).to_be_bytes();
    format!("10.{b}.{c}.{d}")
}

/// The pod may be gone meanwhile.
fn ignore<T: Debug>(result: Result<T, kube::Error>) {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
        result => drop(result.unwrap()),
    }
}
