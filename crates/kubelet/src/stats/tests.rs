//! Measurements of pods whose cgroups lie in a directory that looks like the kernel's.
use super::*;
use crate::config::KubeletConfiguration;
use crate::sources::Source;
use crate::testing::FakeRuntime;
use serde_json::json;
use std::path::Path;

fn write(dir: &Path, file: &str, text: &str) {
    let path = dir.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn meter(dir: &Path) -> Arc<Meter> {
    let pods = PodsHandle::default();
    let pod = json!({
        "metadata": {"name": "web-n1", "namespace": "shop", "uid": "u"},
        "spec": {"containers": [{"name": "c"}, {"name": "d"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "disk"}}]},
        "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "containerStatuses": [
            {"name": "c", "containerID": "containerd://abc", "image": "i", "imageID": "", "ready": true,
             "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}},
            {"name": "d", "containerID": "containerd://def", "image": "i", "imageID": "", "ready": false,
             "restartCount": 0, "state": {"terminated": {"exitCode": 0}}},
        ]},
    });
    pods.put(Arc::new(serde_json::from_value(pod).unwrap()), Source::File);
    let configuration = KubeletConfiguration::default();
    let cgroups = Cgroups::new(&configuration, "cgroupfs", &dir.join("cgroup"), 1 << 30);
    let paths = (dir.join("kubelet"), dir.join("logs"));
    let runtime = Arc::<FakeRuntime>::default();
    Arc::new(Meter::new("n1".into(), runtime, pods, Arc::new(cgroups), paths))
}

fn cgroup(dir: &Path, path: &str, microseconds: u64) {
    let path = format!("cgroup/{path}");
    write(dir, &format!("{path}/cgroup.procs"), "");
    write(
        dir,
        &format!("{path}/cpu.stat"),
        &format!("usage_usec {microseconds}\n"),
    );
    write(dir, &format!("{path}/memory.current"), "4096\n");
    write(dir, &format!("{path}/memory.max"), "8192\n");
    write(dir, &format!("{path}/memory.swap.current"), "1024\n");
    write(dir, &format!("{path}/memory.swap.max"), "4096\n");
    let stalled = "some avg10=1.00 avg60=0.50 avg300=0.00 total=7\n";
    write(dir, &format!("{path}/io.pressure"), stalled);
}

#[tokio::test]
async fn n11_running_containers_and_their_pod_are_measured_from_cgroups() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "cgroup/cgroup.controllers", "cpu memory");
    cgroup(dir.path(), "kubepods/besteffort/podu", 9_000_000);
    cgroup(dir.path(), "kubepods/besteffort/podu/abc", 5_000_000);
    let stats = meter(dir.path()).usage().await.unwrap();
    let [pod] = &stats.pods[..] else {
        panic!("{:?}", stats.pods)
    };
    assert_eq!(pod.measured.used.cpu.unwrap().total, Duration::from_secs(9));
    let [container] = &pod.containers[..] else {
        panic!("an ended container is not measured: {:?}", pod.containers)
    };
    assert_eq!((container.name.as_str(), container.id.as_str()), ("c", "abc"));
    assert_eq!(container.measured.used.cpu.unwrap().total, Duration::from_secs(5));
}

#[tokio::test]
async fn n11_summary_has_node_pods_and_containers() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "cgroup/cgroup.controllers", "cpu memory");
    cgroup(dir.path(), "kubepods/besteffort/podu", 9_000_000);
    cgroup(dir.path(), "kubepods/besteffort/podu/abc", 5_000_000);
    write(
        dir.path(),
        "kubelet/pods/u/volumes/kubernetes.io~empty-dir/v/file",
        "content",
    );
    let of_claims = "kubernetes.io~local-volume/pv";
    write(
        dir.path(),
        &format!("kubelet/pods/u/volumes/{of_claims}/file"),
        "",
    );
    write(
        dir.path(),
        &format!("kubelet/pods/u/plugins/{of_claims}/data_ready"),
        "",
    );
    let meter = meter(dir.path());
    let all = meter.summary(false).await.unwrap();
    assert_eq!(all["node"]["nodeName"], "n1");
    let own = &all["node"]["systemContainers"][0];
    let began = meter.began.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    assert_eq!(
        (&own["name"], &own["startTime"]),
        (&json!("kubelet"), &json!(began))
    );
    assert!(all["node"]["memory"]["workingSetBytes"].as_u64().unwrap() > 0);
    assert!(all["node"]["fs"]["capacityBytes"].as_u64().unwrap() > 0);
    assert!(all["node"]["rlimit"]["maxpid"].as_u64().unwrap() > 0);
    let pod = &all["pods"][0];
    assert_eq!(
        pod["podRef"],
        json!({"name": "web-n1", "namespace": "shop", "uid": "u"})
    );
    assert_eq!(pod["startTime"], "2026-01-01T00:00:00Z");
    assert_eq!(pod["volume"][0]["name"], "v");
    assert_eq!(pod["volume"][0]["inodesUsed"], 2);
    assert!(pod["volume"][0].get("pvcRef").is_none());
    assert_eq!(pod["volume"][1]["name"], "data");
    assert_eq!(
        pod["volume"][1]["pvcRef"],
        json!({"name": "disk", "namespace": "shop"})
    );
    assert!(pod["volume"][1]["capacityBytes"].as_u64().unwrap() > 0);
    let container = &pod["containers"][0];
    assert_eq!(container["cpu"]["usageCoreNanoSeconds"], 5_000_000_000u64);
    assert_eq!(container["memory"]["availableBytes"], 4096);
    assert_eq!(container["swap"]["swapAvailableBytes"], 3072);
    assert_eq!(container["io"]["psi"]["some"]["avg10"], 1.0);
    let claims = meter.claims_in_use().await;
    let [(claim, volume)] = Vec::from_iter(&claims)[..] else {
        panic!("{claims:?}")
    };
    assert_eq!((&*claim.namespace, &*claim.name), ("shop", "disk"));
    assert!(volume.capacity > 0);
    let few = meter.summary(true).await.unwrap();
    assert!(few["node"].get("fs").is_none() && few["pods"][0].get("volume").is_none());
    assert_eq!(few["pods"][0]["containers"][0]["name"], "c");
}

#[tokio::test]
async fn n11_cgroup_of_the_systems_own_programs_is_measured_where_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "cgroup/cgroup.controllers", "cpu memory");
    cgroup(dir.path(), "kubepods/besteffort/podu/abc", 1);
    cgroup(dir.path(), "system.slice", 3_000_000);
    for (named, expected) in [
        ("system.slice/", json!(3_000_000_000u64)),
        ("/elsewhere", json!(null)),
        ("", json!(null)),
    ] {
        let meter = Arc::into_inner(meter(dir.path())).unwrap().with_system_at(named);
        let summary = Arc::new(meter).summary(true).await.unwrap();
        let mut parts = summary["node"]["systemContainers"].as_array().unwrap().iter();
        let misc = parts
            .find(|part| part["name"] == "misc")
            .cloned()
            .unwrap_or_default();
        assert_eq!(misc["cpu"]["usageCoreNanoSeconds"], expected, "{named}");
    }
}
