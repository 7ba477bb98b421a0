//! Quotas: counted when they are made, charged by the server, given back here when things go.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

fn quotas(cluster: &Cluster) -> Api<ResourceQuota> {
    Api::namespaced(cluster.client.clone(), "default")
}

async fn create_quota(cluster: &Cluster, hard: Value) {
    let quota = serde_json::from_value(json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).unwrap();
    quotas(cluster)
        .create(&PostParams::default(), &quota)
        .await
        .unwrap();
}

/// Waits until the quota has been used for exactly this.
async fn expect_used(cluster: &Cluster, want: Value) {
    eventually(&format!("used: {want}"), || async {
        let quota = quotas(cluster).get("q").await.unwrap();
        let used = quota.status.and_then(|status| status.used);
        (serde_json::to_value(used).unwrap() == want).then_some(())
    })
    .await;
}

fn pod(name: &str) -> Pod {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"containers": [container]}})).unwrap()
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

#[tokio::test]
async fn a_quota_counts_what_is_there_and_gives_back_what_goes() {
    let cluster = Cluster::start().await;
    let (pods, now) = (cluster.pods(), DeleteParams::default().grace_period(0));
    pods.create(&PostParams::default(), &pod("before")).await.unwrap();
    create_quota(&cluster, json!({"pods": "2", "requests.cpu": "1"})).await;
    expect_used(&cluster, json!({"pods": "1", "requests.cpu": "100m"})).await;
    pods.create(&PostParams::default(), &pod("a")).await.unwrap();
    expect_used(&cluster, json!({"pods": "2", "requests.cpu": "200m"})).await;
    let refused = pods.create(&PostParams::default(), &pod("b")).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("exceeded quota: q, requested: pods=1"),
        "{refused}"
    );
    pods.delete("a", &now).await.unwrap();
    expect_used(&cluster, json!({"pods": "1", "requests.cpu": "100m"})).await;
    let ended = json!({"status": {"phase": "Succeeded"}});
    pods.patch_status("before", &PatchParams::default(), &Patch::Merge(ended))
        .await
        .unwrap();
    expect_used(&cluster, json!({"pods": "0", "requests.cpu": "0"})).await;
}

/// Kinds are watched from when a quota bounds them.
#[tokio::test]
async fn a_quota_counts_objects_of_any_kind_and_follows_its_own_change() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    create_quota(&cluster, json!({"count/secrets": "3"})).await;
    expect_used(&cluster, json!({"count/secrets": "0"})).await;
    // The root CA is one already.
    let hard = json!({"spec": {"hard": {"count/secrets": null, "count/configmaps": "3", "count/deployments.apps": "1"}}});
    quotas(&cluster)
        .patch("q", &PatchParams::default(), &Patch::Merge(hard))
        .await
        .unwrap();
    expect_used(
        &cluster,
        json!({"count/configmaps": "1", "count/deployments.apps": "0"}),
    )
    .await;
    for name in ["a", "b"] {
        maps.create(&PostParams::default(), &map(name)).await.unwrap();
    }
    let refused = maps.create(&PostParams::default(), &map("c")).await.unwrap_err();
    assert!(refused.to_string().contains("exceeded quota: q"), "{refused}");
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    expect_used(
        &cluster,
        json!({"count/configmaps": "2", "count/deployments.apps": "0"}),
    )
    .await;
    maps.create(&PostParams::default(), &map("c")).await.unwrap();
}

/// "should verify ResourceQuota with terminating scopes", "… with best effort scope"
#[tokio::test]
async fn a_quota_with_scopes_counts_the_pods_of_its_scope_only() {
    let cluster = Cluster::start().await;
    let (pods, params) = (cluster.pods(), PostParams::default());
    let scopes = ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort"];
    for scope in scopes {
        let name = scope.to_lowercase();
        let quota = json!({"metadata": {"name": name}, "spec": {"hard": {"pods": "5"}, "scopes": [scope]}});
        quotas(&cluster)
            .create(&params, &serde_json::from_value(quota).unwrap())
            .await
            .unwrap();
    }
    let used = |want: [i64; 4]| {
        let quotas = quotas(&cluster);
        async move {
            eventually(&format!("used: {want:?}"), || async {
                for (scope, want) in scopes.into_iter().zip(want) {
                    let quota = quotas.get(&scope.to_lowercase()).await.unwrap();
                    let used = quota.status?.used?.get("pods")?.0.clone();
                    if used != want.to_string() {
                        return None;
                    }
                }
                Some(())
            })
            .await;
        }
    };
    used([0, 0, 0, 0]).await;
    pods.create(&params, &pod("burstable")).await.unwrap();
    used([0, 1, 0, 1]).await;
    let mut ending = pod("ending");
    ending.spec.as_mut().unwrap().active_deadline_seconds = Some(3600);
    ending.spec.as_mut().unwrap().containers[0].resources = None;
    pods.create(&params, &ending).await.unwrap();
    used([1, 1, 1, 1]).await;
    let now = DeleteParams::default().grace_period(0);
    pods.delete("ending", &now).await.unwrap();
    used([0, 1, 0, 1]).await;
}

