use super::*;
use serde_json::{Value, json};

fn node() -> NodeLimits {
    NodeLimits {
        memory_capacity: 1 << 30,
        cpu_quota: true,
        cpu_period: Duration::from_millis(100),
        pids_per_pod: -1,
        unified: false,
        single_process_oom_kill: true,
        limits_swap: false,
        shared_swap: 0,
        huge_pages: Vec::new(),
    }
}

fn pod(containers: Value) -> Pod {
    let object = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": containers}});
    serde_json::from_value(object).unwrap()
}

fn one(resources: Value) -> Pod {
    pod(json!([{"name": "c", "resources": resources}]))
}

fn settings(pod: &Pod, node: &NodeLimits) -> v1::LinuxContainerResources {
    linux(pod, &pod.spec.as_ref().unwrap().containers[0], node)
}

#[test]
fn s07_container_limits_follow_its_requests_and_limits() {
    // Resources, then shares, quota, memory.
    let cases = [
        (json!({}), (2, 0, 0)),
        (
            json!({"requests": {"cpu": "100m", "memory": "100Mi"}}),
            (102, 0, 0),
        ),
        (
            json!({"limits": {"cpu": "500m", "memory": "64Mi"}}),
            (512, 50_000, 64 << 20),
        ),
        (
            json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "2"}}),
            (256, 200_000, 0),
        ),
    ];
    for (resources, expected) in cases {
        let made = settings(&one(resources.clone()), &node());
        let got = (made.cpu_shares, made.cpu_quota, made.memory_limit_in_bytes);
        assert_eq!(got, expected, "{resources}");
        assert_eq!(made.cpu_period, if made.cpu_quota > 0 { 100_000 } else { 0 });
        assert!(made.unified.is_empty() && made.hugepage_limits.is_empty());
    }
    let without = NodeLimits {
        cpu_quota: false,
        ..node()
    };
    assert_eq!(
        settings(&one(json!({"limits": {"cpu": "1"}})), &without).cpu_quota,
        0
    );
}

#[test]
fn p21_v2_files_follow_the_configuration() {
    for (single, swap, expected) in [
        (false, false, vec![("memory.oom.group", "1")]),
        (true, false, vec![]),
        (true, true, vec![("memory.swap.max", "0")]),
    ] {
        let node = NodeLimits {
            unified: true,
            single_process_oom_kill: single,
            limits_swap: swap,
            ..node()
        };
        let unified = settings(&one(json!({})), &node).unified;
        let expected = expected
            .into_iter()
            .map(|(file, value)| (file.to_owned(), value.to_owned()));
        assert_eq!(unified, expected.collect());
    }
}

#[test]
fn burstable_containers_share_the_swap_by_the_memory_they_asked_for() {
    let node = NodeLimits {
        unified: true,
        limits_swap: true,
        shared_swap: 512 << 20,
        ..node()
    };
    let asks =
        |request: &str, limit: &str| json!({"requests": {"memory": request}, "limits": {"memory": limit}});
    for (resources, priority, expected) in [
        (json!({"requests": {"memory": "256Mi"}}), 0, 128 << 20),
        (asks("256Mi", "512Mi"), 0, 128 << 20),
        (json!({"requests": {"cpu": "1"}}), 0, 0),
        (json!({}), 0, 0),
        (asks("256Mi", "256Mi"), 0, 0),
        (json!({"requests": {"memory": "256Mi"}}), 2_000_000_000, 0),
    ] {
        let mut pod = one(resources.clone());
        pod.spec.as_mut().unwrap().priority = Some(priority);
        let given = settings(&pod, &node).unified["memory.swap.max"].clone();
        assert_eq!(given, expected.to_string(), "{resources} {priority}");
    }
}

#[test]
fn huge_pages_are_limited_in_every_size_of_the_node() {
    let node = NodeLimits {
        huge_pages: vec![("2MB".into(), "2Mi".into()), ("1GB".into(), "1Gi".into())],
        ..node()
    };
    let made = settings(
        &one(json!({"limits": {"hugepages-2Mi": "4Mi", "memory": "1Mi"}})),
        &node,
    );
    let limits: Vec<_> = made
        .hugepage_limits
        .iter()
        .map(|l| (l.page_size.as_str(), l.limit))
        .collect();
    assert_eq!(limits, [("2MB", 4 << 20), ("1GB", 0)]);
}

