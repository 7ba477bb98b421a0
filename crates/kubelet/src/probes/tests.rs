//! Probes of containers on a made-up runtime, their verdicts read from the worker's mailbox.
use super::*;
use crate::pods::mailbox::Mailbox;
use crate::probes_view::ProbeNews;
use crate::sources::Source;
use crate::testing::FakeRuntime;
use std::time::Duration;

struct Bench {
    runtime: Arc<FakeRuntime>,
    probes: Probes,
    pods: PodsHandle,
    mailbox: Mailbox,
    pod: Arc<Pod>,
}

/// Probes with TCP checks against `port`.
fn bench(container: serde_json::Value) -> Bench {
    let object = serde_json::json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"},
        "spec": {"containers": [container]}});
    let pod: Arc<Pod> = Arc::new(serde_json::from_value(object).unwrap());
    let pods = PodsHandle::default();
    pods.put(pod.clone(), Source::File);
    let runtime = Arc::new(FakeRuntime::default());
    Bench {
        probes: Probes::new(
            runtime.clone(),
            Recorder::disabled(),
            pods.clone(),
            Default::default(),
        ),
        runtime,
        pods,
        mailbox: Mailbox::default(),
        pod,
    }
}

impl Bench {
    fn start(&self, id: &str, adopted: bool) {
        let long = Duration::from_secs(7200);
        self.start_at(id, adopted, if adopted { long } else { Duration::ZERO });
    }

    fn start_at(&self, id: &str, adopted: bool, up_for: Duration) {
        self.probes.start(Probed {
            pod: self.pod.clone(),
            container: "c".into(),
            id: id.into(),
            pod_ip: Some("127.0.0.1".into()),
            adopted,
            up_for,
            mailbox: self.mailbox.clone(),
        });
    }

    async fn news(&self) -> Vec<ProbeNews> {
        let next = tokio::time::timeout(Duration::from_secs(10), self.mailbox.next());
        next.await.expect("a verdict").probes
    }
}

fn news(id: &str, kind: ProbeKind, success: bool) -> ProbeNews {
    ProbeNews {
        container_id: id.into(),
        kind,
        success,
    }
}

async fn listener() -> (tokio::net::TcpListener, u16) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn r06_readiness_is_checked_as_soon_as_startup_succeeds() {
    let (_listener, port) = listener().await;
    let check = serde_json::json!({"tcpSocket": {"port": port}, "periodSeconds": 3600});
    let bench = bench(serde_json::json!({"name": "c", "startupProbe": check, "readinessProbe": check}));
    bench.start("1", false);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(bench.news().await);
    }
    assert_eq!(
        seen,
        [
            news("1", ProbeKind::Startup, true),
            news("1", ProbeKind::Readiness, true)
        ]
    );
}

#[tokio::test]
async fn r02_failed_liveness_is_told_once_and_the_next_container_is_probed_anew() {
    let (listener, port) = listener().await;
    drop(listener);
    let check = serde_json::json!({"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": 1});
    let bench = bench(serde_json::json!({"name": "c", "livenessProbe": check}));
    bench.start("1", false);
    assert_eq!(bench.news().await, [news("1", ProbeKind::Liveness, false)]);
    bench.start("2", false);
    assert_eq!(bench.news().await, [news("2", ProbeKind::Liveness, false)]);
}

#[tokio::test]
async fn r10_container_taken_over_is_not_asked_whether_it_started() {
    let (listener, port) = listener().await;
    let check =
        serde_json::json!({"tcpSocket": {"port": port}, "periodSeconds": 1, "initialDelaySeconds": 3600});
    let bench = bench(serde_json::json!({"name": "c", "startupProbe": check, "readinessProbe": check}));
    bench.start("1", true);
    assert_eq!(bench.news().await, [news("1", ProbeKind::Readiness, true)]);
    drop(listener);
    assert_eq!(bench.news().await, [news("1", ProbeKind::Readiness, false)]);
}

#[tokio::test]
async fn a_container_taken_over_is_not_checked_before_its_initial_delay_is_over() {
    let (listener, port) = listener().await;
    drop(listener);
    let check = serde_json::json!({"tcpSocket": {"port": port}, "periodSeconds": 1, "initialDelaySeconds": 3,
        "failureThreshold": 1});
    let bench = bench(serde_json::json!({"name": "c", "livenessProbe": check}));
    let began = std::time::Instant::now();
    bench.start_at("1", true, Duration::from_secs(1));
    assert_eq!(bench.news().await, [news("1", ProbeKind::Liveness, false)]);
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn t11_readiness_goes_on_when_termination_begins_and_ends_with_the_pod() {
    let (listener, port) = listener().await;
    let check = serde_json::json!({"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": 1});
    let bench = bench(serde_json::json!({"name": "c", "livenessProbe": check, "readinessProbe": check}));
    bench.start("1", false);
    assert_eq!(bench.news().await, [news("1", ProbeKind::Readiness, true)]);
    bench.probes.stop_liveness_and_startup("u");
    drop(listener);
    assert_eq!(bench.news().await, [news("1", ProbeKind::Readiness, false)]);
    bench.probes.stop("u");
    assert!(bench.probes.tokens.lock().is_empty());
}

#[tokio::test]
async fn ended_container_gets_no_verdict() {
    let (listener, port) = listener().await;
    drop(listener);
    let check = serde_json::json!({"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": 1});
    let bench = bench(serde_json::json!({"name": "c", "livenessProbe": check}));
    let status = serde_json::json!({"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"terminated": {"exitCode": 1, "containerID": "containerd://1"}}}]});
    bench
        .pods
        .set_status("u", &serde_json::from_value(status).unwrap());
    bench.start("1", false);
    bench.start("2", false);
    // The second container's verdict comes; the first's task was over before it could say anything.
    assert_eq!(bench.news().await, [news("2", ProbeKind::Liveness, false)]);
}

/// T11: while a pod is being stopped it is still asked whether it is ready, and no more whether it lives.
#[tokio::test(start_paused = true)]
async fn t11_readiness_is_asked_during_pre_stop_and_liveness_is_not() {
    let check = |word: &str| serde_json::json!({"exec": {"command": [word]}, "periodSeconds": 1});
    let bench = bench(
        serde_json::json!({"name": "c", "livenessProbe": check("alive"), "readinessProbe": check("ready")}),
    );
    let asked = |word: &str| {
        let calls = bench.runtime.calls();
        calls.iter().filter(|call| call.ends_with(word)).count()
    };
    let pass = async |seconds| tokio::time::sleep(Duration::from_secs(seconds)).await;
    bench.start("1", false);
    pass(5).await;
    let alive = asked("alive");
    assert!(alive > 3, "{alive}");
    bench.probes.stop_liveness_and_startup("u");
    // One may have been on its way.
    pass(1).await;
    let (alive, ready) = (asked("alive"), asked("ready"));
    // As long as its preStop hook takes.
    pass(20).await;
    assert_eq!(asked("alive"), alive);
    let during = asked("ready") - ready;
    assert!(during > 15, "{during}");
    bench.probes.stop("u");
    pass(1).await;
    let ended = asked("ready");
    pass(5).await;
    assert_eq!(asked("ready"), ended);
}
