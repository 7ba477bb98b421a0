//! Plugins as programs that register and are asked.
use super::*;
use crate::grpc::testing::Caller as Client;
use crate::grpc::{self, Refusal, decode, one};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use messages::{
    AllocateRequest, AllocateResponse, ContainerAllocateResponse, DeviceSpec, Empty, ListAndWatchResponse,
    Mount, Options, PreStartContainerRequest, PreferredRequest, PreferredResponse, RegisterRequest, Topology,
};
use orlop_api::pod::uid;
use prost::Message;
use registration::VERSION;
use serde_json::json;

const RESOURCE: &str = "example.com/sample";

struct Bench {
    root: tempfile::TempDir,
    devices: Arc<Devices>,
    stop: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn at(root: tempfile::TempDir) -> Self {
        let stop = CancellationToken::new();
        let devices = Devices::open(root.path(), stop.clone());
        let listener = grpc::listen(&devices.socket()).unwrap();
        tokio::spawn(grpc::serve(listener, devices.service(), stop.clone()));
        Self { root, devices, stop }
    }

    /// The next agent on the same node.
    fn restarted(self) -> Self {
        self.stop.cancel();
        Self::at(self.root)
    }

    /// A plugin whose list is what is sent.
    async fn plugin(&self, options: Options) -> Plugin {
        let (plugin, status) = self.plugin_saying(Some(options)).await;
        assert_eq!(status, "0");
        plugin
    }

    /// The same, and what became of its registration.
    async fn plugin_saying(&self, options: Option<Options>) -> (Plugin, String) {
        let (lists, listed) = watch::channel(None);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let end = self.stop.child_token();
        let notes = asked.clone();
        let service: grpc::Service = Arc::new(move |path: &str, message: &[u8]| {
            let method = path.rsplit('/').next().unwrap_or_default();
            match method {
                "GetDevicePluginOptions" => match options {
                    Some(options) => Ok(one(options)),
                    None => Err(Refusal {
                        code: grpc::UNKNOWN,
                        message: "it does not say".into(),
                    }),
                },
                "ListAndWatch" => {
                    let lists = tokio_stream::wrappers::WatchStream::new(listed.clone());
                    let lists = lists.filter_map(std::future::ready);
                    let lists = lists.map(|devices| ListAndWatchResponse { devices }.encode_to_vec());
                    Ok(lists.boxed())
                }
                "Allocate" => {
                    let request: AllocateRequest = decode(message)?;
                    let ids = request.containers[0].device_ids.clone();
                    notes.lock().push(format!("{method} {}", ids.join(",")));
                    let response = ContainerAllocateResponse {
                        envs: [("DEVICES".to_owned(), ids.join(","))].into(),
                        mounts: vec![Mount {
                            container_path: "/lib/x".into(),
                            host_path: "/opt/x".into(),
                            read_only: true,
                        }],
                        devices: vec![DeviceSpec {
                            container_path: "/dev/x".into(),
                            host_path: "/dev/null".into(),
                            permissions: "rw".into(),
                        }],
                        annotations: [("a".to_owned(), "b".to_owned())].into(),
                        ..ContainerAllocateResponse::default()
                    };
                    Ok(one(AllocateResponse {
                        containers: vec![response],
                    }))
                }
                "PreStartContainer" => {
                    let request: PreStartContainerRequest = decode(message)?;
                    notes
                        .lock()
                        .push(format!("{method} {}", request.device_ids.join(",")));
                    Ok(one(Empty {}))
                }
                "GetPreferredAllocation" => {
                    let request: PreferredRequest = decode(message)?;
                    let last = request.containers[0].available.last().cloned();
                    let response = messages::ContainerPreferredResponse {
                        device_ids: last.into_iter().collect(),
                    };
                    Ok(one(PreferredResponse {
                        containers: vec![response],
                    }))
                }
                _ => Err(Refusal::unknown(path)),
            }
        });
        let socket = self.root.path().join("device-plugins").join("sample.sock");
        tokio::spawn(grpc::serve(grpc::listen(&socket).unwrap(), service, end.clone()));
        let request = RegisterRequest {
            version: VERSION.into(),
            endpoint: "sample.sock".into(),
            resource_name: RESOURCE.into(),
            options: None,
        };
        let status = self.register(&request).await;
        (Plugin { lists, asked, end }, status)
    }

    async fn register(&self, request: &RegisterRequest) -> String {
        let mut client = Client::connect(&self.devices.socket(), "v1beta1.Registration").await;
        client.ask("Register", request.encode_to_vec()).await.1
    }

    async fn until(&self, all: usize, healthy: usize) {
        let mut counts = self.devices.counts();
        let wanted = Count { all, healthy };
        let wait = counts.wait_for(|counts| counts.get(RESOURCE) == Some(&wanted));
        let done = tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok();
        assert!(done, "{:?}", self.devices.counts().borrow());
    }

