//! Cases of quotas.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaSpec};
use serde_json::{Value, json};

use super::*;

const PODS: Kind<'_> = Kind {
    group: "",
    plural: "pods",
};
const SERVICES: Kind<'_> = Kind {
    group: "",
    plural: "services",
};
const CLAIMS: Kind<'_> = Kind {
    group: "",
    plural: "persistentvolumeclaims",
};
const RESOURCE_CLAIMS: Kind<'_> = Kind {
    group: "resource.k8s.io",
    plural: "resourceclaims",
};
const DEPLOYMENTS: Kind<'_> = Kind {
    group: "apps",
    plural: "deployments",
};

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn quota(hard: Value, used: Value, spec: Value) -> ResourceQuota {
    let mut quota = json!({"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used}});
    quota["spec"]["hard"] = quota["status"]["hard"].clone();
    serde_json::from_value(quota).unwrap()
}

fn pod(resources: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]}})
}

fn shown(kind: Kind<'_>, object: &Value) -> String {
    let parts: Vec<String> = usage(kind, object, now())
        .iter()
        .map(|(name, amount)| format!("{name}={amount}"))
        .collect();
    parts.join(" ")
}

/// What creating does to one quota: what is used then, or why not.
fn create(quota: ResourceQuota, kind: Kind<'_>, new: &Value) -> String {
    charged(quota, kind, new, None)
}

fn charged(quota: ResourceQuota, kind: Kind<'_>, new: &Value, old: Option<&Value>) -> String {
    let attempt = Attempt {
        kind,
        new,
        old,
        now: now(),
    };
    match charge(&[quota], &[], &attempt) {
        Ok(charged) => charged
            .iter()
            .flat_map(|(_, used)| used.iter().map(|(name, amount)| format!("{name}={amount}")))
            .collect::<Vec<_>>()
            .join(" "),
        Err(refusal) => refusal.to_string(),
    }
}

#[test]
fn what_objects_use() {
    let resources = json!({"requests": {"cpu": "100m", "memory": "1Gi", "hugepages-2Mi": "4Mi", "example.com/gpu": "2",
        "ephemeral-storage": "1Gi"}, "limits": {"cpu": "1", "memory": "2Gi", "example.com/gpu": "2"}});
    for (name, kind, object, want) in [
        (
            "a pod",
            PODS,
            pod(resources.clone()),
            "count/pods=1 cpu=100m ephemeral-storage=1Gi hugepages-2Mi=4Mi limits.cpu=1 limits.memory=2Gi memory=1Gi \
             pods=1 requests.cpu=100m requests.ephemeral-storage=1Gi requests.example.com/gpu=2 \
             requests.hugepages-2Mi=4Mi requests.memory=1Gi",
        ),
        (
            "a pod that ended",
            PODS,
            json!({"spec": {"containers": [{"name": "c"}]}, "status": {"phase": "Succeeded"}}),
            "count/pods=1",
        ),
        (
            "a pod that should be gone",
            PODS,
            json!({"metadata": {"deletionTimestamp": "2025-12-31T23:59:59Z", "deletionGracePeriodSeconds": 30},
                "spec": {"containers": []}}),
            "count/pods=1",
        ),
        (
            "a pod that is going",
            PODS,
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:09Z", "deletionGracePeriodSeconds": 30},
                "spec": {"containers": []}}),
            "count/pods=1 pods=1",
        ),
        (
            "a service",
            SERVICES,
            json!({"spec": {"ports": [{"port": 1}]}}),
            "count/services=1 services=1 services.loadbalancers=0 services.nodeports=0",
        ),
        (
            "node ports",
            SERVICES,
            json!({"spec": {"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]}}),
            "count/services=1 services=1 services.loadbalancers=0 services.nodeports=2",
        ),
        (
            "a load balancer without node ports but one",
            SERVICES,
            json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
                "ports": [{"port": 1, "nodePort": 30000}, {"port": 2}]}}),
            "count/services=1 services=1 services.loadbalancers=1 services.nodeports=1",
        ),
        (
            "a claim",
            CLAIMS,
            json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "10Gi"}}}}),
            "count/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 \
             gold.storageclass.storage.k8s.io/requests.storage=10Gi persistentvolumeclaims=1 requests.storage=10Gi",
        ),
        (
            "a claim that was given more, and asks for part of a byte",
            CLAIMS,
            json!({"spec": {"resources": {"requests": {"storage": "1500m"}}}}),
            "count/persistentvolumeclaims=1 persistentvolumeclaims=1 requests.storage=2",
        ),
        (
            "devices",
            RESOURCE_CLAIMS,
            json!({"spec": {"devices": {"requests": [
                {"name": "a", "exactly": {"deviceClassName": "gold", "allocationMode": "ExactCount", "count": 2}},
                {"name": "b", "exactly": {"deviceClassName": "gold", "allocationMode": "All"}},
                {"name": "c", "firstAvailable": [
                    {"name": "d", "deviceClassName": "silver", "allocationMode": "ExactCount", "count": 3},
                    {"name": "e", "deviceClassName": "silver", "allocationMode": "ExactCount", "count": 1},
                    {"name": "f", "deviceClassName": "tin", "allocationMode": "ExactCount", "count": 1}]}]}}}),
            "count/resourceclaims.resource.k8s.io=1 gold.deviceclass.resource.k8s.io/devices=34 \
             silver.deviceclass.resource.k8s.io/devices=3 tin.deviceclass.resource.k8s.io/devices=1",
        ),
        ("anything", DEPLOYMENTS, json!({}), "count/deployments.apps=1"),
        (
            "what was counted before",
            Kind {
                group: "",
                plural: "secrets",
            },
            json!({}),
            "count/secrets=1 secrets=1",
        ),
    ] {
        assert_eq!(shown(kind, &object), want, "{name}");
    }
}

