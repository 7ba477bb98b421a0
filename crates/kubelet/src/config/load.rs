//! Reads a KubeletConfiguration: strictly, and when only unknown or repeated fields are in the way, leniently with a
//! warning that names them (contract, node agent §2.1).
use super::{GoDuration, KubeletConfiguration, default_eviction_hard};
use crate::pods::users::LENGTH;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";
const KIND: &str = "KubeletConfiguration";

/// Fields of upstream's that are accepted and shown, but that nothing here acts on.
const ACCEPTED: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "featureGates",
    "tlsCipherSuites",
    "tlsMinVersion",
    "enableSystemLogHandler",
    "enableProfilingHandler",
    "enableDebugFlagsHandler",
    "enableSystemLogQuery",
    "kubeAPIQPS",
    "kubeAPIBurst",
    "eventRecordQPS",
    "eventBurst",
    "contentType",
    "configMapAndSecretChangeDetectionStrategy",
    "enableControllerAttachDetach",
    "registryPullQPS",
    "registryBurst",
    "containerLogMaxWorkers",
    "reservedSystemCPUs",
    "protectKernelDefaults",
    "cpuManagerPolicy",
    "cpuManagerPolicyOptions",
    "cpuManagerReconcilePeriod",
    "memoryManagerPolicy",
    "topologyManagerPolicy",
    "topologyManagerPolicyOptions",
    "topologyManagerScope",
    "reservedMemory",
    "hairpinMode",
    "volumeStatsAggPeriod",
    "volumePluginDir",
    "makeIPTablesUtilChains",
    "iptablesMasqueradeBit",
    "iptablesDropBit",
    "tracing",
    "logging",
    "qosReserved",
    "kernelMemcgNotification",
    "memoryThrottlingFactor",
    "kubeletCgroups",
    "systemCgroups",
    "showHiddenMetricsForVersion",
    "runOnce",
    "enableContentionProfiling",
    "enableServer",
];

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the kubelet configuration {}: {source}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing in it.
    #[error("kubelet configuration {} is empty: it needs at least apiVersion: {API_VERSION} and kind: {KIND}", file.display())]
    Empty {
        /// Which file.
        file: PathBuf,
    },
    /// Not YAML, not JSON, or not of the form the fields have.
    #[error("kubelet configuration {}: {reason}", file.display())]
    Invalid {
        /// Which file.
        file: PathBuf,
        /// What is wrong where.
        reason: String,
    },
}

/// A configuration and what is to be said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// With defaults.
    pub configuration: KubeletConfiguration,
    /// For the log: unknown fields by path.
    pub warnings: Vec<String>,
}

/// Reads the file and the drop-ins below `drop_ins` (only `*.conf`, in lexical order of path).
pub fn load(file: Option<&Path>, drop_ins: Option<&Path>) -> Result<Loaded, ConfigError> {
    load_with(file, drop_ins, &Value::Null)
}

/// The same, with what the command line says over it (`given`, fields by name).
pub fn load_with(file: Option<&Path>, drop_ins: Option<&Path>, given: &Value) -> Result<Loaded, ConfigError> {
    let mut merged = Value::Object(Map::new());
    let mut warnings = Vec::new();
    let mut files: Vec<PathBuf> = file.map(Path::to_path_buf).into_iter().collect();
    if let Some(directory) = drop_ins {
        conf_files(directory, &mut files)?;
    }
    for file in &files {
        let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Read {
            file: file.clone(),
            source,
        })?;
        let mut value = parse(file, &text, &mut warnings)?;
        make_paths_absolute(&mut value, file);
        orlop_api::patch::merge(&mut merged, &value);
    }
    let mut name = files.last().cloned().unwrap_or_default();
    if given.as_object().is_some_and(|given| !given.is_empty()) {
        orlop_api::patch::merge(&mut merged, given);
        name = PathBuf::from("with the flags of the command line");
    }
    let configuration = decode(&name, merged, &mut warnings)?;
    Ok(Loaded {
        configuration,
        warnings,
    })
}

fn conf_files(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), ConfigError> {
    let read = |source| ConfigError::Read {
        file: directory.to_path_buf(),
        source,
    };
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory)
        .map_err(read)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            conf_files(&entry, files)?;
        } else if entry.extension().is_some_and(|extension| extension == "conf") {
            files.push(entry);
        }
    }
    Ok(())
}

