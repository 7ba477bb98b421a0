//! A shutdown from logind's word to the last pod's end, on a made-up bus.
use super::*;
use crate::bus::testing::{Asked, FakeLogind};
use crate::config::GoDuration;
use crate::metrics::Metrics;
use crate::pods::Request;
use crate::sources::Source;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

struct Bench {
    logind: FakeLogind,
    state: State,
    orders: tokio::sync::mpsc::Receiver<Request>,
    dir: tempfile::TempDir,
}

fn pod(name: &str, priority: i32, grace: i64) -> Arc<Pod> {
    let object = serde_json::json!({"metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": [], "priority": priority, "terminationGracePeriodSeconds": grace}});
    Arc::new(serde_json::from_value(object).unwrap())
}

fn start(pods: &[Arc<Pod>]) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let bus = dir.path().join("bus");
    let logind = FakeLogind::start(&bus, Duration::from_secs(30));
    let seconds = |seconds| GoDuration(Duration::from_secs(seconds));
    let configuration = KubeletConfiguration {
        shutdown_grace_period: seconds(20),
        shutdown_grace_period_critical_pods: seconds(10),
        ..KubeletConfiguration::default()
    };
    let (handle, orders, state) = (PodsHandle::default(), Orders::default(), State::default());
    pods.iter().for_each(|pod| handle.put(pod.clone(), Source::Api));
    let received = orders.receive();
    let parts = (handle, orders, state.clone());
    let record = Record::open(dir.path(), Metrics::default());
    let recorder = Recorder::disabled();
    let mut shutdown = Shutdown::new(&configuration, "n1".into(), parts, recorder, record).unwrap();
    shutdown.bus = bus;
    tokio::spawn(shutdown.run());
    Bench {
        logind,
        state,
        orders: received,
        dir,
    }
}

impl Bench {
    async fn stopped(&mut self) -> crate::pods::Order {
        match self.orders.recv().await {
            Some(Request::Stop(order)) => order,
            other => panic!("expected an order to stop a pod, not {other:?}"),
        }
    }
}

/// N07: normal pods end first, with their own smaller grace honoured, then critical ones; the machine waits until then.
#[tokio::test]
async fn n07_machine_waits_until_normal_and_then_critical_pods_have_ended() {
    let pods = [
        pod("web", 0, 5),
        pod("slow", 0, 120),
        pod("node", 2_000_001_000, 120),
    ];
    let mut bench = start(&pods);
    assert_eq!(bench.logind.asked.recv().await, Some(Asked::Delay));
    bench.logind.say(true);
    let mut first = Vec::new();
    for _ in 0..2 {
        let order = bench.stopped().await;
        assert_eq!(order.verdict, Verdict::node_shutdown());
        first.push((order.uid.clone(), order.stop.grace.unwrap(), order.done));
    }
    assert!(bench.state.current().is_shutting_down);
    first.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        (first[0].0.as_str(), first[1].0.as_str(), first[1].1),
        ("slow", "web", 5)
    );
    assert!((9..=10).contains(&first[0].1), "{}", first[0].1);
    assert!(bench.orders.try_recv().is_err(), "critical pods run on");
    drop(first);
    let last = bench.stopped().await;
    assert_eq!(last.uid, "node");
    assert!(bench.logind.asked.try_recv().is_err(), "the machine still waits");
    drop(last.done);
    assert_eq!(bench.logind.asked.recv().await, Some(Asked::Released));
    assert!(bench.state.current().is_shutting_down);
    assert!(bench.dir.path().join("graceful_node_shutdown_state").is_file());
}

#[tokio::test]
async fn shutdown_that_is_called_off_leaves_the_node_ready_for_the_next() {
    let mut bench = start(&[pod("web", 0, 5)]);
    assert_eq!(bench.logind.asked.recv().await, Some(Asked::Delay));
    bench.logind.say(true);
    let order = bench.stopped().await;
    bench.logind.say(false);
    // Released, and taken again.
    let mut seen = [
        bench.logind.asked.recv().await.unwrap(),
        bench.logind.asked.recv().await.unwrap(),
    ];
    seen.sort_by_key(|asked| *asked == Asked::Delay);
    assert_eq!(seen, [Asked::Released, Asked::Delay]);
    assert!(!bench.state.current().is_shutting_down);
    drop(order);
    bench.logind.say(true);
    assert_eq!(bench.stopped().await.uid, "web");
}

#[tokio::test]
async fn pods_end_in_order_also_when_the_bus_goes_meanwhile() {
    let mut bench = start(&[pod("web", 0, 5), pod("node", 2_000_001_000, 5)]);
    assert_eq!(bench.logind.asked.recv().await, Some(Asked::Delay));
    bench.logind.say(true);
    let first = bench.stopped().await;
    assert_eq!(first.uid, "web");
    bench.logind.hang_up();
    drop(first.done);
    let last = bench.stopped().await;
    assert_eq!(last.uid, "node");
    assert!(bench.logind.asked.try_recv().is_err(), "the machine still waits");
    drop(last.done);
    assert_eq!(bench.logind.asked.recv().await, Some(Asked::Released));
}