#[test]
fn names_say_whom_they_concern() {
    for (name, kind) in [
        ("pods", Some(PODS)),
        ("count/pods", Some(PODS)),
        ("limits.memory", Some(PODS)),
        ("requests.example.com/gpu", Some(PODS)),
        ("requests.hugepages-2Mi", Some(PODS)),
        ("services.nodeports", Some(SERVICES)),
        ("requests.storage", Some(CLAIMS)),
        ("gold.storageclass.storage.k8s.io/requests.storage", Some(CLAIMS)),
        ("count/deployments.apps", Some(DEPLOYMENTS)),
        (
            "secrets",
            Some(Kind {
                group: "",
                plural: "secrets",
            }),
        ),
        ("deployments", None),
    ] {
        assert_eq!(kind_of_count(name), kind, "{name}");
        if let Some(kind) = kind {
            assert!(concerns(kind, name), "{name}");
        }
    }
}

#[test]
fn what_fits_is_charged_and_what_does_not_is_refused_in_upstreams_words() {
    let cpu = |n: &str| pod(json!({"requests": {"cpu": n}}));
    for (hard, used, new, want) in [
        (
            json!({"pods": "2"}),
            json!({"pods": "1"}),
            pod(json!({})),
            "pods=2",
        ),
        (
            json!({"pods": "1"}),
            json!({"pods": "1"}),
            pod(json!({})),
            "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1",
        ),
        (
            json!({"pods": "9", "requests.cpu": "1", "limits.cpu": "9"}),
            json!({"pods": "1", "requests.cpu": "900m", "limits.cpu": "1"}),
            pod(json!({"requests": {"cpu": "200m"}, "limits": {"cpu": "200m"}})),
            "exceeded quota: q, requested: requests.cpu=200m, used: requests.cpu=900m, limited: requests.cpu=1",
        ),
        (
            json!({"cpu": "1", "requests.memory": "1Gi", "limits.cpu": "1"}),
            json!({"cpu": "0", "requests.memory": "0", "limits.cpu": "0"}),
            cpu("1"),
            "failed quota: q: must specify limits.cpu for: c; requests.memory for: c",
        ),
        (
            json!({"pods": "1", "requests.cpu": "1"}),
            json!({"pods": "0"}),
            cpu("1"),
            "status unknown for quota: q, resources: pods,requests.cpu",
        ),
        (json!({"services": "0"}), json!({"services": "0"}), cpu("1"), ""),
        // Only cpu and memory have to be said.
        (
            json!({"requests.ephemeral-storage": "1Gi"}),
            json!({"requests.ephemeral-storage": "0"}),
            cpu("1"),
            "",
        ),
    ] {
        assert_eq!(
            create(quota(hard.clone(), used, json!({})), PODS, &new),
            want,
            "{hard}"
        );
    }
    let negative = pod(json!({"requests": {"example.com/x": "-1"}}));
    let bounds = json!({"requests.example.com/x": "1"});
    assert_eq!(
        create(
            quota(bounds, json!({"requests.example.com/x": "0"}), json!({})),
            PODS,
            &negative
        ),
        "quota usage is negative for resource(s): requests.example.com/x"
    );
}