fn parse(file: &Path, text: &str, warnings: &mut Vec<String>) -> Result<Value, ConfigError> {
    let invalid = |reason: String| ConfigError::Invalid {
        file: file.to_path_buf(),
        reason,
    };
    if text.trim().is_empty() {
        return Err(ConfigError::Empty {
            file: file.to_path_buf(),
        });
    }
    let options = serde_saphyr::options! { duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error };
    let value: Value = match serde_saphyr::from_str_with_options(text, options) {
        Ok(value) => value,
        Err(strict) => {
            let lenient =
                serde_saphyr::options! { duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins };
            let value = serde_saphyr::from_str_with_options(text, lenient)
                .map_err(|error| invalid(error.to_string()))?;
            warnings.push(format!("kubelet configuration {}: {strict}", file.display()));
            value
        }
    };
    if value.is_null() {
        return Err(ConfigError::Empty {
            file: file.to_path_buf(),
        });
    }
    let text_of = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    if text_of("apiVersion") != API_VERSION || text_of("kind") != KIND {
        let (version, kind) = (text_of("apiVersion"), text_of("kind"));
        return Err(invalid(format!(
            "apiVersion {version:?}, kind {kind:?}: expected {API_VERSION:?} and {KIND:?}"
        )));
    }
    Ok(value)
}

/// Relative paths mean: beside the file that names them.
fn make_paths_absolute(value: &mut Value, file: &Path) {
    let directory = file.parent().unwrap_or(Path::new("/"));
    for pointer in [
        "/staticPodPath",
        "/orlop.dev~1staticObjectsPath",
        "/authentication/x509/clientCAFile",
        "/tlsCertFile",
        "/tlsPrivateKeyFile",
        "/resolvConf",
        "/volumePluginDir",
        "/podLogsDir",
    ] {
        if let Some(Value::String(path)) = value.pointer_mut(pointer)
            && !path.is_empty()
            && !path.starts_with('/')
        {
            *path = directory.join(&*path).display().to_string();
        }
    }
}

fn decode(
    file: &Path,
    value: Value,
    warnings: &mut Vec<String>,
) -> Result<KubeletConfiguration, ConfigError> {
    let invalid = |reason: String| ConfigError::Invalid {
        file: file.to_path_buf(),
        reason,
    };
    let given = value.clone();
    // Null means: not given.
    let mut value = value;
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, value| !value.is_null());
    }
    drop_zero_durations(&mut value);
    let mut configuration: KubeletConfiguration = serde_json::from_value(value.clone())
        .map_err(|error| invalid(wrong_field(&value).unwrap_or_else(|| error.to_string())))?;
    let unknown: Vec<String> = configuration
        .other
        .keys()
        .filter(|key| !ACCEPTED.contains(&key.as_str()))
        .cloned()
        .collect();
    let nested = nested_unknown(&given);
    for path in unknown.iter().chain(&nested) {
        warnings.push(format!(
            "kubelet configuration {}: unknown field \"{path}\" is ignored",
            file.display()
        ));
    }
    configuration
        .other
        .retain(|key, _| !unknown.contains(key) && !["apiVersion", "kind"].contains(&key.as_str()));
    if configuration.merge_default_eviction_settings == Some(true) {
        for (key, value) in default_eviction_hard() {
            configuration.eviction_hard.entry(key).or_insert(value);
        }
    }
    if value.get("nodeStatusUpdateFrequency").is_some() && value.get("nodeStatusReportFrequency").is_none() {
        configuration.node_status_report_frequency = configuration.node_status_update_frequency;
    }
    reserve_processors(&mut configuration).map_err(invalid)?;
    validate(&configuration).map_err(invalid)?;
    Ok(configuration)
}

