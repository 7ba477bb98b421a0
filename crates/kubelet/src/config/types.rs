//! The fields of KubeletConfiguration that mean something here, with upstream's names and defaults. Fields not listed
//! are accepted and shown in `/configz` as they were given.
use super::go_duration::seconds;
use super::{Authentication, Authorization, DeadContainers, GoDuration};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// `crashLoopBackOff`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CrashLoopBackOff {
    pub max_container_restart_period: GoDuration,
}

/// `memorySwap`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MemorySwap {
    /// `NoSwap`, which is the default, or `LimitedSwap`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub swap_behavior: String,
}

/// `userNamespaces`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserNamespaces {
    /// Users of each pod that has its own: a multiple of 65536.
    pub ids_per_pod: u32,
}

impl Default for UserNamespaces {
    fn default() -> Self {
        Self {
            ids_per_pod: crate::pods::users::LENGTH,
        }
    }
}

/// KubeletConfiguration, `kubelet.config.k8s.io/v1beta1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeletConfiguration {
    // Sources.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub static_pod_path: String,
    /// Ours: a directory of ConfigMaps and Secrets that static pods may use; empty: they may not, as upstream.
    #[serde(
        rename = "orlop.dev/staticObjectsPath",
        skip_serializing_if = "String::is_empty"
    )]
    pub static_objects_path: String,
    /// Ours: what stands between a managed containerd and a pod's containers: `orlop` or `containerd`.
    #[serde(rename = "orlop.dev/shim", skip_serializing_if = "String::is_empty")]
    pub shim: String,
    #[serde(rename = "staticPodURL", skip_serializing_if = "String::is_empty")]
    pub static_pod_url: String,
    #[serde(rename = "staticPodURLHeader", skip_serializing_if = "BTreeMap::is_empty")]
    pub static_pod_url_header: BTreeMap<String, Vec<String>>,
    pub sync_frequency: GoDuration,
    pub file_check_frequency: GoDuration,
    pub http_check_frequency: GoDuration,
    // Server.
    pub enable_server: bool,
    pub address: String,
    pub port: u16,
    #[serde(skip_serializing_if = "is_zero")]
    pub read_only_port: u16,
    pub healthz_bind_address: String,
    pub healthz_port: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tls_cert_file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tls_private_key_file: String,
    /// The oldest version that the server speaks, such as `VersionTLS13`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tls_min_version: String,
    /// IANA's names, for TLS 1.2; empty: all that are safe.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls_cipher_suites: Vec<String>,
    pub rotate_certificates: bool,
    #[serde(rename = "serverTLSBootstrap", skip_serializing_if = "std::ops::Not::not")]
    pub server_tls_bootstrap: bool,
    pub authentication: Authentication,
    pub authorization: Authorization,
    pub enable_debugging_handlers: bool,
    pub streaming_connection_idle_timeout: GoDuration,
    // Node.
    pub register_node: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub register_with_taints: Vec<k8s_openapi::api::core::v1::Taint>,
    pub node_status_update_frequency: GoDuration,
    pub node_status_report_frequency: GoDuration,
    pub node_lease_duration_seconds: i32,
    pub node_status_max_images: i32,
    pub max_pods: i32,
    pub pods_per_core: i32,
    #[serde(rename = "podCIDR", skip_serializing_if = "String::is_empty")]
    pub pod_cidr: String,
    #[serde(rename = "providerID", skip_serializing_if = "String::is_empty")]
    pub provider_id: String,
    #[serde(rename = "clusterDNS", skip_serializing_if = "Vec::is_empty")]
    pub cluster_dns: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_domain: String,
    pub resolv_conf: String,
    // Runtime.
    pub container_runtime_endpoint: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_service_endpoint: String,
    pub runtime_request_timeout: GoDuration,
    pub serialize_image_pulls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel_image_pulls: Option<i32>,
    #[serde(rename = "registryPullQPS")]
    pub registry_pull_qps: i32,
    pub registry_burst: i32,
    pub image_pull_credentials_verification_policy: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preloaded_images_verification_allowlist: Vec<String>,
    pub seccomp_default: bool,
    // Logs.
    pub pod_logs_dir: String,
    pub container_log_max_size: String,
    pub container_log_max_files: i32,
    pub container_log_monitor_interval: GoDuration,
    // Resources.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cgroup_root: String,
    pub cgroup_driver: String,
    #[serde(rename = "cgroupsPerQOS")]
    pub cgroups_per_qos: bool,
    pub enforce_node_allocatable: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub system_reserved: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kube_reserved: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub system_reserved_cgroup: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kube_reserved_cgroup: String,
    pub pod_pids_limit: i64,
    #[serde(rename = "cpuCFSQuota")]
    pub cpu_cfs_quota: bool,
    #[serde(rename = "cpuCFSQuotaPeriod")]
    pub cpu_cfs_quota_period: GoDuration,
    pub fail_swap_on: bool,
    #[serde(rename = "failCgroupV1")]
    pub fail_cgroup_v1: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "singleProcessOOMKill")]
    pub single_process_oom_kill: Option<bool>,
    pub oom_score_adj: i32,
    pub max_open_files: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_unsafe_sysctls: Vec<String>,
    // Eviction and garbage collection.
    pub eviction_hard: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub eviction_soft: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub eviction_soft_grace_period: BTreeMap<String, GoDuration>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub eviction_minimum_reclaim: BTreeMap<String, String>,
    pub eviction_pressure_transition_period: GoDuration,
    pub eviction_max_pod_grace_period: i32,
    pub local_storage_capacity_isolation: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge_default_eviction_settings: Option<bool>,
    #[serde(rename = "imageMinimumGCAge")]
    pub image_minimum_gc_age: GoDuration,
    #[serde(rename = "imageMaximumGCAge")]
    pub image_maximum_gc_age: GoDuration,
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub image_gc_high_threshold_percent: i32,
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub image_gc_low_threshold_percent: i32,
    // Lifecycle.
    pub shutdown_grace_period: GoDuration,
    pub shutdown_grace_period_critical_pods: GoDuration,
    pub shutdown_grace_period_by_pod_priority: Vec<PriorityPeriod>,
    pub crash_loop_back_off: CrashLoopBackOff,
    pub memory_swap: MemorySwap,
    #[serde(skip_serializing_if = "is_usual")]
    pub user_namespaces: UserNamespaces,
    /// What is kept of ended containers; no file has it.
    #[serde(skip)]
    pub dead_containers: DeadContainers,
    /// Everything else that was given.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn is_usual(users: &UserNamespaces) -> bool {
    *users == UserNamespaces::default()
}