#[test]
fn quotas_that_nobody_counted_yet_bound_nothing() {
    let fresh: ResourceQuota = serde_json::from_value(
        json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}, "status": {}}),
    )
    .unwrap();
    assert_eq!(create(fresh, PODS, &pod(json!({}))), "");
}

#[test]
fn a_change_is_charged_with_what_it_adds() {
    let balanced = json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 1}]}});
    let plain = json!({"spec": {"ports": [{"port": 1}]}});
    let bounds = || {
        quota(
            json!({"services": "1", "services.loadbalancers": "1"}),
            json!({"services": "1", "services.loadbalancers": "0"}),
            json!({}),
        )
    };
    assert_eq!(
        charged(bounds(), SERVICES, &balanced, Some(&plain)),
        "services=1 services.loadbalancers=1"
    );
    assert_eq!(
        charged(bounds(), SERVICES, &plain, Some(&balanced)),
        "",
        "what it gives back is counted later"
    );
    let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
    let bounds = quota(
        json!({"requests.storage": "10Gi"}),
        json!({"requests.storage": "8Gi"}),
        json!({}),
    );
    assert_eq!(
        charged(bounds, CLAIMS, &claim("9Gi"), Some(&claim("6Gi"))),
        "exceeded quota: q, requested: requests.storage=3Gi, used: requests.storage=8Gi, limited: requests.storage=10Gi"
    );
}

#[test]
fn scopes_choose_pods() {
    let spec = |value: Value| -> ResourceQuotaSpec { serde_json::from_value(value).unwrap() };
    let scoped = |scope: &str| spec(json!({"scopes": [scope]}));
    let class = |operator: &str, values: Value| {
        spec(json!({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": operator, "values": values}]}}))
    };
    let plain = pod(json!({}));
    let deadline = json!({"spec": {"containers": [], "activeDeadlineSeconds": 5}});
    let modest = pod(json!({"requests": {"cpu": "1"}}));
    let high = json!({"spec": {"containers": [], "priorityClassName": "high"}});
    let far = json!({"spec": {"containers": [], "affinity": {"podAntiAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": {
            "topologyKey": "k", "namespaceSelector": {}}}]}}}});
    for (name, quota, object, want) in [
        ("no scope", spec(json!({})), &plain, true),
        ("terminating", scoped("Terminating"), &deadline, true),
        ("not terminating", scoped("Terminating"), &plain, false),
        ("runs for ever", scoped("NotTerminating"), &plain, true),
        ("best effort", scoped("BestEffort"), &plain, true),
        ("asks for something", scoped("BestEffort"), &modest, false),
        ("asks for something, too", scoped("NotBestEffort"), &modest, true),
        ("has a class", scoped("PriorityClass"), &high, true),
        ("has none", scoped("PriorityClass"), &plain, false),
        ("in", class("In", json!(["low", "high"])), &high, true),
        ("in others", class("In", json!(["low"])), &high, false),
        ("not in", class("NotIn", json!(["low"])), &high, true),
        ("none is in none", class("NotIn", json!(["low"])), &plain, true),
        ("none", class("DoesNotExist", json!([])), &plain, true),
        ("far", scoped("CrossNamespacePodAffinity"), &far, true),
        ("near", scoped("CrossNamespacePodAffinity"), &plain, false),
        ("unheard of", scoped("Bogus"), &plain, false),
    ] {
        assert_eq!(selects(&quota, PODS, object), want, "{name}");
    }
    assert!(
        !selects(&scoped("BestEffort"), SERVICES, &json!({})),
        "services have no scopes"
    );
}
