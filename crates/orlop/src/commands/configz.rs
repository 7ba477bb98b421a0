//! What controllers and scheduler were told, as `/configz` shows it under upstream's names: only what is followed here.
use crate::cli::{ControllerManagerArgs, FaceArgs, LeaderArgs, SchedulerArgs};
use orlop_client::leader::{NAMESPACE, Timing};
use orlop_scheduler::Options;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// As Go writes a duration.
fn go(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if seconds == 0 && nanos > 0 {
        return format!("{}ms", f64::from(nanos) / 1e6);
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = match nanos {
        0 => format!("{}s", seconds % 60),
        _ => format!("{}s", (seconds % 60) as f64 + f64::from(nanos) / 1e9),
    };
    match (hours, minutes) {
        (0, 0) => rest,
        (0, minutes) => format!("{minutes}m{rest}"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
    }
}

fn leader(arguments: &LeaderArgs, part: &str) -> Value {
    let usual = Timing::default();
    let time = |given: Option<Duration>, usual: Duration| go(given.unwrap_or(usual));
    json!({
        "LeaderElect": arguments.leader_elect.unwrap_or(true),
        "LeaseDuration": time(arguments.leader_elect_lease_duration, usual.lease_duration),
        "RenewDeadline": time(arguments.leader_elect_renew_deadline, usual.renew_deadline),
        "RetryPeriod": time(arguments.leader_elect_retry_period, usual.retry_period),
        "ResourceLock": arguments.leader_elect_resource_lock,
        "ResourceName": arguments.leader_elect_resource_name.as_deref().unwrap_or(part),
        "ResourceNamespace": arguments.leader_elect_resource_namespace.as_deref().unwrap_or(NAMESPACE),
    })
}

fn path(path: Option<&PathBuf>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

/// The controllers' part.
pub fn controller_manager(arguments: &ControllerManagerArgs) -> Value {
    let FaceArgs { bind_address, .. } = &arguments.face;
    let (nodes, scaler) = (&arguments.nodes, &arguments.autoscaler);
    let bits = arguments.node_bits();
    json!({"kubecontrollermanager.config.k8s.io": {
        "Generic": {
            "Address": bind_address.to_string(),
            "Port": arguments.secure_port,
            "ClientConnection": {"Kubeconfig": path(Some(&arguments.kubeconfig))},
            "Controllers": arguments.controllers,
            "LeaderElection": leader(&arguments.leader, "kube-controller-manager"),
        },
        "KubeCloudShared": {
            "AllocateNodeCIDRs": arguments.allocate_node_cidrs,
            "ClusterCIDR": arguments.cluster_cidr.as_deref().unwrap_or_default(),
            "UseServiceAccountCredentials": arguments.use_service_account_credentials,
        },
        "CSRSigningController": {
            "ClusterSigningCertFile": path(arguments.cluster_signing_cert_file.as_ref()),
            "ClusterSigningKeyFile": path(arguments.cluster_signing_key_file.as_ref()),
            "ClusterSigningDuration": go(arguments.cluster_signing_duration),
        },
        "HPAController": {
            "HorizontalPodAutoscalerSyncPeriod": go(scaler.sync_period),
            "HorizontalPodAutoscalerDownscaleStabilizationWindow": go(scaler.downscale_stabilization),
            "HorizontalPodAutoscalerTolerance": scaler.tolerance,
            "HorizontalPodAutoscalerCPUInitializationPeriod": go(scaler.cpu_initialization_period),
            "HorizontalPodAutoscalerInitialReadinessDelay": go(scaler.initial_readiness_delay),
        },
        "LegacySATokenCleaner": {"CleanUpPeriod": go(arguments.legacy_service_account_token_clean_up_period)},
        "NodeIPAMController": {"NodeCIDRMaskSize": bits.ipv4, "NodeCIDRMaskSizeIPv6": bits.ipv6},
        "NodeLifecycleController": {
            "NodeMonitorGracePeriod": go(nodes.monitor_grace_period),
            "NodeStartupGracePeriod": go(nodes.startup_grace_period),
            "NodeEvictionRate": nodes.eviction_rate,
            "SecondaryNodeEvictionRate": nodes.secondary_eviction_rate,
            "LargeClusterSizeThreshold": nodes.large_cluster_size_threshold,
            "UnhealthyZoneThreshold": nodes.unhealthy_zone_threshold,
        },
        "PodGCController": {"TerminatedPodGCThreshold": arguments.terminated_pod_gc_threshold},
        "SAController": {
            "RootCAFile": path(arguments.root_ca_file.as_ref()),
            "ServiceAccountKeyFile": path(arguments.service_account_private_key_file.as_ref()),
        },
    }})
}

/// The scheduler.
pub fn scheduler(arguments: &SchedulerArgs, options: &Options) -> Value {
    let profiles = options.profiles.iter();
    let profiles: Vec<Value> = profiles
        .map(|profile| json!({"SchedulerName": profile.name}))
        .collect();
    let extenders = options.extenders.iter();
    let extenders: Vec<Value> = extenders
        .map(|extender| json!({"URLPrefix": extender.url}))
        .collect();
    json!({"componentconfig": {
        "ClientConnection": {"Kubeconfig": path(arguments.kubeconfig.as_ref())},
        "LeaderElection": leader(&arguments.leader, "kube-scheduler"),
        "Extenders": extenders,
        "PodInitialBackoffSeconds": options.backoff_min.as_secs(),
        "PodMaxBackoffSeconds": options.backoff_max.as_secs(),
        "Profiles": profiles,
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (milliseconds, want) in [
            (0, "0s"),
            (15_000, "15s"),
            (100, "100ms"),
            (1_500, "1.5s"),
            (300_000, "5m0s"),
            (31_536_000_000, "8760h0m0s"),
        ] {
            assert_eq!(go(Duration::from_millis(milliseconds)), want);
        }
    }
}
