//! Cgroups in a directory that looks like the kernel's, which keeps what is written where the kernel would.
use super::*;
use serde_json::json;

fn pod(uid: &str, resources: serde_json::Value) -> Pod {
    let object = json!({"metadata": {"name": uid, "uid": uid}, "spec": {"containers": [{"name": "c",
        "resources": resources}]}});
    serde_json::from_value(object).unwrap()
}

fn cgroups(mount_point: &Path, driver: &str) -> Cgroups {
    let configuration = KubeletConfiguration {
        cgroup_root: "/n1/".into(),
        pod_pids_limit: 1024,
        ..KubeletConfiguration::default()
    };
    Cgroups::new(&configuration, driver, mount_point, 1 << 30)
}

fn v1(controllers: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for controller in controllers {
        std::fs::create_dir(dir.path().join(controller)).unwrap();
    }
    dir
}

fn v2(controllers: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("cgroup.controllers"), controllers).unwrap();
    dir
}

fn read(dir: &tempfile::TempDir, file: &str) -> Option<String> {
    std::fs::read_to_string(dir.path().join(file)).ok()
}

#[test]
fn s07_v1_pods_and_classes_get_their_shares() {
    let dir = v1(&["cpu", "memory", "pids", "devices"]);
    let cgroups = cgroups(dir.path(), "cgroupfs");
    cgroups.ensure_node(Some(Share {
        milli_cpu: Some(2000),
        memory: Some(1 << 30),
        processes: Some(4000),
    }));
    assert_eq!(read(&dir, "pids/n1/kubepods/pids.max").unwrap(), "4000");
    assert_eq!(read(&dir, "cpu/n1/kubepods/cpu.shares").unwrap(), "2048");
    assert_eq!(
        read(&dir, "memory/n1/kubepods/memory.limit_in_bytes").unwrap(),
        "1073741824"
    );
    assert_eq!(read(&dir, "cpu/n1/kubepods/besteffort/cpu.shares").unwrap(), "2");
    for uid in ["a", "b"] {
        cgroups.ensure_pod(&pod(uid, json!({"requests": {"cpu": "500m"}})));
    }
    let burstable = |file: &str| read(&dir, &format!("cpu/n1/kubepods/burstable/{file}"));
    assert_eq!(burstable("cpu.shares").unwrap(), "1024");
    assert_eq!(burstable("poda/cpu.shares").unwrap(), "512");
    assert_eq!(
        read(&dir, "pids/n1/kubepods/burstable/poda/pids.max").unwrap(),
        "1024"
    );
    // The kernel's files vanish with their directory; these don't.
    for controller in ["cpu", "memory", "pids"] {
        let directory = dir.path().join(controller).join("n1/kubepods/burstable/poda");
        std::fs::read_dir(&directory)
            .unwrap()
            .flatten()
            .for_each(|file| std::fs::remove_file(file.path()).unwrap());
    }
    // The runtime made a scope of its own in a hierarchy that is none of the agent's.
    std::fs::create_dir_all(dir.path().join("devices/n1/kubepods/burstable/poda/scope")).unwrap();
    cgroups.remove_pod("a").unwrap();
    assert!(!dir.path().join("devices/n1/kubepods/burstable/poda").exists());
    assert!(!dir.path().join("cpu/n1/kubepods/burstable/poda").exists());
    assert_eq!(burstable("cpu.shares").unwrap(), "512");
    cgroups.remove_pod("a").unwrap();
}

#[test]
fn s07_v2_controllers_are_handed_down() {
    let dir = v2("cpu io memory pids\n");
    let cgroups = cgroups(dir.path(), "cgroupfs");
    assert!(cgroups.is_unified());
    let all = json!({"cpu": "1", "memory": "64Mi"});
    let guaranteed = pod("g", json!({"requests": all, "limits": all}));
    cgroups.ensure_pod(&guaranteed);
    assert_eq!(cgroups.parent_of(&guaranteed), "/n1/kubepods/podg");
    assert_eq!(read(&dir, "n1/kubepods/podg/cpu.weight").unwrap(), "39");
    assert_eq!(read(&dir, "n1/kubepods/podg/cpu.max").unwrap(), "100000 100000");
    assert_eq!(read(&dir, "n1/kubepods/podg/memory.max").unwrap(), "67108864");
    // A plain file keeps the last of the writes.
    for above in ["", "n1/", "n1/kubepods/"] {
        assert_eq!(
            read(&dir, &format!("{above}cgroup.subtree_control")).unwrap(),
            "+pids"
        );
    }
}

#[test]
fn what_is_reserved_for_others_limits_their_cgroups() {
    let dir = v1(&["cpu", "memory", "pids"]);
    let cgroups = cgroups(dir.path(), "cgroupfs");
    let share = Share {
        milli_cpu: Some(100),
        memory: Some(100 << 20),
        processes: None,
    };
    assert!(cgroups.limit("kube-reserved", share).is_err(), "nobody made it");
    std::fs::create_dir(dir.path().join("memory/kube-reserved")).unwrap();
    std::fs::write(dir.path().join("memory/kube-reserved/cgroup.procs"), "").unwrap();
    cgroups.limit("kube-reserved", share).unwrap();
    assert_eq!(read(&dir, "cpu/kube-reserved/cpu.shares").unwrap(), "102");
    assert_eq!(
        read(&dir, "memory/kube-reserved/memory.limit_in_bytes").unwrap(),
        "104857600"
    );
    assert_eq!(read(&dir, "pids/kube-reserved/pids.max"), None);
}