/// `reservedSystemCPUs` says how many processors are not the pods', and goes before what is said elsewhere.
fn reserve_processors(configuration: &mut KubeletConfiguration) -> Result<(), String> {
    let given = configuration.other.get("reservedSystemCPUs");
    let list = given.and_then(Value::as_str).unwrap_or_default();
    if list.is_empty() {
        return Ok(());
    }
    if !configuration.system_reserved_cgroup.is_empty() || !configuration.kube_reserved_cgroup.is_empty() {
        return Err(
            "reservedSystemCPUs cannot be used with systemReservedCgroup or kubeReservedCgroup".into(),
        );
    }
    let count = processors(list)
        .ok_or_else(|| format!("reservedSystemCPUs: {list:?} is not a list such as 0-1,3"))?;
    configuration.kube_reserved.remove("cpu");
    configuration
        .system_reserved
        .insert("cpu".to_owned(), count.to_string());
    Ok(())
}

/// How many processors a list such as `0-1,3` names.
fn processors(list: &str) -> Option<usize> {
    let mut all = std::collections::BTreeSet::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all.len())
}

/// Durations of which zero means: not given. kubeadm writes all of them so.
const DEFAULTED_DURATIONS: [&str; 12] = [
    "/syncFrequency",
    "/fileCheckFrequency",
    "/httpCheckFrequency",
    "/streamingConnectionIdleTimeout",
    "/nodeStatusUpdateFrequency",
    "/nodeStatusReportFrequency",
    "/runtimeRequestTimeout",
    "/evictionPressureTransitionPeriod",
    "/imageMinimumGCAge",
    "/authentication/webhook/cacheTTL",
    "/authorization/webhook/cacheAuthorizedTTL",
    "/authorization/webhook/cacheUnauthorizedTTL",
];

fn drop_zero_durations(value: &mut Value) {
    for pointer in DEFAULTED_DURATIONS {
        let Some((parent, name)) = pointer.rsplit_once('/') else {
            continue;
        };
        let Some(Value::Object(fields)) = value.pointer_mut(parent) else {
            continue;
        };
        let given = fields
            .get(name)
            .cloned()
            .map(serde_json::from_value::<GoDuration>);
        if matches!(given, Some(Ok(duration)) if duration.0.is_zero()) {
            fields.remove(name);
        }
    }
}

/// The top-level field that cannot be read, and why: the decoder of the whole doesn't tell which it was at.
fn wrong_field(value: &Value) -> Option<String> {
    value.as_object()?.iter().find_map(|(key, value)| {
        let alone = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
        let error = serde_json::from_value::<KubeletConfiguration>(alone).err()?;
        Some(format!("{key}: {error}"))
    })
}

/// Unknown fields of the few structures below the top level.
fn nested_unknown(given: &Value) -> Vec<String> {
    const KNOWN: &[(&str, &[&str])] = &[
        ("authentication", &["x509", "webhook", "anonymous"]),
        ("authentication.x509", &["clientCAFile"]),
        ("authentication.webhook", &["enabled", "cacheTTL"]),
        ("authentication.anonymous", &["enabled"]),
        ("authorization", &["mode", "webhook"]),
        (
            "authorization.webhook",
            &["cacheAuthorizedTTL", "cacheUnauthorizedTTL"],
        ),
        ("crashLoopBackOff", &["maxContainerRestartPeriod"]),
        ("userNamespaces", &["idsPerPod"]),
        ("memorySwap", &["swapBehavior"]),
    ];
    let mut found = Vec::new();
    for (path, fields) in KNOWN {
        let pointer = format!("/{}", path.replace('.', "/"));
        let Some(Value::Object(object)) = given.pointer(&pointer) else {
            continue;
        };
        found.extend(
            object
                .keys()
                .filter(|key| !fields.contains(&key.as_str()))
                .map(|key| format!("{path}.{key}")),
        );
    }
    found
}

