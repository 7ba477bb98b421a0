//! What is refused of a configuration: what cannot work, and what would be left out of account without a word. Pure.
use super::KubeletConfiguration;
use super::load::plain;
use crate::pods::users::LENGTH;
use crate::upkeep::eviction::signals;
use crate::upkeep::logs::PERIOD_MIN;
use orlop_api::quantity::parse;
use orlop_api::taints;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

/// What the kernel takes for `cpu.max`.
const CPU_PERIODS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(1);

/// The first thing that is wrong, with the field's name.
pub fn validate(configuration: &KubeletConfiguration) -> Result<(), String> {
    let c = configuration;
    if c.other.get("runOnce") == Some(&Value::Bool(true)) {
        return Err("runOnce: true is not supported any more: remove it".into());
    }
    one_of(
        "authorization.mode",
        &c.authorization.mode,
        &["Webhook", "AlwaysAllow"],
    )?;
    one_of("cgroupDriver", &c.cgroup_driver, &["cgroupfs", "systemd"])?;
    if c.port == 0 {
        return Err("port 0 must be between 1 and 65535".into());
    }
    for (field, number, least) in [
        ("maxPods", i64::from(c.max_pods), 0),
        ("podsPerCore", i64::from(c.pods_per_core), 0),
        ("nodeStatusMaxImages", i64::from(c.node_status_max_images), -1),
        (
            "nodeLeaseDurationSeconds",
            i64::from(c.node_lease_duration_seconds),
            1,
        ),
        ("maxOpenFiles", c.max_open_files, 0),
        (
            "maxParallelImagePulls",
            i64::from(c.max_parallel_image_pulls.unwrap_or(1)),
            1,
        ),
        ("registryPullQPS", i64::from(c.registry_pull_qps), 0),
        ("registryBurst", i64::from(c.registry_burst), 0),
    ] {
        if number < least {
            return Err(format!("{field} {number} must be {least} or more"));
        }
    }
    let period = c.cpu_cfs_quota_period;
    if !CPU_PERIODS.contains(&period.0) {
        return Err(format!("cpuCFSQuotaPeriod {period} must be between 1ms and 1s"));
    }
    let interval = c.container_log_monitor_interval;
    if interval.0 < PERIOD_MIN {
        return Err(format!(
            "containerLogMonitorInterval {interval} must be 3s or more"
        ));
    }
    for (field, percent) in [
        ("imageGCHighThresholdPercent", c.image_gc_high_threshold_percent),
        ("imageGCLowThresholdPercent", c.image_gc_low_threshold_percent),
    ] {
        if !(0..=100).contains(&percent) {
            return Err(format!("{field} {percent} must be between 0 and 100"));
        }
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
    for name in &c.enforce_node_allocatable {
        one_of("enforceNodeAllocatable", name, &known)?;
    }
    reserved("systemReserved", &c.system_reserved)?;
    reserved("kubeReserved", &c.kube_reserved)?;
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
    one_of(
        "imagePullCredentialsVerificationPolicy",
        &c.image_pull_credentials_verification_policy,
        &[
            "NeverVerifyPreloadedImages",
            "NeverVerifyAllowlistedImages",
            "NeverVerify",
            "AlwaysVerify",
        ],
    )?;
    logs(&c.pod_logs_dir)?;
    for taint in &c.register_with_taints {
        taints::check(taint)
            .map_err(|reason| format!("registerWithTaints {:?}: {reason}", taints::display(taint)))?;
    }
    crate::shutdown::check(c)?;
    crate::server::check_log_queries(c)?;
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
    signals::check(c)?;
    if parse(&c.container_log_max_size).is_err() {
        return Err(format!(
            "containerLogMaxSize: {:?} is no quantity such as 10Mi",
            c.container_log_max_size
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

fn one_of(field: &str, value: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&value) {
        return Ok(());
    }
    Err(format!("{field}: {value:?} is none of {}", known.join(", ")))
}

/// The path is part of what containers' logs are called everywhere.
fn logs(directory: &str) -> Result<(), String> {
    let refuse = |what: &str| Err(format!("podLogsDir {directory:?} must be {what}"));
    if !directory.starts_with('/') {
        return refuse("an absolute path");
    }
    let plain = plain(Path::new(directory));
    if plain.as_os_str() != directory {
        return refuse(&format!("written as {:?}", plain.display().to_string()));
    }
    if !directory.is_ascii() {
        return refuse("of ASCII characters");
    }
    Ok(())
}

/// What is reserved for others than pods.
fn reserved(field: &str, reserved: &BTreeMap<String, String>) -> Result<(), String> {
    let known = ["cpu", "memory", "ephemeral-storage", "pid"];
    for (name, text) in reserved {
        one_of(field, name, &known)?;
        if parse(text).map_or(true, |amount| amount.is_negative()) {
            return Err(format!(
                "{field}.{name}: {text:?} is no quantity such as 500m or 1Gi"
            ));
        }
    }
    Ok(())
}