    async fn give(&self, pod: &Pod) -> Result<String, String> {
        self.devices.give(pod).await?;
        let setting = self.devices.setting(uid(pod), "c").await?;
        Ok(setting.env.iter().map(|(_, value)| value.as_str()).collect())
    }
}

struct Plugin {
    /// Nothing is said before there is a list.
    lists: watch::Sender<Option<Vec<Device>>>,
    asked: Arc<Mutex<Vec<String>>>,
    end: CancellationToken,
}

impl Plugin {
    fn list(&self, devices: &[(&str, &str)]) {
        let device = |(id, health): &(&str, &str)| Device {
            id: (*id).into(),
            health: (*health).into(),
            topology: Some(Topology {
                nodes: vec![messages::NumaNode { id: 1 }],
            }),
        };
        let devices = devices.iter().map(device).collect();
        self.lists.send_replace(Some(devices));
    }
}

const TWO: &[(&str, &str)] = &[("Dev-1", "Healthy"), ("Dev-2", "Healthy")];

fn pod(uid: &str, count: usize) -> Pod {
    let object = json!({"metadata": {"name": uid, "uid": uid}, "spec": {"containers": [{"name": "c",
        "resources": {"limits": {RESOURCE: count.to_string()}}}]}});
    serde_json::from_value(object).unwrap()
}

#[tokio::test]
async fn pods_get_devices_of_their_own_until_there_are_none() {
    let bench = Bench::new();
    let plugin = bench.plugin(Options::default()).await;
    plugin.list(TWO);
    bench.until(2, 2).await;
    assert_eq!(bench.give(&pod("a", 1)).await.unwrap(), "Dev-1");
    let record = bench.root.path().join("pods/a/devices.json");
    std::fs::remove_file(&record).unwrap();
    assert_eq!(
        bench.give(&pod("a", 1)).await.unwrap(),
        "Dev-1",
        "it has it already"
    );
    assert!(!record.exists(), "what is known already is not written again");
    assert_eq!(bench.give(&pod("b", 1)).await.unwrap(), "Dev-2");
    assert_eq!(
        bench.give(&pod("c", 1)).await.unwrap_err(),
        format!("requested number of devices unavailable for {RESOURCE}. Requested: 1, Available: 0")
    );
    assert_eq!(bench.give(&pod("d", 0)).await.unwrap(), "");
    let setting = bench.devices.setting("a", "c").await.unwrap();
    assert_eq!(setting.devices[0].container_path, "/dev/x");
    assert!(setting.mounts[0].readonly);
    assert_eq!(setting.annotations["a"], "b");
    let held = Held {
        resource: RESOURCE.into(),
        id: "Dev-2".into(),
        nodes: Some(vec![1]),
    };
    assert_eq!(bench.devices.held_by("b", "c"), [held]);
    assert_eq!(bench.devices.allocatable().len(), 2);
    bench.devices.take_back("a").unwrap();
    assert_eq!(bench.give(&pod("c", 1)).await.unwrap(), "Dev-1");
    assert_eq!(
        *plugin.asked.lock(),
        ["Allocate Dev-1", "Allocate Dev-2", "Allocate Dev-1"]
    );
}

#[tokio::test]
async fn sick_devices_and_those_of_a_plugin_that_is_gone_go_to_nobody() {
    let bench = Bench::new();
    let plugin = bench.plugin(Options::default()).await;
    plugin.list(&[("Dev-1", "Unhealthy"), ("Dev-2", "Healthy")]);
    bench.until(2, 1).await;
    assert_eq!(bench.give(&pod("a", 1)).await.unwrap(), "Dev-2");
    plugin.end.cancel();
    bench.until(2, 0).await;
    assert!(bench.give(&pod("b", 1)).await.is_err());
    // It comes back.
    let plugin = bench.plugin(Options::default()).await;
    plugin.list(TWO);
    bench.until(2, 2).await;
    assert_eq!(bench.give(&pod("b", 1)).await.unwrap(), "Dev-1");
}

#[tokio::test]
async fn what_was_given_outlives_the_agent_and_its_resource_is_there_with_none() {
    let bench = Bench::new();
    let plugin = bench.plugin(Options::default()).await;
    plugin.list(TWO);
    bench.until(2, 2).await;
    bench.give(&pod("a", 1)).await.unwrap();
    let bench = bench.restarted();
    assert_eq!(bench.devices.counts().borrow()[RESOURCE], Count::default());
    assert_eq!(bench.give(&pod("a", 1)).await.unwrap(), "Dev-1");
    bench.devices.clear();
    assert!(!bench.root.path().join("device-plugins/sample.sock").exists());
    let listener = grpc::listen(&bench.devices.socket()).unwrap();
    tokio::spawn(grpc::serve(listener, bench.devices.service(), bench.stop.clone()));
    let plugin = bench.plugin(Options::default()).await;
    plugin.list(TWO);
    bench.until(2, 2).await;
    assert_eq!(bench.give(&pod("b", 1)).await.unwrap(), "Dev-2");
}

