use super::*;
use crate::stats::disk::{ClaimKey, FileSystem};
use std::collections::BTreeMap;
use std::time::Duration;

#[test]
fn series_have_upstreams_names() {
    let metrics = Metrics::default();
    metrics
        .operations
        .get_or_create(&Operation {
            operation_type: "version",
        })
        .inc();
    metrics.active_pods.get_or_create(&true.into()).set(2);
    let file = "/etc/kubernetes/manifests/a.yaml".to_owned();
    metrics.manifest_errors.get_or_create(&Manifest { file }).set(1);
    metrics.relist.observe(0.02);
    let claim = |name: &str| ClaimKey {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    };
    let volume = FileSystem {
        capacity: 1000,
        available: 700,
        used: 250,
        inodes: 50,
        inodes_free: 40,
    };
    let now = Now {
        node_name: "n1",
        claims: &[(claim("disk"), volume), (claim("other"), volume)].into(),
        pods: &[],
        mirrors: 3,
        root: std::path::Path::new("/nowhere"),
    };
    let text = metrics.text(&now);
    for line in [
        "kubelet_runtime_operations_total{operation_type=\"version\"} 1",
        "kubelet_active_pods{static=\"true\"} 2",
        "kubelet_node_name{node=\"n1\"} 1",
        "kubelet_mirror_pods 3",
        "kubelet_desired_pods{static=\"true\"} 0",
        "kubelet_pleg_relist_duration_seconds_count 1",
        "kubelet_volume_stats_capacity_bytes{namespace=\"shop\",persistentvolumeclaim=\"disk\"} 1000",
        "kubelet_volume_stats_available_bytes{namespace=\"shop\",persistentvolumeclaim=\"disk\"} 700",
        "kubelet_volume_stats_used_bytes{namespace=\"shop\",persistentvolumeclaim=\"disk\"} 250",
        "kubelet_volume_stats_inodes{namespace=\"shop\",persistentvolumeclaim=\"disk\"} 50",
        "kubelet_volume_stats_inodes_free{namespace=\"shop\",persistentvolumeclaim=\"disk\"} 40",
        "kubelet_volume_stats_inodes_used{namespace=\"shop\",persistentvolumeclaim=\"other\"} 10",
        "orlop_static_pod_manifest_error{file=\"/etc/kubernetes/manifests/a.yaml\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    assert!(text.contains("process_resident_memory_bytes "), "{text}");
    let later = metrics.text(&Now {
        claims: &BTreeMap::new(),
        ..now
    });
    assert!(!later.contains("persistentvolumeclaim"), "{later}");
}

#[tokio::test]
async fn every_series_that_dashboards_and_alerts_select_is_there() {
    let metrics = Metrics::default();
    let second = Duration::from_secs(1);
    metrics.calls.called("GET", "here:6443", "200", second);
    metrics.storage.mounted("kubernetes.io/secret", true, second);
    metrics
        .storage
        .unmounted("kubernetes.io/empty-dir", false, second);
    let create = Operation {
        operation_type: "create",
    };
    metrics.cgroups.get_or_create(&create).observe(0.1);
    let text = encode(&metrics.registry);
    for start in [
        "kubernetes_build_info{",
        "go_goroutines ",
        "rest_client_requests_total{code=\"200\",method=\"GET\",host=\"here:6443\"} 1\n",
        "rest_client_request_duration_seconds_count{verb=\"GET\",host=\"here:6443\"} 1\n",
        "kubelet_node_config_error 0\n",
        "kubelet_pleg_relist_interval_seconds_bucket{le=",
        "storage_operation_duration_seconds_count{operation_name=\"volume_mount\",\
         volume_plugin=\"kubernetes.io/secret\",status=\"success\",migrated=\"false\"} 1\n",
        "storage_operation_duration_seconds_count{operation_name=\"volume_unmount\",\
         volume_plugin=\"kubernetes.io/empty-dir\",status=\"fail-unknown\",migrated=\"false\"} 1\n",
        "kubelet_cgroup_manager_duration_seconds_count{operation_type=\"create\"} 1\n",
        "kubelet_certificate_manager_client_expiration_renew_errors 0\n",
        "kubelet_server_expiration_renew_errors 0\n",
    ] {
        assert!(text.contains(&format!("\n{start}")), "{start} in\n{text}");
    }
    assert!(!text.contains("ttl_seconds"), "{text}");
    let later = Some(jiff::Timestamp::now() + Duration::from_secs(3600));
    metrics.certificates.client_lasts(later);
    metrics.certificates.server_lasts(later);
    let text = encode(&metrics.registry);
    for whose in ["client", "server"] {
        let start = format!("\nkubelet_certificate_manager_{whose}_ttl_seconds 3");
        assert!(text.contains(&start), "{start} in\n{text}");
    }
}

#[test]
fn health_checks_have_a_page_of_their_own() {
    let metrics = Metrics::default();
    metrics.checked("ping", true);
    metrics.checked("ping", true);
    let text = metrics.slis_text();
    for line in [
        "kubernetes_healthcheck{name=\"ping\",type=\"healthz\"} 1",
        "kubernetes_healthchecks_total{name=\"ping\",type=\"healthz\",status=\"success\"} 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[test]
fn probes_have_a_page_of_their_own() {
    let metrics = Metrics::default();
    let probe = Probe {
        container: "c".into(),
        namespace: "shop".into(),
        pod: "web".into(),
        pod_uid: "u".into(),
        probe_type: "Liveness",
    };
    metrics.probes.get_or_create(&probe.with("successful")).inc();
    assert!(metrics.probes_text().contains(
        "prober_probe_total{container=\"c\",namespace=\"shop\",pod=\"web\",pod_uid=\"u\",probe_type=\"Liveness\",\
         result=\"successful\"} 1"
    ));
}
