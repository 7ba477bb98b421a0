//! The service over its socket, as a program on the node calls it.
use super::*;
use crate::sources::Source;
use http_body_util::Full;
use hyper::client::conn::http2::SendRequest;
use messages::{EventType, WatchPodsEvent};
use serde_json::json;
use std::sync::Arc;
use tokio::net::UnixStream;

struct Service {
    pods: PodsHandle,
    caller: SendRequest<Full<Bytes>>,
    _end: tokio_util::sync::DropGuard,
    _root: tempfile::TempDir,
}

impl Service {
    async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (pods, shutdown) = (PodsHandle::default(), CancellationToken::new());
        tokio::spawn(run(listen(root.path()).unwrap(), pods.clone(), shutdown.clone()));
        let stream = UnixStream::connect(socket(root.path())).await.unwrap();
        let (caller, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        Self {
            pods,
            caller,
            _end: shutdown.drop_guard(),
            _root: root,
        }
    }

    async fn call(&mut self, method: &str, message: Vec<u8>) -> Response<Incoming> {
        let request = Request::post(format!("http://localhost/v1alpha1.Pods/{method}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .body(Full::new(framed(&message)))
            .unwrap();
        self.caller.send_request(request).await.unwrap()
    }

    /// A whole answer: its message, and its status.
    async fn ask(&mut self, method: &str, message: Vec<u8>) -> (Bytes, String) {
        let body = self
            .call(method, message)
            .await
            .into_body()
            .collect()
            .await
            .unwrap();
        let status = body.trailers().unwrap()["grpc-status"]
            .to_str()
            .unwrap()
            .to_owned();
        let bytes = body.to_bytes();
        (bytes.slice(bytes.len().min(FRAME_HEADER)..), status)
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
    let mut watch = service.call("WatchPods", Vec::new()).await.into_body();
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
    let (answer, status) = service.ask("ListPods", Vec::new()).await;
    assert_eq!(status, "0");
    assert_eq!(ListPodsResponse::decode(answer).unwrap().pods.len(), 2);
    let wanted = |uid: &str| {
        let request = GetPodRequest {
            pod_uid: uid.to_owned(),
        };
        request.encode_to_vec()
    };
    let (answer, _) = service.ask("GetPod", wanted("2")).await;
    let found = GetPodResponse::decode(answer).unwrap();
    assert_eq!(found.pod, encoded(&pod("b", "2")));
    let (_, status) = service.ask("GetPod", wanted("3")).await;
    assert_eq!(status, NOT_FOUND.to_string());
    let (_, status) = service.ask("Others", Vec::new()).await;
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