#[tokio::test]
async fn plugins_may_choose_and_make_ready() {
    let bench = Bench::new();
    let options = Options {
        pre_start_required: true,
        get_preferred_allocation_available: true,
    };
    let plugin = bench.plugin(options).await;
    plugin.list(TWO);
    bench.until(2, 2).await;
    assert_eq!(bench.give(&pod("a", 1)).await.unwrap(), "Dev-2");
    assert_eq!(
        *plugin.asked.lock(),
        ["Allocate Dev-2", "PreStartContainer Dev-2"]
    );
}

#[tokio::test]
async fn plugin_that_does_not_say_what_it_can_do_is_not_used() {
    let bench = Bench::new();
    let (plugin, status) = bench.plugin_saying(None).await;
    assert_eq!(status, grpc::UNKNOWN.to_string());
    plugin.list(TWO);
    assert!(bench.devices.counts().borrow().is_empty());
}

#[tokio::test]
async fn registrations_that_cannot_work_are_refused() {
    let bench = Bench::new();
    let good = RegisterRequest {
        version: VERSION.into(),
        endpoint: "x.sock".into(),
        resource_name: RESOURCE.into(),
        options: None,
    };
    let change = |change: &dyn Fn(&mut RegisterRequest)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad
    };
    for bad in [
        change(&|bad| bad.version = "v1".into()),
        change(&|bad| bad.resource_name = "cpu".into()),
        change(&|bad| bad.resource_name = "kubernetes.io/x".into()),
        change(&|bad| bad.endpoint = "../x.sock".into()),
    ] {
        assert_eq!(
            bench.register(&bad).await,
            grpc::INVALID_ARGUMENT.to_string(),
            "{bad:?}"
        );
    }
}

#[tokio::test]
async fn pods_are_told_how_their_devices_are() {
    let bench = Bench::new();
    let mut affected = bench.devices.affected();
    let plugin = bench.plugin(Options::default()).await;
    plugin.list(TWO);
    bench.until(2, 2).await;
    bench.give(&pod("a", 1)).await.unwrap();
    bench.give(&pod("b", 1)).await.unwrap();
    let health = || {
        let told = bench.devices.told_of("a", "c");
        assert_eq!(told[0].name, RESOURCE);
        let first = told[0].resources.as_ref().unwrap()[0].clone();
        (first.resource_id, first.health.unwrap())
    };
    let is = |health: &str| ("Dev-1".to_owned(), health.to_owned());
    assert_eq!(health(), is("Healthy"));
    plugin.list(&[("Dev-1", "Unhealthy"), ("Dev-2", "Healthy")]);
    assert_eq!(
        affected.recv().await.as_deref(),
        Some("a"),
        "the other's is in order"
    );
    assert_eq!(health(), is("Unhealthy"));
    plugin.list(TWO);
    assert_eq!(affected.recv().await.as_deref(), Some("a"));
    assert_eq!(health(), is("Healthy"));
    plugin.end.cancel();
    let mut both = [affected.recv().await.unwrap(), affected.recv().await.unwrap()];
    both.sort();
    assert_eq!(both, ["a", "b"]);
    assert_eq!(health(), is("Unhealthy"), "its plugin is gone");
    drop(plugin);
    let bench = bench.restarted();
    let told = bench.devices.told_of("a", "c");
    let first = told[0].resources.as_ref().unwrap()[0].clone();
    assert_eq!(
        first.health.as_deref(),
        Some("Healthy"),
        "nothing is known of it yet"
    );
    assert!(bench.devices.told_of("a", "other").is_empty());
    let mut affected = bench.devices.affected();
    bench.devices.clear();
    let listener = grpc::listen(&bench.devices.socket()).unwrap();
    tokio::spawn(grpc::serve(listener, bench.devices.service(), bench.stop.clone()));
    let plugin = bench.plugin(Options::default()).await;
    plugin.list(TWO);
    bench.until(2, 2).await;
    assert!(
        affected.try_recv().is_err(),
        "a plugin that has no list yet takes nothing away"
    );
    bench.plugin(Options::default()).await;
    let mut both = [affected.recv().await.unwrap(), affected.recv().await.unwrap()];
    both.sort();
    assert_eq!(both, ["a", "b"], "another has taken its place");
}
