//! Files, drop-ins, and what is refused of them.
use super::*;
use crate::config::configz;

const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

fn read(text: &str) -> Result<Loaded, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    std::fs::write(&file, text).unwrap();
    load(Some(&file), None)
}

#[test]
fn c01_unknown_fields_warn_and_wrong_types_fail() {
    let text = format!("{HEAD}colour: blue\nauthentication: {{anonymous: {{enable: true}}}}\n");
    let loaded = read(&text).unwrap();
    assert!(
        loaded.warnings.iter().any(|w| w.contains("\"colour\"")),
        "{:?}",
        loaded.warnings
    );
    assert!(
        loaded
            .warnings
            .iter()
            .any(|w| w.contains("authentication.anonymous.enable"))
    );
    assert!(
        read(&format!("{HEAD}maxPods: many\n"))
            .unwrap_err()
            .to_string()
            .contains("many")
    );
    assert!(read("kind: Pod\napiVersion: v1\n").is_err());
}

#[test]
fn c01_repeated_fields_warn_and_the_last_one_counts() {
    let loaded = read(&format!("{HEAD}maxPods: 5\nmaxPods: 7\n")).unwrap();
    assert_eq!(loaded.configuration.max_pods, 7);
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
}

#[test]
fn c02_empty_file_is_an_error_that_names_it() {
    for text in ["", "\n", "# nothing\n"] {
        assert!(
            read(text).unwrap_err().to_string().contains("config.yaml"),
            "{text:?}"
        );
    }
}

#[test]
fn c03_eviction_thresholds_are_defaulted_as_a_whole() {
    let text = format!("{HEAD}evictionHard: {{memory.available: 200Mi}}\n");
    assert_eq!(read(&text).unwrap().configuration.eviction_hard.len(), 1);
    let merged = read(&format!("{text}mergeDefaultEvictionSettings: true\n")).unwrap();
    assert_eq!(merged.configuration.eviction_hard.len(), 5);
    assert_eq!(merged.configuration.eviction_hard["memory.available"], "200Mi");
}

#[test]
fn c04_a63_drop_ins_merge_maps_and_replace_lists() {
    let dir = tempfile::tempdir().unwrap();
    let write =
        |name: &str, text: &str| std::fs::write(dir.path().join(name), format!("{HEAD}{text}")).unwrap();
    write(
        "base",
        "port: 1\nclusterDNS: [10.0.0.1]\nsyncFrequency: 30s\nstaticPodURLHeader: {a: [one], b: [two]}\n",
    );
    let drops = dir.path().join("d");
    std::fs::create_dir(&drops).unwrap();
    write(
        "d/10-a.conf",
        "port: 2\nclusterDNS: [10.0.0.2, 10.0.0.3]\nsystemReserved: {cpu: 100m}\n",
    );
    write(
        "d/20-b.conf",
        "systemReserved: {memory: 1Gi}\nstaticPodURLHeader: {a: [three]}\n",
    );
    write("d/30-c.yaml", "port: 3\n");
    let loaded = load(Some(&dir.path().join("base")), Some(&drops))
        .unwrap()
        .configuration;
    assert_eq!((loaded.port, loaded.cluster_dns.len()), (2, 2));
    assert_eq!(loaded.system_reserved.len(), 2);
    assert_eq!(loaded.static_pod_url_header["a"], ["three"]);
    assert_eq!(loaded.static_pod_url_header["b"], ["two"]);
    assert_eq!(loaded.sync_frequency.to_string(), "30s");
    assert_eq!(loaded.file_check_frequency.to_string(), "20s");
}

#[test]
fn durations_of_zero_are_not_given_where_they_have_a_default() {
    let zeros = "syncFrequency: 0s\nfileCheckFrequency: 0s\nhttpCheckFrequency: 0s\n\
        streamingConnectionIdleTimeout: 0s\nnodeStatusUpdateFrequency: 0s\nnodeStatusReportFrequency: 0s\n\
        runtimeRequestTimeout: 0s\nevictionPressureTransitionPeriod: 0s\nimageMinimumGCAge: 0s\n\
        imageMaximumGCAge: 0s\nshutdownGracePeriod: 0s\n\
        authentication: {webhook: {cacheTTL: 0s}}\n\
        authorization: {webhook: {cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s}}\n";
    let loaded = read(&format!("{HEAD}{zeros}")).unwrap();
    assert_eq!(loaded.configuration, read(HEAD).unwrap().configuration);
    let one = read(&format!(
        "{HEAD}nodeStatusUpdateFrequency: 7s\nnodeStatusReportFrequency: 0s\n"
    ))
    .unwrap();
    assert_eq!(one.configuration.node_status_report_frequency.to_string(), "7s");
}