/// "should create a ResourceQuota and capture the life of a service"
#[tokio::test]
async fn a_quota_follows_services_and_their_node_ports() {
    use k8s_openapi::api::core::v1::Service;
    let cluster = Cluster::start().await;
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), "default");
    let params = PostParams::default();
    let hard = json!({"services": "11", "services.nodeports": "1", "services.loadbalancers": "1"});
    create_quota(&cluster, hard).await;
    let service = |name: &str, kind: &str, ports: bool| -> Service {
        let mut spec = json!({"type": kind, "ports": [{"port": 80}]});
        if !ports {
            spec["allocateLoadBalancerNodePorts"] = json!(false);
        }
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    };
    let count = |services: i64, ports: i64, balancers: i64| json!({"services": services.to_string(), "services.loadbalancers": balancers.to_string(), "services.nodeports": ports.to_string()});
    // The Service that leads to the API server is one.
    expect_used(&cluster, count(1, 0, 0)).await;
    services
        .create(&params, &service("c", "ClusterIP", true))
        .await
        .unwrap();
    services
        .create(&params, &service("n", "NodePort", true))
        .await
        .unwrap();
    expect_used(&cluster, count(3, 1, 0)).await;
    let refused = services
        .create(&params, &service("l", "LoadBalancer", true))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("exceeded quota: q"), "{refused}");
    services
        .create(&params, &service("l", "LoadBalancer", false))
        .await
        .unwrap();
    expect_used(&cluster, count(4, 1, 1)).await;
    let refused = services
        .create(&params, &service("m", "NodePort", true))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("exceeded quota: q"), "{refused}");
    for name in ["c", "n", "l"] {
        services.delete(name, &DeleteParams::default()).await.unwrap();
    }
    expect_used(&cluster, count(1, 0, 0)).await;
}

/// "should verify ResourceQuota with terminating scopes through scope selectors"
#[tokio::test]
async fn a_pod_that_is_given_a_deadline_counts_for_the_other_quota_at_once() {
    let cluster = Cluster::start().await;
    let (pods, params) = (cluster.pods(), PostParams::default());
    for scope in ["Terminating", "NotTerminating"] {
        let quota = json!({"metadata": {"name": scope.to_lowercase()}, "spec": {"hard": {"pods": "1", "requests.cpu": "1"},
            "scopeSelector": {"matchExpressions": [{"scopeName": scope, "operator": "Exists"}]}}});
        quotas(&cluster)
            .create(&params, &serde_json::from_value(quota).unwrap())
            .await
            .unwrap();
    }
    let used = async |name: &str, want: &str| {
        eventually(&format!("{want} used of {name}"), || async {
            let status = quotas(&cluster).get(name).await.unwrap().status?;
            let used = status.used?;
            (used.get("pods")?.0 == want).then_some(())
        })
        .await;
    };
    used("terminating", "0").await;
    used("notterminating", "0").await;
    pods.create(&params, &pod("long-running")).await.unwrap();
    used("notterminating", "1").await;
    let deadline = Patch::Merge(json!({"spec": {"activeDeadlineSeconds": 3600}}));
    pods.patch("long-running", &PatchParams::default(), &deadline)
        .await
        .unwrap();
    let mut ending = pod("ending");
    ending.spec.as_mut().unwrap().active_deadline_seconds = Some(3600);
    let refused = pods.create(&params, &ending).await.unwrap_err();
    assert!(
        refused.to_string().contains("exceeded quota: terminating"),
        "{refused}"
    );
    used("terminating", "1").await;
    used("notterminating", "0").await;
    let now = DeleteParams::default().grace_period(0);
    pods.delete("long-running", &now).await.unwrap();
    used("terminating", "0").await;
    pods.create(&params, &ending).await.unwrap();
    used("terminating", "1").await;
}

