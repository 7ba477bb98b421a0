//! Plugins as programs with sockets.
use super::*;
use crate::devices::Count;
use crate::grpc::{self, Refusal, decode, one};
use parking_lot::Mutex;
use prost::Message;

const RESOURCE: &str = "example.com/announced";
/// `ListAndWatchResponse` with one healthy device named `d`.
const LIST: &[u8] = b"\x0a\x0c\x0a\x01d\x12\x07Healthy";

struct Bench {
    root: tempfile::TempDir,
    devices: Arc<Devices>,
    stop: CancellationToken,
    told: Arc<Mutex<Vec<RegistrationStatus>>>,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let devices = Devices::open(root.path(), stop.clone());
        tokio::spawn(run(directory(root.path()), devices.clone(), stop.clone()));
        Self {
            root,
            devices,
            stop,
            told: Arc::default(),
        }
    }

    /// A plugin with its socket at `path` below the registry.
    fn plugin(&self, path: &str, info: PluginInfo) -> CancellationToken {
        self.plugin_not_ready(path, info, 0)
    }

    /// The same, which does not say at first what it can do.
    fn plugin_not_ready(&self, path: &str, info: PluginInfo, times: usize) -> CancellationToken {
        let silent = Mutex::new(times);
        let told = self.told.clone();
        let service: grpc::Service = Arc::new(move |path: &str, message: &[u8]| match path {
            "/pluginregistration.Registration/GetInfo" => Ok(one(info.clone())),
            "/pluginregistration.Registration/NotifyRegistrationStatus" => {
                told.lock().push(decode(message)?);
                Ok(one(RegistrationStatusResponse {}))
            }
            "/v1beta1.DevicePlugin/GetDevicePluginOptions" => {
                let mut silent = silent.lock();
                if *silent > 0 {
                    *silent -= 1;
                    return Err(Refusal::unknown(path));
                }
                Ok(one(RegistrationStatusResponse {}))
            }
            "/v1beta1.DevicePlugin/ListAndWatch" => {
                let list = futures::stream::once(async { LIST.to_vec() });
                Ok(list.chain(futures::stream::pending()).boxed())
            }
            _ => Err(Refusal::unknown(path)),
        });
        let end = self.stop.child_token();
        let socket = directory(self.root.path()).join(path);
        tokio::spawn(grpc::serve(grpc::listen(&socket).unwrap(), service, end.clone()));
        end
    }

    async fn until(&self, wanted: Count) {
        let mut counts = self.devices.counts();
        let wait = counts.wait_for(|counts| counts.get(RESOURCE) == Some(&wanted));
        let done = tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok();
        assert!(done, "{:?}", self.devices.counts().borrow());
    }

    async fn until_told(&self, count: usize) -> Vec<RegistrationStatus> {
        let wait = async {
            while self.told.lock().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
        self.told.lock().clone()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn info(kind: &str, version: &str) -> PluginInfo {
    PluginInfo {
        kind: kind.into(),
        name: RESOURCE.into(),
        endpoint: String::new(),
        supported_versions: vec![version.into()],
    }
}

#[test]
fn list_is_what_it_is_said_to_be() {
    let list = crate::devices::testing::ListAndWatchResponse::decode(LIST).unwrap();
    assert_eq!((&*list.devices[0].id, &*list.devices[0].health), ("d", "Healthy"));
}

#[tokio::test]
async fn device_plugin_that_announces_itself_is_taken_in_and_again_when_it_comes_back() {
    let bench = Bench::new();
    let one = Count { all: 1, healthy: 1 };
    for (round, path) in ["p.sock", "p.sock", "below/p.sock"].into_iter().enumerate() {
        let end = bench.plugin(path, info("DevicePlugin", "v1beta1"));
        bench.until(one).await;
        let told = bench.until_told(round + 1).await;
        assert!(
            told[round].plugin_registered && told[round].error.is_empty(),
            "{told:?}"
        );
        end.cancel();
        bench.until(Count { all: 1, healthy: 0 }).await;
    }
}

#[tokio::test]
async fn device_plugin_that_is_not_ready_is_told_so_and_asked_again() {
    let bench = Bench::new();
    bench.plugin_not_ready("p.sock", info("DevicePlugin", "v1beta1"), 1);
    let told = bench.until_told(2).await;
    assert!(
        !told[0].plugin_registered && told[0].error.contains("options"),
        "{told:?}"
    );
    assert!(told[1].plugin_registered, "{told:?}");
    bench.until(Count { all: 1, healthy: 1 }).await;
}

#[tokio::test]
async fn plugins_that_are_of_no_use_are_told_why() {
    let bench = Bench::new();
    bench.plugin("csi.sock", info("CSIPlugin", "1.0.0"));
    let told = bench.until_told(1).await;
    assert!(!told[0].plugin_registered);
    assert!(told[0].error.contains("plugin type: CSIPlugin"), "{told:?}");
    bench.plugin("new.sock", info("DevicePlugin", "v9"));
    let told = bench.until_told(2).await;
    assert!(!told[1].plugin_registered);
    assert!(told[1].error.contains("v1beta1"), "{told:?}");
    bench.plugin(".hidden.sock", info("DevicePlugin", "v1beta1"));
    assert!(bench.devices.counts().borrow().is_empty());
}