fn validate(configuration: &KubeletConfiguration) -> Result<(), String> {
    let c = configuration;
    if c.other.get("runOnce") == Some(&Value::Bool(true)) {
        return Err("runOnce: true is not supported any more: remove it".into());
    }
    if c.image_gc_low_threshold_percent >= c.image_gc_high_threshold_percent {
        return Err(format!(
            "imageGCLowThresholdPercent {} must be less than imageGCHighThresholdPercent {}",
            c.image_gc_low_threshold_percent, c.image_gc_high_threshold_percent
        ));
    }
    let known = [
        "none",
        "pods",
        "system-reserved",
        "kube-reserved",
        "system-reserved-compressible",
        "kube-reserved-compressible",
    ];
    if let Some(other) = c
        .enforce_node_allocatable
        .iter()
        .find(|name| !known.contains(&name.as_str()))
    {
        return Err(format!(
            "enforceNodeAllocatable: {other:?} is none of {}",
            known.join(", ")
        ));
    }
    for (what, field, cgroup) in [
        (
            "system-reserved",
            "systemReservedCgroup",
            &c.system_reserved_cgroup,
        ),
        ("kube-reserved", "kubeReservedCgroup", &c.kube_reserved_cgroup),
    ] {
        let asked = c
            .enforce_node_allocatable
            .iter()
            .find(|name| name.starts_with(what));
        if let Some(asked) = asked.filter(|_| cgroup.is_empty()) {
            return Err(format!(
                "{field} must be given where enforceNodeAllocatable has {asked:?}"
            ));
        }
    }
    let policies = [
        "NeverVerifyPreloadedImages",
        "NeverVerifyAllowlistedImages",
        "NeverVerify",
        "AlwaysVerify",
    ];
    let policy = c.image_pull_credentials_verification_policy.as_str();
    if !policies.contains(&policy) {
        return Err(format!(
            "imagePullCredentialsVerificationPolicy: {policy:?} is none of {}",
            policies.join(", ")
        ));
    }
    if !c.pod_logs_dir.starts_with('/') {
        return Err(format!(
            "podLogsDir {:?} must be an absolute path",
            c.pod_logs_dir
        ));
    }
    crate::shutdown::check(c)?;
    let longest = c.crash_loop_back_off.max_container_restart_period.0.as_secs();
    if !(1..=300).contains(&longest) {
        return Err("crashLoopBackOff.maxContainerRestartPeriod must be between 1s and 300s".into());
    }
    let swap = c.memory_swap.swap_behavior.as_str();
    if !["", "NoSwap", "LimitedSwap"].contains(&swap) {
        return Err(format!(
            "memorySwap.swapBehavior: {swap:?} is neither NoSwap nor LimitedSwap"
        ));
    }
    // Containers that count on processors or memory of their own would silently share them.
    for (field, none) in [("cpuManagerPolicy", "none"), ("memoryManagerPolicy", "None")] {
        let policy = c.other.get(field).and_then(Value::as_str).unwrap_or_default();
        if !policy.is_empty() && policy != none {
            return Err(format!(
                "{field}: {policy:?} is not supported: this agent gives no container processors or memory of its own; \
                 set {none:?}"
            ));
        }
    }
    let users = c.user_namespaces.ids_per_pod;
    if users == 0 || !users.is_multiple_of(LENGTH) {
        return Err(format!(
            "userNamespaces.idsPerPod {users} must be a multiple of {LENGTH}"
        ));
    }
    if let Some(signal) = c
        .eviction_soft
        .keys()
        .find(|signal| !c.eviction_soft_grace_period.contains_key(*signal))
    {
        return Err(format!(
            "evictionSoft {signal:?} needs an evictionSoftGracePeriod"
        ));
    }
    if c.container_log_max_files <= 1 {
        return Err(format!(
            "containerLogMaxFiles {} must be more than 1",
            c.container_log_max_files
        ));
    }
    if c.max_parallel_image_pulls.is_some_and(|pulls| pulls > 1) && c.serialize_image_pulls {
        return Err("maxParallelImagePulls above 1 needs serializeImagePulls: false".into());
    }
    Ok(())
}

/// What `/configz` shows.
pub fn configz(configuration: &KubeletConfiguration) -> Value {
    let mut shown = Map::new();
    shown.insert("kind".into(), KIND.into());
    shown.insert("apiVersion".into(), API_VERSION.into());
    // A structure of strings, numbers and maps always has a JSON form.
    if let Ok(Value::Object(fields)) = serde_json::to_value(configuration) {
        shown.extend(fields);
    }
    serde_json::json!({ "kubeletconfig": shown })
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }

    #[test]
    fn what_cannot_work_is_refused_at_start() {
        for bad in [
            "imageGCLowThresholdPercent: 90",
            "podLogsDir: ''",
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
        ] {
            assert!(read(&format!("{HEAD}{bad}\n")).is_err(), "{bad}");
        }
    }
}