/// As kubeadm writes it, with all that it leaves to the agent.
#[test]
fn what_kubeadm_leaves_open_is_as_usual() {
    let open = "authentication: {webhook: {cacheTTL: 0s}}\n\
        authorization: {webhook: {cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s}}\n\
        containerRuntimeEndpoint: ''\nimagePullCredentialsVerificationPolicy: ''\ncpuManagerReconcilePeriod: 0s\n\
        crashLoopBackOff: {}\nevictionPressureTransitionPeriod: 0s\nfileCheckFrequency: 0s\n\
        httpCheckFrequency: 0s\nimageMaximumGCAge: 0s\nimageMinimumGCAge: 0s\n\
        logging: {flushFrequency: 0, options: {json: {infoBufferSize: '0'}, text: {infoBufferSize: '0'}}, verbosity: 0}\n\
        memorySwap: {}\nnodeStatusReportFrequency: 0s\nnodeStatusUpdateFrequency: 0s\nruntimeRequestTimeout: 0s\n\
        shutdownGracePeriod: 0s\nshutdownGracePeriodCriticalPods: 0s\nstreamingConnectionIdleTimeout: 0s\n\
        syncFrequency: 0s\nvolumeStatsAggPeriod: 0s\n";
    let loaded = read(&format!("{HEAD}{open}")).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let mut configuration = loaded.configuration;
    configuration.other.clear();
    assert_eq!(configuration, read(HEAD).unwrap().configuration);
}

#[test]
fn c06_a62_configz_has_kind_version_and_values() {
    let loaded = read(&format!(
        "{HEAD}fileCheckFrequency: 30s\nfeatureGates: {{X: true}}\n"
    ))
    .unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let shown = configz(&loaded.configuration);
    assert_eq!(shown["kubeletconfig"]["kind"], KIND);
    assert_eq!(shown["kubeletconfig"]["apiVersion"], API_VERSION);
    assert_eq!(shown["kubeletconfig"]["fileCheckFrequency"], "30s");
    assert_eq!(shown["kubeletconfig"]["featureGates"]["X"], true);
}

#[test]
fn reserved_processors_go_before_what_is_reserved_elsewhere() {
    let text = format!("{HEAD}reservedSystemCPUs: 0-1,3,1\nkubeReserved: {{cpu: 100m, memory: 1Gi}}\n");
    let configuration = read(&text).unwrap().configuration;
    assert_eq!(configuration.system_reserved["cpu"], "3");
    assert_eq!(configuration.kube_reserved.keys().collect::<Vec<_>>(), ["memory"]);
}

#[test]
fn relative_paths_lie_beside_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    std::fs::write(&file, format!("{HEAD}staticPodPath: manifests\n")).unwrap();
    let loaded = load(Some(&file), None).unwrap();
    assert_eq!(
        loaded.configuration.static_pod_path,
        dir.path().join("manifests").display().to_string()
    );
    let file = dir.path().join("drop-in.conf");
    std::fs::write(&file, format!("{HEAD}podLogsDir: ../logs/./of-pods/\n")).unwrap();
    let logs = load(Some(&file), None).unwrap().configuration.pod_logs_dir;
    let beside = dir.path().parent().unwrap().join("logs/of-pods");
    assert_eq!(logs, beside.display().to_string());
}

#[test]
fn what_cannot_work_is_refused_at_start() {
    for bad in [
        "imageGCLowThresholdPercent: 90",
        "maxPods: -1",
        "podsPerCore: -1",
        "nodeStatusMaxImages: -2",
        "nodeLeaseDurationSeconds: -1",
        "maxOpenFiles: -1",
        "maxParallelImagePulls: 0",
        "registryPullQPS: -1",
        "enableSystemLogQuery: true\nenableSystemLogHandler: false",
        "enableSystemLogQuery: true\nfeatureGates: {NodeLogQuery: false}",
        "registryBurst: -1",
        "maxParallelImagePulls: 2\nserializeImagePulls: true",
        "cpuCFSQuotaPeriod: 0s",
        "containerLogMonitorInterval: 0s",
        "containerLogMaxFiles: 0",
        "enforceNodeAllocatable: [x]",
        "enforceNodeAllocatable: [kube-reserved-compressible]",
        "runOnce: true",
        "userNamespaces: {idsPerPod: 1000}",
        "userNamespaces: {idsPerPod: 0}",
        "memorySwap: {swapBehavior: UnlimitedSwap}",
        "cpuManagerPolicy: static",
        "memoryManagerPolicy: Static",
        "reservedSystemCPUs: 3-1",
        "reservedSystemCPUs: '1'\nsystemReservedCgroup: /x",
        "authorization: {mode: AlwaysAlow}",
        "cgroupDriver: system",
        "containerLogMaxSize: 10Mo",
        "imageGCHighThresholdPercent: 185",
        "kubeReserved: {cpu: a lot}",
        "systemReserved: {memory: -1Gi}",
        "systemReserved: {hugepages-2Mi: 1Gi}",
        "evictionHard: {memory.avaliable: 100Mi}",
        "evictionHard: {memory.available: 120%}",
        "evictionMinimumReclaim: {memory.available: some}",
        "evictionSoftGracePeriod: {memory: 1m}",
        "podLogsDir: /var/log/pods/",
        "podLogsDir: /var/log/../pods",
        "podLogsDir: /var//log",
        "podLogsDir: /var/log/pods/ä",
        "registerWithTaints: [{key: a b, effect: NoSchedule}]",
        "registerWithTaints: [{key: a, value: b c, effect: NoSchedule}]",
        "registerWithTaints: [{key: a, effect: NoShedule}]",
        "registerWithTaints: [{key: a, effect: NoSchedule, timeAdded: '2024-01-01T00:00:00Z'}]",
    ] {
        assert!(read(&format!("{HEAD}{bad}\n")).is_err(), "{bad}");
    }
}

