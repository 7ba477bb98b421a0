//! Volumes of whole pods, in temporary directories and with real mounts.
use super::fake_api::FakeApi;
use super::*;
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

const CONFIG: &str = "/api/v1/namespaces/ns/configmaps/cm";
const SECRET: &str = "/api/v1/namespaces/ns/secrets/s";

struct Bench {
    root: tempfile::TempDir,
    volumes: Volumes,
    due: Due,
    api: FakeApi,
}

fn bench() -> Bench {
    let root = tempfile::tempdir().unwrap();
    let api = FakeApi::new();
    api.put(CONFIG, json!({"data": {"k": "v1", "other": "o"}}));
    api.put(SECRET, json!({"data": {"pw": "c2VjcmV0", "two": "Mg=="}}));
    let due = Due::default();
    let volumes = Volumes::new(root.path().to_owned(), Some(api.client()), due.clone());
    Bench {
        root,
        volumes,
        due,
        api,
    }
}

impl Bench {
    fn at(&self, rest: &str) -> PathBuf {
        self.root.path().join("pods/u").join(rest)
    }

    async fn end(self) {
        self.volumes.teardown("u").await.unwrap();
        assert!(!self.volumes.hold("u"));
        assert!(!self.at("volumes").exists());
        assert!(!self.at("volume-subpaths").exists());
        assert_eq!((self.volumes.watched.count(), self.due.timers()), (0, 0));
        // Tearing down what is gone is fine.
        self.volumes.teardown("u").await.unwrap();
    }

    async fn mounts(
        &self,
        pod: &Pod,
        map: &VolumeMap,
        env: &[(&str, &str)],
    ) -> Result<Vec<orlop_cri::v1::Mount>, String> {
        let env: Vec<(String, String)> = env
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        self.volumes
            .mounts(pod, container, map, &env)
            .await
            .map_err(|error| error.to_string())
    }
}

/// One container that mounts every volume at its name, unless `mounts` says otherwise.
fn pod(volumes: Value, mounts: Option<Value>, security: Value) -> Pod {
    let all = volumes.as_array().unwrap().iter();
    let all: Vec<Value> = all
        .map(|v| json!({"name": v["name"], "mountPath": format!("/{}", v["name"].as_str().unwrap())}))
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "web"}},
        "spec": {"serviceAccountName": "sa", "securityContext": security, "volumes": volumes,
            "containers": [{"name": "c", "volumeMounts": mounts.unwrap_or(json!(all))}]}}))
    .unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(path).unwrap()
}

async fn fails(bench: &Bench, volume: Value) -> String {
    bench
        .volumes
        .setup(&pod(json!([volume]), None, json!({})))
        .await
        .unwrap_err()
        .to_string()
}

