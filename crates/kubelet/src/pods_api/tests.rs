//! The service over its socket, as a program on the node calls it.
use super::*;
use crate::grpc::testing::Caller;
use crate::grpc::{FRAME_HEADER, NOT_FOUND, UNIMPLEMENTED, listen, serve};
use crate::sources::Source;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use messages::{EventType, WatchPodsEvent};
use serde_json::json;
use tokio_util::sync::CancellationToken;

struct Service {
    pods: PodsHandle,
    caller: Caller,
    _end: tokio_util::sync::DropGuard,
    _root: tempfile::TempDir,
}

impl Service {
    async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (pods, shutdown) = (PodsHandle::default(), CancellationToken::new());
        let socket = socket(root.path());
        tokio::spawn(serve(
            listen(&socket).unwrap(),
            service(pods.clone()),
            shutdown.clone(),
        ));
        Self {
            pods,
            caller: Caller::connect(&socket, "v1alpha1.Pods").await,
            _end: shutdown.drop_guard(),
            _root: root,
        }
    }
}

fn pod(name: &str, uid: &str) -> Arc<Pod> {
    Arc::new(serde_json::from_value(json!({"metadata": {"name": name, "uid": uid}})).unwrap())
}

/// The next event of a watch, with the pod's name.
async fn next(watch: &mut Incoming) -> (EventType, String) {
    let frame = tokio::time::timeout(std::time::Duration::from_secs(20), watch.frame()).await;
    let data = frame.unwrap().unwrap().unwrap().into_data().unwrap();
    let event = WatchPodsEvent::decode(&data[FRAME_HEADER..]).unwrap();
    let envelope = protobuf::envelope("v1", "Pod", &event.pod);
    let object = protobuf::decode(&envelope).unwrap();
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    (EventType::try_from(event.event_type).unwrap(), name)
}

#[tokio::test]
async fn a64_watcher_hears_of_a_static_pod_that_comes_changes_and_goes() {
    let mut service = Service::start().await;
    service.pods.put(pod("old-n1", "1"), Source::File);
    let mut watch = service.caller.call("WatchPods", Vec::new()).await.into_body();
    assert_eq!(next(&mut watch).await, (EventType::Added, "old-n1".into()));
    service.pods.put(pod("web-n1", "2"), Source::File);
    assert_eq!(next(&mut watch).await, (EventType::Added, "web-n1".into()));
    let status = serde_json::from_value(json!({"phase": "Running"})).unwrap();
    service.pods.set_status("2", &status);
    assert_eq!(next(&mut watch).await, (EventType::Modified, "web-n1".into()));
    // The same again is nothing new.
    service.pods.set_status("2", &status);
    service.pods.remove("2");
    assert_eq!(next(&mut watch).await, (EventType::Deleted, "web-n1".into()));
}

#[tokio::test]
async fn pods_are_listed_and_found_by_their_uid() {
    let mut service = Service::start().await;
    service.pods.put(pod("a", "1"), Source::File);
    service.pods.put(pod("b", "2"), Source::Api);
    let (answer, status) = service.caller.ask("ListPods", Vec::new()).await;
    assert_eq!(status, "0");
    assert_eq!(ListPodsResponse::decode(answer).unwrap().pods.len(), 2);
    let wanted = |uid: &str| {
        let request = GetPodRequest {
            pod_uid: uid.to_owned(),
        };
        request.encode_to_vec()
    };
    let (answer, _) = service.caller.ask("GetPod", wanted("2")).await;
    let found = GetPodResponse::decode(answer).unwrap();
    assert_eq!(found.pod, encoded(&pod("b", "2")));
    let (_, status) = service.caller.ask("GetPod", wanted("3")).await;
    assert_eq!(status, NOT_FOUND.to_string());
    let (_, status) = service.caller.ask("Others", Vec::new()).await;
    assert_eq!(status, UNIMPLEMENTED.to_string());
}

#[test]
fn service_is_there_only_behind_its_gate() {
    let with = |gates: serde_json::Value| {
        let mut configuration = KubeletConfiguration::default();
        configuration.other.insert("featureGates".into(), gates);
        is_enabled(&configuration)
    };
    assert!(with(json!({"PodsAPI": true})));
    assert!(!with(json!({"PodsAPI": false})) && !with(json!({})));
    assert!(!is_enabled(&KubeletConfiguration::default()));
}