#[test]
fn what_is_refused_is_named_with_its_field() {
    for (bad, named) in [
        (
            "evictionHard: {memory.avaliable: 100Mi}",
            "evictionHard: \"memory.avaliable\"",
        ),
        ("kubeReserved: {cpu: a lot}", "kubeReserved.cpu: \"a lot\""),
        (
            "authorization: {mode: AlwaysAlow}",
            "authorization.mode: \"AlwaysAlow\"",
        ),
        ("containerLogMaxSize: 10Mo", "containerLogMaxSize: \"10Mo\""),
        (
            "registerWithTaints: [{key: a, effect: NoShedule}]",
            "registerWithTaints \"a:NoShedule\": effect",
        ),
        ("podLogsDir: /var/log/pods/", "podLogsDir \"/var/log/pods/\""),
    ] {
        let error = read(&format!("{HEAD}{bad}\n")).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains("config.yaml"), "{error}");
    }
}

#[test]
fn empty_texts_are_not_given_where_they_have_a_default() {
    let empty = "address: ''\nhealthzBindAddress: ''\ncontainerLogMaxSize: ''\ncgroupDriver: ''\n\
        containerRuntimeEndpoint: ''\nauthorization: {mode: ''}\npodLogsDir: ''\n\
        imagePullCredentialsVerificationPolicy: ''\n";
    let loaded = read(&format!("{HEAD}{empty}")).unwrap();
    assert_eq!(loaded.configuration, read(HEAD).unwrap().configuration);
}

#[test]
fn zeros_of_files_are_not_given_where_they_have_a_default_and_those_of_flags_are_meant() {
    let zeros = "port: 0\nmaxPods: 0\nnodeLeaseDurationSeconds: 0\nmaxOpenFiles: 0\nregistryBurst: 0\n";
    let loaded = read(&format!("{HEAD}{zeros}")).unwrap();
    assert_eq!(loaded.configuration, read(HEAD).unwrap().configuration);
    let flag = |name: &str| load_with(None, None, &serde_json::json!({ name: 0 }));
    assert_eq!(flag("maxPods").unwrap().configuration.max_pods, 0);
    assert!(flag("port").is_err());
}

#[test]
fn zeros_that_mean_something_are_kept() {
    let zeros = "healthzPort: 0\nreadOnlyPort: 0\npodsPerCore: 0\nnodeStatusMaxImages: 0\npodPidsLimit: 0\n\
        oomScoreAdj: 0\nregistryPullQPS: 0\nevictionMaxPodGracePeriod: 0\nenforceNodeAllocatable: []\nresolvConf: ''\n";
    let configuration = read(&format!("{HEAD}{zeros}")).unwrap().configuration;
    let kept = (
        configuration.healthz_port,
        configuration.node_status_max_images,
        configuration.pod_pids_limit,
        configuration.oom_score_adj,
        configuration.registry_pull_qps,
    );
    assert_eq!(kept, (0, 0, 0, 0, 0));
    assert!(configuration.enforce_node_allocatable.is_empty() && configuration.resolv_conf.is_empty());
}

#[test]
fn parallel_pulls_need_not_be_allowed_twice() {
    let serial = |text: &str| {
        let loaded = read(&format!("{HEAD}{text}\n")).unwrap();
        loaded.configuration.serialize_image_pulls
    };
    assert!(serial("") && serial("maxParallelImagePulls: 1"));
    assert!(!serial("maxParallelImagePulls: 5") && !serial("serializeImagePulls: false"));
}