#[test]
fn s09_oom_score_follows_class_priority_and_request() {
    let all = json!({"cpu": "1", "memory": "1Gi"});
    let cases = [
        (json!({}), None, 1000),
        (json!({"requests": all, "limits": all}), None, -997),
        (json!({"requests": {"memory": "256Mi"}}), None, 750),
        (json!({"requests": {"memory": "1Mi"}}), None, 999),
        (json!({"requests": {"cpu": "1"}}), None, 999),
        (json!({"requests": {"memory": "8Gi"}}), None, 3),
        (json!({}), Some(2_000_001_000), -997),
        (json!({}), Some(2_000_000_000), 1000),
    ];
    for (resources, priority, expected) in cases {
        let mut pod = one(resources.clone());
        pod.spec.as_mut().unwrap().priority = priority;
        assert_eq!(
            settings(&pod, &node()).oom_score_adj,
            expected,
            "{resources} {priority:?}"
        );
    }
}

#[test]
fn s09_static_pod_of_the_nodes_own_class_is_as_safe_without_the_number() {
    let score = |class: &str, source: &str| {
        let mut pod = one(json!({}));
        pod.spec.as_mut().unwrap().priority_class_name = Some(class.to_owned());
        let source = ("kubernetes.io/config.source".to_owned(), source.to_owned());
        pod.metadata.annotations = Some([source].into());
        settings(&pod, &node()).oom_score_adj
    };
    assert_eq!(score("system-node-critical", "file"), -997);
    assert_eq!(score("system-cluster-critical", "file"), 1000);
    assert_eq!(score("system-node-critical", "api"), 1000);
}

#[test]
fn s09_sidecar_is_no_readier_to_die_than_those_it_serves() {
    let object = json!({"metadata": {"uid": "u"}, "spec": {
        "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}],
        "containers": [{"name": "c", "resources": {"requests": {"memory": "512Mi"}}}]}});
    let pod: Pod = serde_json::from_value(object).unwrap();
    let init = pod.spec.as_ref().unwrap().init_containers.as_ref().unwrap();
    assert_eq!(oom_score_adj(&pod, &init[0], 1 << 30), 500);
    assert_eq!(oom_score_adj(&pod, &init[1], 1 << 30), 999);
}

/// Its containers may use all of it, and those that say nothing are as safe as what is left for them.
#[test]
fn pod_level_resources_stand_in_for_those_that_containers_lack() {
    let mut pod = pod(json!([{"name": "c"}, {"name": "own", "resources":
        {"requests": {"memory": "256Mi"}, "limits": {"cpu": "250m", "memory": "256Mi"}}}]));
    let whole = json!({"requests": {"memory": "512Mi"}, "limits": {"cpu": "500m", "memory": "768Mi"}});
    pod.spec.as_mut().unwrap().resources = serde_json::from_value(whole).unwrap();
    let of = |index: usize| {
        let made = linux(&pod, &pod.spec.as_ref().unwrap().containers[index], &node());
        (
            made.cpu_shares,
            made.cpu_quota,
            made.memory_limit_in_bytes >> 20,
            made.oom_score_adj,
        )
    };
    assert_eq!(of(0), (512, 50_000, 768, 875));
    assert_eq!(of(1), (256, 25_000, 256, 625));
}

#[test]
fn s07_s08_pod_is_limited_only_where_every_container_is() {
    let limited = json!({"name": "c", "resources":
        {"limits": {"memory": "64Mi", "cpu": "500m"}, "requests": {"cpu": "500m"}}});
    let half = json!({"name": "d", "resources": {"limits": {"memory": "64Mi"}}});
    let alone = of_pod(&pod(json!([limited])), &node());
    assert_eq!(alone.quota, Some((50_000, 100_000)));
    assert_eq!(
        (alone.shares, alone.memory, alone.pids),
        (Some(512), Some(64 << 20), None)
    );
    let both = of_pod(
        &pod(json!([limited, half])),
        &NodeLimits {
            pids_per_pod: 1024,
            ..node()
        },
    );
    assert_eq!(
        (both.quota, both.memory, both.pids),
        (None, Some(128 << 20), Some(1024))
    );
    assert_eq!(of_sandbox(&pod(json!([limited])), &node()).cpu_quota, 50_000);
}

#[test]
fn overhead_of_the_runtime_is_told_apart() {
    let limited = json!({"name": "c", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}});
    let mut pod = pod(json!([limited]));
    let overhead = json!({"cpu": "250m", "memory": "16Mi"});
    pod.spec.as_mut().unwrap().overhead = serde_json::from_value(overhead).unwrap();
    let (sandbox, cgroup) = (of_sandbox(&pod, &node()), of_pod(&pod, &node()));
    assert_eq!(
        (sandbox.cpu_quota, sandbox.memory_limit_in_bytes),
        (50_000, 64 << 20)
    );
    assert_eq!((cgroup.quota.unwrap().0, cgroup.memory), (75_000, Some(80 << 20)));
    let told = of_overhead(pod.spec.as_ref().unwrap()).unwrap();
    assert_eq!(
        (told.cpu_shares, told.cpu_quota, told.memory_limit_in_bytes),
        (256, 25_000, 16 << 20)
    );
}
