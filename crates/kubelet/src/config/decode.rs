//! From a merged document to a configuration: defaults, unknown fields, and what one field says of another.
use super::load::ConfigError;
use super::validate::validate;
use super::{GoDuration, KubeletConfiguration, default_eviction_hard};
use serde_json::{Map, Value};
use std::path::Path;

/// Fields of upstream's that are accepted and shown, but that nothing here acts on.
const ACCEPTED: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "featureGates",
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

/// Reads `value`, which `file` names in errors and in `warnings`.
pub fn decode(
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
    drop_defaulted(&mut value);
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
    let pulls = configuration.max_parallel_image_pulls;
    if value.get("serializeImagePulls").is_none() && pulls.is_some_and(|pulls| pulls > 1) {
        configuration.serialize_image_pulls = false;
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

/// Numbers of which zero means: not given.
const DEFAULTED_NUMBERS: [&str; 5] = [
    "/port",
    "/maxPods",
    "/nodeLeaseDurationSeconds",
    "/maxOpenFiles",
    "/registryBurst",
];

/// Texts of which an empty one means: not given.
const DEFAULTED_TEXTS: [&str; 8] = [
    "/address",
    "/healthzBindAddress",
    "/authorization/mode",
    "/containerRuntimeEndpoint",
    "/containerLogMaxSize",
    "/cgroupDriver",
    "/podLogsDir",
    "/imagePullCredentialsVerificationPolicy",
];

/// Drops numbers that files give as nothing. One that a flag gives is meant.
pub fn drop_zeros(value: &mut Value) {
    drop_where(value, &DEFAULTED_NUMBERS, |given| given.as_i64() == Some(0));
}

fn drop_defaulted(value: &mut Value) {
    let is_zero = |given: &Value| {
        let duration = serde_json::from_value::<GoDuration>(given.clone());
        duration.is_ok_and(|duration| duration.0.is_zero())
    };
    let is_empty = |given: &Value| given.as_str() == Some("");
    drop_where(value, &DEFAULTED_DURATIONS, is_zero);
    drop_where(value, &DEFAULTED_TEXTS, is_empty);
}

/// Removes those of the fields that `is_unset` says were not given.
fn drop_where(value: &mut Value, pointers: &[&str], is_unset: impl Fn(&Value) -> bool) {
    for pointer in pointers {
        let Some((parent, name)) = pointer.rsplit_once('/') else {
            continue;
        };
        let Some(Value::Object(fields)) = value.pointer_mut(parent) else {
            continue;
        };
        if fields.get(name).is_some_and(&is_unset) {
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