fn is_zero(port: &u16) -> bool {
    *port == 0
}

impl Default for CrashLoopBackOff {
    fn default() -> Self {
        Self {
            max_container_restart_period: seconds(300),
        }
    }
}

impl Default for KubeletConfiguration {
    fn default() -> Self {
        Self {
            static_pod_path: String::new(),
            static_objects_path: String::new(),
            shim: String::new(),
            static_pod_url: String::new(),
            static_pod_url_header: BTreeMap::new(),
            sync_frequency: seconds(60),
            file_check_frequency: seconds(20),
            http_check_frequency: seconds(20),
            enable_server: true,
            address: "0.0.0.0".into(),
            port: 10250,
            read_only_port: 0,
            healthz_bind_address: "127.0.0.1".into(),
            healthz_port: 10248,
            tls_cert_file: String::new(),
            tls_private_key_file: String::new(),
            tls_min_version: String::new(),
            tls_cipher_suites: Vec::new(),
            rotate_certificates: false,
            server_tls_bootstrap: false,
            authentication: Authentication::default(),
            authorization: Authorization::default(),
            enable_debugging_handlers: true,
            streaming_connection_idle_timeout: seconds(4 * 3600),
            register_node: true,
            register_with_taints: Vec::new(),
            node_status_update_frequency: seconds(10),
            node_status_report_frequency: seconds(300),
            node_lease_duration_seconds: 40,
            node_status_max_images: 50,
            max_pods: 110,
            pods_per_core: 0,
            pod_cidr: String::new(),
            provider_id: String::new(),
            cluster_dns: Vec::new(),
            cluster_domain: String::new(),
            resolv_conf: "/etc/resolv.conf".into(),
            container_runtime_endpoint: "unix:///run/containerd/containerd.sock".into(),
            image_service_endpoint: String::new(),
            runtime_request_timeout: seconds(120),
            serialize_image_pulls: true,
            max_parallel_image_pulls: None,
            registry_pull_qps: 5,
            registry_burst: 10,
            image_pull_credentials_verification_policy: "NeverVerifyPreloadedImages".into(),
            preloaded_images_verification_allowlist: Vec::new(),
            seccomp_default: false,
            pod_logs_dir: "/var/log/pods".into(),
            container_log_max_size: "10Mi".into(),
            container_log_max_files: 5,
            container_log_monitor_interval: seconds(10),
            cgroup_root: String::new(),
            cgroup_driver: "cgroupfs".into(),
            cgroups_per_qos: true,
            enforce_node_allocatable: vec!["pods".into()],
            system_reserved: BTreeMap::new(),
            kube_reserved: BTreeMap::new(),
            system_reserved_cgroup: String::new(),
            kube_reserved_cgroup: String::new(),
            pod_pids_limit: -1,
            cpu_cfs_quota: true,
            cpu_cfs_quota_period: GoDuration(Duration::from_millis(100)),
            fail_swap_on: true,
            fail_cgroup_v1: true,
            single_process_oom_kill: None,
            oom_score_adj: -999,
            max_open_files: 1_000_000,
            allowed_unsafe_sysctls: Vec::new(),
            eviction_hard: default_eviction_hard(),
            eviction_soft: BTreeMap::new(),
            eviction_soft_grace_period: BTreeMap::new(),
            eviction_minimum_reclaim: BTreeMap::new(),
            eviction_pressure_transition_period: seconds(300),
            eviction_max_pod_grace_period: 0,
            local_storage_capacity_isolation: true,
            merge_default_eviction_settings: None,
            image_minimum_gc_age: seconds(120),
            image_maximum_gc_age: seconds(0),
            image_gc_high_threshold_percent: 85,
            image_gc_low_threshold_percent: 80,
            shutdown_grace_period: seconds(0),
            shutdown_grace_period_critical_pods: seconds(0),
            shutdown_grace_period_by_pod_priority: Vec::new(),
            crash_loop_back_off: CrashLoopBackOff::default(),
            memory_swap: MemorySwap::default(),
            user_namespaces: UserNamespaces::default(),
            dead_containers: DeadContainers::default(),
            other: Map::new(),
        }
    }
}

/// `shutdownGracePeriodByPodPriority`: how long pods of this priority, and up to the next one given, may take to end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PriorityPeriod {
    pub priority: i32,
    pub shutdown_grace_period_seconds: i64,
}

/// The thresholds used when none is given.
pub fn default_eviction_hard() -> BTreeMap<String, String> {
    let pairs = [
        ("memory.available", "100Mi"),
        ("nodefs.available", "10%"),
        ("nodefs.inodesFree", "5%"),
        ("imagefs.available", "15%"),
        ("imagefs.inodesFree", "5%"),
    ];
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