/// "should create a ResourceQuota and capture the life of a ResourceClaim"
#[tokio::test]
async fn a_quota_follows_the_devices_that_claims_ask_for() {
    use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
    let cluster = Cluster::start().await;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("resource.k8s.io", "v1", "ResourceClaim"));
    let claims: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), "default", &kind);
    let count = |claims: &str, devices: &str| json!({"count/resourceclaims.resource.k8s.io": claims, "gold.deviceclass.resource.k8s.io/devices": devices});
    create_quota(&cluster, count("2", "1")).await;
    expect_used(&cluster, count("0", "0")).await;
    let claim = |name: &str, class: &str| -> DynamicObject {
        let requests = json!([{"name": "req-0", "exactly": {"deviceClassName": class}}]);
        serde_json::from_value(
            json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
            "metadata": {"name": name}, "spec": {"devices": {"requests": requests}}}),
        )
        .unwrap()
    };
    let params = PostParams::default();
    claims.create(&params, &claim("a", "gold")).await.unwrap();
    expect_used(&cluster, count("1", "1")).await;
    let refused = claims.create(&params, &claim("b", "gold")).await.unwrap_err();
    assert!(refused.to_string().contains("exceeded quota: q"), "{refused}");
    claims.create(&params, &claim("b", "tin")).await.unwrap();
    for name in ["a", "b"] {
        claims.delete(name, &DeleteParams::default()).await.unwrap();
    }
    expect_used(&cluster, count("0", "0")).await;
}

/// "should verify ResourceQuota's volume attributes class scope … against a pvc with different volume attributes class":
/// a claim on its way from one class to another counts for both.
#[tokio::test]
async fn a_claim_counts_for_the_class_it_has_and_the_class_it_wants() {
    use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
    let cluster = Cluster::start().await;
    let params = PostParams::default();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), "default");
    let volumes: Api<PersistentVolume> = Api::all(cluster.client.clone());
    for class in ["gold", "silver"] {
        let selector = json!({"matchExpressions": [{"scopeName": "VolumeAttributesClass", "operator": "In", "values": [class]}]});
        let quota = json!({"metadata": {"name": class}, "spec": {"hard": {"persistentvolumeclaims": "1"}, "scopeSelector": selector}});
        quotas(&cluster)
            .create(&params, &serde_json::from_value(quota).unwrap())
            .await
            .unwrap();
    }
    let used = async |gold: &str, silver: &str| {
        eventually(&format!("gold {gold}, silver {silver}"), || async {
            for (class, want) in [("gold", gold), ("silver", silver)] {
                let status = quotas(&cluster).get(class).await.unwrap().status?;
                if status.used?.get("persistentvolumeclaims")?.0 != want {
                    return None;
                }
            }
            Some(())
        })
        .await;
    };
    used("0", "0").await;
    let claim = json!({"metadata": {"name": "c"}, "spec": {"storageClassName": "", "volumeName": "v",
        "volumeAttributesClassName": "gold", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    claims
        .create(&params, &serde_json::from_value(claim).unwrap())
        .await
        .unwrap();
    let volume = json!({"metadata": {"name": "v"}, "spec": {"storageClassName": "", "volumeAttributesClassName": "gold",
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "csi": {"driver": "fake.csi.k8s.io", "volumeHandle": "h"},
        "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "default", "name": "c"}}});
    volumes
        .create(&params, &serde_json::from_value(volume).unwrap())
        .await
        .unwrap();
    let status = eventually("the binding", || async {
        let status = claims.get("c").await.unwrap().status?;
        (status.phase.as_deref() == Some("Bound")).then_some(status)
    })
    .await;
    assert_eq!(
        status.current_volume_attributes_class_name.as_deref(),
        Some("gold")
    );
    used("1", "0").await;
    let wanted = Patch::Merge(json!({"spec": {"volumeAttributesClassName": "silver"}}));
    claims.patch("c", &PatchParams::default(), &wanted).await.unwrap();
    used("1", "1").await;
    let has = Patch::Merge(json!({"status": {"currentVolumeAttributesClassName": "silver"}}));
    claims
        .patch_status("c", &PatchParams::default(), &has)
        .await
        .unwrap();
    used("0", "1").await;
}