#[tokio::test]
async fn e09_e10_empty_dirs_live_through_setups() {
    let bench = bench();
    let volumes = json!([{"name": "disk", "emptyDir": {}}, {"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}]);
    let pod = pod(volumes, None, json!({}));
    let map = bench.volumes.setup(&pod).await.unwrap();
    let (disk, mem) = (
        bench.at("volumes/kubernetes.io~empty-dir/disk"),
        bench.at("volumes/kubernetes.io~empty-dir/mem"),
    );
    // A tmpfs is as open, and keeps its sticky bit.
    assert_eq!((mode(&disk), mode(&mem)), (0o777, 0o1777));
    assert!(table::is_mount_point(&mem).unwrap() && !table::is_mount_point(&disk).unwrap());
    let size = rustix::fs::statvfs(&mem).unwrap();
    assert_eq!(size.f_blocks * size.f_frsize, 64 << 20);
    assert!(bench.at("plugins/kubernetes.io~empty-dir/mem/ready").exists());
    std::fs::write(disk.join("f"), "kept").unwrap();
    std::fs::write(mem.join("f"), "kept").unwrap();
    assert_eq!(bench.volumes.setup(&pod).await.unwrap().0, map.0);
    assert_eq!(
        (read(disk.join("f")), read(mem.join("f"))),
        ("kept".to_owned(), "kept".to_owned())
    );
    let mounts = bench.mounts(&pod, &map, &[]).await.unwrap();
    assert_eq!(mounts[0].host_path, disk.display().to_string());
    assert_eq!(
        (mounts[0].container_path.as_str(), mounts[0].readonly),
        ("/disk", false)
    );
    bench.end().await;
}

#[tokio::test]
async fn e12_config_map_changes_are_told_and_swapped_in() {
    let bench = bench();
    let mounts = json!([{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/k", "subPath": "k"}]);
    let pod = pod(
        json!([{"name": "v", "configMap": {"name": "cm"}}]),
        Some(mounts),
        json!({}),
    );
    let map = bench.volumes.setup(&pod).await.unwrap();
    let file = bench.at("volumes/kubernetes.io~configmap/v/k");
    assert_eq!((read(file.clone()), mode(&file)), ("v1".to_owned(), 0o644));
    let mounts = bench.mounts(&pod, &map, &[]).await.unwrap();
    assert!(mounts.iter().all(|mount| mount.readonly));
    let sub = PathBuf::from(&mounts[1].host_path);
    assert_eq!(sub, bench.at("volume-subpaths/v/c/1"));
    assert_eq!(read(sub.clone()), "v1");
    // The watch may begin before or after the change: it must be told either way.
    bench.api.put(CONFIG, json!({"data": {"k": "v2"}}));
    let told = tokio::time::timeout(Duration::from_secs(5), bench.due.next())
        .await
        .unwrap();
    assert_eq!(told, "u");
    let map = bench.volumes.setup(&pod).await.unwrap();
    assert_eq!(read(file), "v2");
    assert!(!bench.at("volumes/kubernetes.io~configmap/v/other").exists());
    assert_eq!(read(sub.clone()), "v1", "subPath mounts never see updates");
    bench.mounts(&pod, &map, &[]).await.unwrap();
    assert_eq!(read(sub), "v2", "but the next container does");
    bench.end().await;
}

#[tokio::test]
async fn missing_objects_are_named_and_told_of_when_they_appear() {
    let bench = bench();
    let text = fails(&bench, json!({"name": "v", "configMap": {"name": "x"}})).await;
    assert_eq!(
        text,
        "MountVolume.SetUp failed for volume \"v\" : configmap \"x\" not found"
    );
    let text = fails(&bench, json!({"name": "v", "secret": {"secretName": "x"}})).await;
    assert_eq!(
        text,
        "MountVolume.SetUp failed for volume \"v\" : secret \"x\" not found"
    );
    bench
        .api
        .put("/api/v1/namespaces/ns/configmaps/x", json!({"data": {"a": "b"}}));
    let told = tokio::time::timeout(Duration::from_secs(5), bench.due.next())
        .await
        .unwrap();
    assert_eq!(told, "u");
    let optional = pod(
        json!([{"name": "o", "secret": {"secretName": "y", "optional": true}}]),
        None,
        json!({}),
    );
    bench.volumes.setup(&optional).await.unwrap();
    assert_eq!(
        std::fs::read_dir(bench.at("volumes/kubernetes.io~secret/o"))
            .unwrap()
            .count(),
        2
    );
    bench.end().await;
}

/// A claim `c` that is bound to the volume `pv`.
fn put_claim(api: &FakeApi, source: Value) {
    api.put(
        "/api/v1/namespaces/ns/persistentvolumeclaims/c",
        json!({"metadata": {"uid": "c1"}, "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}),
    );
    let mut spec = source;
    spec["claimRef"] = json!({"namespace": "ns", "name": "c", "uid": "c1"});
    api.put(
        "/api/v1/persistentvolumes/pv",
        json!({"metadata": {}, "spec": spec}),
    );
}

#[tokio::test]
async fn claims_lead_to_directories_of_the_node() {
    let bench = bench();
    let disk = tempfile::tempdir().unwrap();
    std::fs::write(disk.path().join("f"), "kept").unwrap();
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
    let of_group = |gid: u32| pod(volumes.clone(), None, json!({"fsGroup": gid}));
    let text = fails(&bench, volumes[0].clone()).await;
    assert_eq!(
        text,
        "MountVolume.SetUp failed for volume \"v\" : persistentvolumeclaim \"c\" not found"
    );
    put_claim(&bench.api, json!({"local": {"path": disk.path().join("gone")}}));
    let text = fails(&bench, volumes[0].clone()).await;
    assert!(text.ends_with("gone\" does not exist"), "{text}");
    bench.volumes.teardown("u").await.unwrap();

    put_claim(&bench.api, json!({"local": {"path": disk.path()}}));
    let map = bench.volumes.setup(&of_group(1001)).await.unwrap();
    let at = bench.at("volumes/kubernetes.io~local-volume/pv");
    assert_eq!(read(at.join("f")), "kept");
    let owner = || std::fs::metadata(disk.path().join("f")).unwrap().gid();
    assert_eq!(owner(), 1001);
    let mounts = bench.mounts(&of_group(1001), &map, &[]).await.unwrap();
    assert_eq!(
        (mounts[0].host_path.as_str(), mounts[0].readonly),
        (at.to_str().unwrap(), false)
    );
    // A second pod shares it: the group stays the first one's until that is gone.
    let mut second = of_group(1002);
    second.metadata.uid = Some("u2".to_owned());
    bench.volumes.setup(&second).await.unwrap();
    assert_eq!(owner(), 1001);
    bench.volumes.teardown("u2").await.unwrap();
    // Its containers may start again although the claim is on its way out.
    bench.api.put(
        "/api/v1/namespaces/ns/persistentvolumeclaims/c",
        json!({"metadata": {"uid": "c1", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}),
    );
    bench.volumes.setup(&of_group(1001)).await.unwrap();
    let text = match bench.volumes.setup(&second).await {
        Err(error) => error.to_string(),
        Ok(_) => panic!("a pod that comes later is not let in"),
    };
    assert!(
        text.ends_with("error processing PVC ns/c: PVC is being deleted"),
        "{text}"
    );
    bench.volumes.teardown("u").await.unwrap();
    assert_eq!(
        read(disk.path().join("f")),
        "kept",
        "what lies there outlives its pods"
    );
    put_claim(&bench.api, json!({"local": {"path": disk.path()}}));
    bench.volumes.setup(&second).await.unwrap();
    assert_eq!(owner(), 1002);
    bench.volumes.teardown("u2").await.unwrap();
    bench.end().await;
}

#[tokio::test]
async fn a_claim_of_a_pod_that_was_found_running_may_go_before_its_containers_start_again() {
    let bench = bench();
    let disk = tempfile::tempdir().unwrap();
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
    let pod = pod(volumes, None, json!({}));
    put_claim(&bench.api, json!({"local": {"path": disk.path()}}));
    let (mut found, nothing) = (VolumeMap::default(), VolumeMap::default());
    bench.volumes.refresh(&pod, &mut found, false).await.unwrap();
    assert_eq!(found.0, nothing.0, "it is not looked at");
    bench.api.remove("/api/v1/namespaces/ns/persistentvolumeclaims/c");
    assert!(!bench.volumes.hold("u"));
    bench.volumes.setup(&pod).await.unwrap();
    assert!(bench.volumes.hold("u"));
    bench.end().await;
}

#[tokio::test]
async fn a_claim_can_be_read_only_and_a_path_of_the_host() {
    let bench = bench();
    let disk = tempfile::tempdir().unwrap();
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c", "readOnly": true}}]);
    let pod = pod(volumes, None, json!({"fsGroup": 1001}));
    put_claim(&bench.api, json!({"hostPath": {"path": disk.path()}}));
    let map = bench.volumes.setup(&pod).await.unwrap();
    let mounts = bench.mounts(&pod, &map, &[]).await.unwrap();
    assert_eq!(
        (mounts[0].host_path.as_str(), mounts[0].readonly),
        (disk.path().to_str().unwrap(), true)
    );
    bench.volumes.teardown("u").await.unwrap();
    put_claim(&bench.api, json!({"local": {"path": disk.path()}}));
    bench.volumes.setup(&pod).await.unwrap();
    let file = bench.at("volumes/kubernetes.io~local-volume/pv_ro/f");
    let error = std::fs::write(file, "").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(
        std::fs::metadata(disk.path()).unwrap().gid(),
        0,
        "nobody's group writes there"
    );
    bench.end().await;
}

#[tokio::test]
async fn two_volumes_of_a_pod_may_be_of_one_claim_and_only_one_of_them_read_only() {
    let bench = bench();
    let disk = tempfile::tempdir().unwrap();
    put_claim(&bench.api, json!({"local": {"path": disk.path()}}));
    let volumes = json!([
        {"name": "r", "persistentVolumeClaim": {"claimName": "c", "readOnly": true}},
        {"name": "w", "persistentVolumeClaim": {"claimName": "c"}},
        {"name": "x", "persistentVolumeClaim": {"claimName": "c"}}]);
    let pod = pod(volumes, None, json!({"fsGroup": 1001}));
    let map = bench.volumes.setup(&pod).await.unwrap();
    let mounts = bench.mounts(&pod, &map, &[]).await.unwrap();
    let writes = |mount: &orlop_cri::v1::Mount| {
        let written = std::fs::write(Path::new(&mount.host_path).join("f"), "");
        (mount.readonly, written.is_ok())
    };
    let found: Vec<_> = mounts.iter().map(writes).collect();
    assert_eq!(found, [(true, false), (false, true), (false, true)]);
    assert_eq!(std::fs::metadata(disk.path()).unwrap().gid(), 1001);
    let places = claim::mounted(&bench.at(""));
    let names: Vec<&str> = places.keys().map(String::as_str).collect();
    assert_eq!(names, ["r", "w", "x"]);
    assert!(places.values().all(|place| table::is_mount_point(place).unwrap()));
    bench.end().await;
}

#[tokio::test]
async fn mount_options_of_a_local_volume_are_flags_of_its_mount() {
    use nix::sys::statvfs::{FsFlags, statvfs};
    let bench = bench();
    let disk = tempfile::tempdir().unwrap();
    let pod = pod(
        json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]),
        None,
        json!({"fsGroup": 1001}),
    );
    let flags = FsFlags::ST_RDONLY | FsFlags::ST_NOEXEC | FsFlags::ST_NOSUID;
    for (options, read_only, want) in [
        (json!(["ro", "noexec", "nosuid"]), true, flags),
        (json!(["noexec"]), false, FsFlags::ST_NOEXEC),
    ] {
        put_claim(
            &bench.api,
            json!({"mountOptions": options, "local": {"path": disk.path()}}),
        );
        let map = bench.volumes.setup(&pod).await.unwrap();
        let mounts = bench.mounts(&pod, &map, &[]).await.unwrap();
        assert_eq!(mounts[0].readonly, read_only, "{options}");
        let found = statvfs(Path::new(&mounts[0].host_path)).unwrap().flags();
        let before = statvfs(disk.path()).unwrap().flags() & flags;
        assert_eq!(found & flags, before | want, "{options}");
        let group = std::fs::metadata(disk.path()).unwrap().gid();
        assert_eq!(group == 1001, !read_only, "{options}");
        bench.volumes.teardown("u").await.unwrap();
    }
    bench.end().await;
}

#[tokio::test]
async fn a_local_volume_that_was_left_unfinished_is_finished() {
    use nix::mount::{MsFlags, mount};
    use nix::sys::statvfs::{FsFlags, statvfs};
    let bench = bench();
    let disk = tempfile::tempdir().unwrap();
    let path = disk.path().join("d");
    std::fs::create_dir(&path).unwrap();
    let claim = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
    let pod = pod(claim, None, json!({"fsGroup": 1001}));
    put_claim(
        &bench.api,
        json!({"mountOptions": ["noexec"], "local": {"path": path}}),
    );
    let group = || std::fs::metadata(&path).unwrap().gid();
    // Of this pod, and of one that comes after it: what ended after the mount.
    for of in ["u", "u2"] {
        let at = bench
            .at("..")
            .join(of)
            .join("volumes/kubernetes.io~local-volume/pv");
        std::fs::create_dir_all(bench.at("")).unwrap();
        std::fs::create_dir_all(&at).unwrap();
        mount(Some(&path), &at, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    }
    bench.volumes.setup(&pod).await.unwrap();
    assert_eq!(group(), 1001);
    let at = bench.at("volumes/kubernetes.io~local-volume/pv");
    assert!(statvfs(&at).unwrap().flags().contains(FsFlags::ST_NOEXEC));
    let points = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let here = format!(" {} ", at.display());
    assert_eq!(points.matches(&here).count(), 1, "not mounted twice");

    // What is done is not done again.
    std::os::unix::fs::chown(&path, None, Some(0)).unwrap();
    bench.volumes.setup(&pod).await.unwrap();
    assert_eq!(group(), 0);
    // Without its mount it isn't done, whatever comes between.
    table::unmount(&at).unwrap();
    std::fs::rename(&path, disk.path().join("away")).unwrap();
    assert!(bench.volumes.setup(&pod).await.is_err());
    std::fs::rename(disk.path().join("away"), &path).unwrap();
    mount(Some(&path), &at, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    bench.volumes.setup(&pod).await.unwrap();
    assert_eq!(group(), 1001);
    bench.volumes.teardown("u2").await.unwrap();
    bench.end().await;
}

#[tokio::test]
async fn e13_secret_modes_and_group() {
    let bench = bench();
    let items = json!([{"key": "pw", "path": "pw"}, {"key": "two", "path": "d/two", "mode": 0o440}]);
    let source = json!({"secretName": "s", "defaultMode": 0o400, "items": items});
    let volumes = json!([{"name": "v", "secret": source}]);
    bench
        .volumes
        .setup(&pod(volumes.clone(), None, json!({})))
        .await
        .unwrap();
    let volume = bench.at("volumes/kubernetes.io~secret/v");
    assert!(
        table::is_mount_point(&volume).unwrap(),
        "secrets never touch a disk"
    );
    assert_eq!(
        (mode(&volume.join("pw")), mode(&volume.join("d/two"))),
        (0o400, 0o440)
    );
    bench.volumes.teardown("u").await.unwrap();
    bench
        .volumes
        .setup(&pod(volumes, None, json!({"runAsUser": 1000, "fsGroup": 1001})))
        .await
        .unwrap();
    let file = std::fs::metadata(volume.join("pw")).unwrap();
    assert_eq!((file.gid(), file.mode() & 0o777), (1001, 0o440));
    assert_eq!(std::fs::metadata(&volume).unwrap().mode() & 0o2000, 0o2000);
    bench.end().await;
}

#[tokio::test]
async fn e14_e15_projected_sources() {
    let bench = bench();
    let volumes = json!([{"name": "v", "projected": {"sources": [
        {"configMap": {"name": "cm", "items": [{"key": "k", "path": "cm"}]}},
        {"secret": {"name": "s"}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}}]}}]);
    let mut pod = pod(volumes, None, json!({}));
    bench.volumes.setup(&pod).await.unwrap();
    let volume = bench.at("volumes/kubernetes.io~projected/v");
    for (name, want) in [
        ("cm", "v1"),
        ("pw", "secret"),
        ("labels", "app=\"web\""),
        ("token", "token-1"),
    ] {
        assert_eq!(read(volume.join(name)), want);
    }
    let request = bench.api.token_requests().remove(0);
    assert_eq!(request["spec"]["audiences"], json!(["vault"]));
    assert_eq!(
        request["spec"]["boundObjectRef"],
        json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"})
    );
    assert_eq!(request["spec"]["expirationSeconds"], 600);
    pod.metadata.labels = Some([("app".to_owned(), "new".to_owned())].into());
    bench.volumes.setup(&pod).await.unwrap();
    assert_eq!(
        (read(volume.join("labels")), read(volume.join("token"))),
        ("app=\"new\"".into(), "token-1".into())
    );
    // An agent that starts while the API server is away keeps what the pod has.
    bench.api.set_down(true);
    let again = Volumes::new(
        bench.root.path().to_owned(),
        Some(bench.api.client()),
        Due::default(),
    );
    again.setup(&pod).await.unwrap();
    assert_eq!(read(volume.join("token")), "token-1");
    bench.end().await;
}

#[tokio::test]
async fn e07_sub_path_expressions() {
    let bench = bench();
    let with = |mount: Value| {
        pod(
            json!([{"name": "v", "emptyDir": {}}]),
            Some(json!([mount])),
            json!({}),
        )
    };
    let expression = |text: &str| with(json!({"name": "v", "mountPath": "/v", "subPathExpr": text}));
    let pod = expression("logs/$(POD_NAME)");
    let map = bench.volumes.setup(&pod).await.unwrap();
    let mounts = bench.mounts(&pod, &map, &[("POD_NAME", "p")]).await.unwrap();
    std::fs::write(Path::new(&mounts[0].host_path).join("f"), "through").unwrap();
    let volume = bench.at("volumes/kubernetes.io~empty-dir/v");
    assert_eq!(read(volume.join("logs/p/f")), "through");
    assert_eq!(mode(&volume.join("logs")), 0o777, "as the volume's root");
    bench.mounts(&pod, &map, &[("POD_NAME", "p")]).await.unwrap();
    let points = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert_eq!(
        points
            .lines()
            .filter(|line| line.contains(&mounts[0].host_path))
            .count(),
        1,
        "bound once"
    );
    assert_eq!(
        bench.mounts(&pod, &map, &[]).await.unwrap_err(),
        "missing value for \"POD_NAME\""
    );
    for bad in ["/abs", "a/../../b"] {
        assert!(
            bench
                .mounts(&expression("$(X)"), &map, &[("X", bad)])
                .await
                .unwrap_err()
                .contains(bad)
        );
    }
    std::os::unix::fs::symlink("/etc", volume.join("out")).unwrap();
    std::os::unix::fs::symlink("logs", volume.join("inside")).unwrap();
    let escape = with(json!({"name": "v", "mountPath": "/v", "subPath": "out"}));
    assert_eq!(
        bench.mounts(&escape, &map, &[]).await.unwrap_err(),
        "failed to prepare subPath for volumeMount \"v\" of container \"c\""
    );
    let inside = with(json!({"name": "v", "mountPath": "/v", "subPath": "inside/p"}));
    assert_eq!(
        read(Path::new(&bench.mounts(&inside, &map, &[]).await.unwrap()[0].host_path).join("f")),
        "through"
    );
    bench.end().await;
}

#[tokio::test]
async fn e11_host_paths_and_what_is_not_supported() {
    let bench = bench();
    let text = fails(
        &bench,
        json!({"name": "v", "hostPath": {"path": "/nowhere/x", "type": "Directory"}}),
    )
    .await;
    assert_eq!(
        text,
        "MountVolume.SetUp failed for volume \"v\" : hostPath type check failed: /nowhere/x is not a directory"
    );
    let text = fails(&bench, json!({"name": "v", "nfs": {"server": "s", "path": "/"}})).await;
    assert!(text.contains("volume type nfs is not supported"), "{text}");
    let volume = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "x"}}]);
    let mut raw = pod(volume, Some(json!([])), json!({}));
    let devices = json!([{"name": "v", "devicePath": "/dev/xvda"}]);
    raw.spec.as_mut().unwrap().containers[0].volume_devices = serde_json::from_value(devices).unwrap();
    let text = bench.volumes.setup(&raw).await.unwrap_err().to_string();
    assert!(text.contains("(as a block device) is not supported"), "{text}");
    let mount = json!([{"name": "gone", "mountPath": "/v"}]);
    let pod = pod(
        json!([{"name": "v", "hostPath": {"path": "/etc"}}]),
        Some(mount),
        json!({}),
    );
    let map = bench.volumes.setup(&pod).await.unwrap();
    let text = bench.mounts(&pod, &map, &[]).await.unwrap_err();
    assert_eq!(text, "cannot find volume \"gone\" to mount into container \"c\"");
    for bad in ["", "..", "a/b"] {
        assert!(bench.volumes.teardown(bad).await.is_err());
    }
    bench.end().await;
}

#[tokio::test]
async fn teardown_never_reaches_through_a_mount() {
    let bench = bench();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("precious"), "").unwrap();
    let inside = bench.at("volumes/kubernetes.io~empty-dir/v/deep");
    std::fs::create_dir_all(&inside).unwrap();
    nix::mount::mount(
        Some(outside.path()),
        &inside,
        None::<&str>,
        nix::mount::MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
    bench.end().await;
    assert!(outside.path().join("precious").exists());
}

#[tokio::test]
async fn part_of_an_image_is_refused_where_the_runtime_would_mount_the_whole() {
    let mut bench = bench();
    let volumes = json!([{"name": "i", "image": {"reference": "i:1"}}]);
    let part = |part: Option<&str>| {
        let mounts = json!([{"name": "i", "mountPath": "/i", "subPath": part}]);
        pod(volumes.clone(), Some(mounts), json!({}))
    };
    for (version, can) in [("2.1.9", false), ("2.2.0", true)] {
        bench.volumes = bench.volumes.lacking(image::Lacks::of("containerd", version));
        let whole = part(None);
        let map = bench.volumes.setup(&whole).await.unwrap();
        assert_eq!(bench.mounts(&whole, &map, &[]).await, Ok(Vec::new()));
        let outcome = bench.mounts(&part(Some("etc")), &map, &[]).await;
        assert_eq!(outcome.is_ok(), can, "{outcome:?}");
    }
}

/// A projected volume with a token, and with parts of the ConfigMap if it is to be broken without that.
fn with_token(name: &str, config_map: Option<&str>) -> Value {
    let mut sources = vec![json!({"serviceAccountToken": {"path": "token", "expirationSeconds": 600}})];
    sources.extend(config_map.map(|config_map| json!({"configMap": {"name": config_map}})));
    json!({"name": name, "projected": {"sources": sources}})
}

#[tokio::test]
async fn a_broken_volume_keeps_no_other_from_being_brought_up_to_date() {
    let bench = bench();
    let socket = bench.root.path().join("socket");
    std::fs::write(&socket, "").unwrap();
    let volumes = json!([
        {"name": "host", "hostPath": {"path": socket, "type": "File"}},
        {"name": "gone", "configMap": {"name": "x"}},
        {"name": "cm", "configMap": {"name": "cm"}}]);
    let pod = pod(volumes, None, json!({}));
    bench
        .api
        .put("/api/v1/namespaces/ns/configmaps/x", json!({"data": {"a": "b"}}));
    let set_up = bench.volumes.setup(&pod).await.unwrap();
    // What the pod was given when it started may be away for a moment.
    std::fs::remove_file(&socket).unwrap();
    bench.api.remove("/api/v1/namespaces/ns/configmaps/x");
    bench.api.put(CONFIG, json!({"data": {"k": "v2"}}));
    let mut ready = set_up.clone();
    let error = bench.volumes.refresh(&pod, &mut ready, true).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "MountVolume.SetUp failed for volume \"gone\" : configmap \"x\" not found"
    );
    assert_eq!(read(bench.at("volumes/kubernetes.io~configmap/cm/k")), "v2");
    assert_eq!(ready.0, set_up.0, "what was ready is");
    bench.volumes.refresh(&pod, &mut ready, true).await.unwrap_err();
    assert_eq!(bench.due.timers(), 1, "it is tried again");

    // Of a pod that was found running only what may change is looked at: the rest was checked when it started.
    let mut found = VolumeMap::default();
    bench.volumes.refresh(&pod, &mut found, false).await.unwrap_err();
    assert_eq!(found.0.keys().collect::<Vec<_>>(), ["cm"]);
    bench.end().await;
}

#[tokio::test]
async fn a_pod_has_one_timer_while_the_api_server_is_away() {
    let bench = bench();
    let pod = pod(
        json!([with_token("a", Some("cm")), with_token("b", None)]),
        None,
        json!({}),
    );
    let mut ready = bench.volumes.setup(&pod).await.unwrap();
    assert_eq!(bench.due.timers(), 1, "for both tokens");
    bench.api.set_down(true);
    for _ in 0..5 {
        bench.volumes.refresh(&pod, &mut ready, true).await.unwrap();
        assert_eq!(bench.due.timers(), 1);
    }
    bench.end().await;
}

#[tokio::test]
async fn e10_memory_without_a_limit_is_what_the_node_has_for_pods() {
    use crate::environment::resource::NodeAmounts;
    use orlop_api::quantity::Amount;
    let mut bench = bench();
    let whole = ThisNode::default().allocatable("memory").value();
    let kept_back = Amount::from_bytes(whole - (100 << 20));
    bench.volumes = bench
        .volumes
        .on(ThisNode::less([("memory".to_owned(), kept_back)].into()));
    let pod = pod(
        json!([{"name": "mem", "emptyDir": {"medium": "Memory"}}]),
        None,
        json!({}),
    );
    bench.volumes.setup(&pod).await.unwrap();
    let size = rustix::fs::statvfs(bench.at("volumes/kubernetes.io~empty-dir/mem")).unwrap();
    assert_eq!(size.f_blocks * size.f_frsize, 100 << 20);
    bench.end().await;
}