#[test]
fn missing_controller_keeps_no_pod_from_running() {
    let dir = v1(&["memory"]);
    let cgroups = cgroups(dir.path(), "cgroupfs");
    let limited = pod("a", json!({"limits": {"cpu": "1", "memory": "64Mi"}}));
    cgroups.ensure_node(None);
    cgroups.ensure_pod(&limited);
    assert_eq!(
        read(&dir, "memory/n1/kubepods/poda/memory.limit_in_bytes"),
        None,
        "burstable unless requests are defaulted"
    );
    assert_eq!(
        read(&dir, "memory/n1/kubepods/burstable/poda/memory.limit_in_bytes").unwrap(),
        "67108864"
    );
    assert!(!dir.path().join("cpu").exists());
}

#[test]
fn systemd_makes_the_slices_and_what_it_has_made_is_limited_at_once() {
    let dir = v2("cpu memory pids");
    let cgroups = cgroups(dir.path(), "systemd");
    let best_effort = pod("a-b", json!({}));
    cgroups.ensure_node(None);
    cgroups.ensure_pod(&best_effort);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let slice = "n1/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-poda_b.slice";
    assert_eq!(cgroups.parent_of(&best_effort), format!("/{slice}"));
    std::fs::create_dir_all(dir.path().join(slice)).unwrap();
    std::fs::write(dir.path().join(slice).join("cgroup.procs"), "").unwrap();
    cgroups.ensure_pod(&best_effort);
    assert_eq!(read(&dir, &format!("{slice}/pids.max")).unwrap(), "1024");
    cgroups.remove_pod("a-b").unwrap();
    assert!(dir.path().join(slice).exists());
}

#[test]
fn huge_page_sizes_are_named_for_runtime_and_api() {
    let (dir, pages) = (v2("hugetlb"), tempfile::tempdir().unwrap());
    for size in ["hugepages-2048kB", "hugepages-1048576kB", "hugepages-64kB"] {
        std::fs::create_dir(pages.path().join(size)).unwrap();
    }
    let mut sizes = Hierarchy::at(dir.path()).huge_pages(pages.path());
    sizes.sort();
    let expected = [("1GB", "1Gi"), ("2MB", "2Mi"), ("64KB", "64Ki")];
    assert_eq!(sizes, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert!(
        Hierarchy::at(v2("cpu").path())
            .huge_pages(pages.path())
            .is_empty()
    );
}

#[test]
fn pod_has_the_huge_pages_of_its_containers_and_none_of_other_sizes() {
    let dir = v2("cpu memory pids hugetlb");
    let mut cgroups = cgroups(dir.path(), "cgroupfs");
    cgroups.node.huge_pages = vec![("2MB".into(), "2Mi".into()), ("1GB".into(), "1Gi".into())];
    let own = pod(
        "a",
        json!({"limits": {"cpu": "1", "memory": "1Mi", "hugepages-2Mi": "6Mi"}}),
    );
    let path = |file: &str| format!("n1/kubepods/burstable/poda/hugetlb.{file}");
    // The kernel has the files before anybody writes to them.
    std::fs::create_dir_all(dir.path().join("n1/kubepods/burstable/poda")).unwrap();
    for file in ["2MB.max", "2MB.rsvd.max", "1GB.max"] {
        std::fs::write(dir.path().join(path(file)), "max").unwrap();
    }
    cgroups.ensure_pod(&own);
    for (file, bytes) in [
        ("2MB.max", "6291456"),
        ("2MB.rsvd.max", "6291456"),
        ("1GB.max", "0"),
    ] {
        assert_eq!(read(&dir, &path(file)).unwrap(), bytes, "{file}");
    }
    assert_eq!(read(&dir, &path("1GB.rsvd.max")), None);
}

#[test]
fn nothing_of_a_node_that_is_taken_down_is_left_and_others_are_spared() {
    let mount_point = tempfile::tempdir().unwrap();
    let at = |path: &str| mount_point.path().join(path);
    for controller in ["cpu", "memory", "devices"] {
        std::fs::create_dir_all(at(&format!("{controller}/own/kubepods/burstable"))).unwrap();
        std::fs::create_dir_all(at(&format!("{controller}/shared/kubepods/besteffort"))).unwrap();
    }
    std::fs::create_dir_all(at("memory/shared/of-others")).unwrap();
    remove_all("/own", mount_point.path()).unwrap();
    assert!(!at("cpu/own").exists() && !at("devices/own").exists());
    remove_all("/shared", mount_point.path()).unwrap();
    assert!(at("memory/shared/of-others").exists() && !at("memory/shared/kubepods").exists());
    remove_all("/own", mount_point.path()).unwrap();
}
