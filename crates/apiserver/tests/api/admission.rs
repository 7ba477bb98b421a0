//! Admission: what each operation shows to plugins, and when they run (contract §17).
use crate::support::*;
use orlop_apiserver::{AdmissionSettings, UserInfo};
use serde_json::json;

/// A cluster with the default account and a pod that is bound to node n1.
async fn with_bound_pod() -> Cluster {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    admin
        .post("/api/v1/namespaces/default/serviceaccounts", account)
        .await;
    let mut made = pod("p");
    made["spec"]["nodeName"] = json!("n1");
    admin.post(PODS, made).await.ok();
    cluster
}

/// An eviction is the creation of an Eviction: whose pod it is about, plugins look up themselves.
#[tokio::test]
async fn a_node_evicts_only_pods_that_are_bound_to_it() {
    let cluster = with_bound_pod().await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let path = format!("{PODS}/p/eviction?dryRun=All");
    let other = cluster.user(UserInfo::node("n2"));
    let message = other.post(&path, eviction.clone()).await.refused(403);
    assert_eq!(
        message,
        "pods \"p\" is forbidden: node \"n2\" can only evict pods with spec.nodeName set to itself"
    );
    let own = cluster.user(UserInfo::node("n1"));
    assert_eq!(own.post(&path, eviction).await.code, 201);
}

/// A dry run passes all of admission and stores nothing.
#[tokio::test]
async fn a_dry_run_is_admitted_like_the_write_itself() {
    let admin = Cluster::start().await.admin();
    let class = |name: &str| {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": 1, "globalDefault": true})
    };
    let path = "/apis/scheduling.k8s.io/v1/priorityclasses";
    admin.post(path, class("one")).await.ok();
    let message = admin
        .post(&format!("{path}?dryRun=All"), class("two"))
        .await
        .refused(403);
    assert!(
        message.contains("PriorityClass one is already marked as default"),
        "{message}"
    );
}

/// kubectl replace --save-config of a pod as it was given: what admission added is kept, and added again.
#[tokio::test]
async fn a_pod_is_put_back_without_what_admission_added() {
    let admin = Cluster::start().await.admin();
    let mut given = pod("p");
    given["spec"]["tolerations"] = json!([{"key": "a", "operator": "Exists"}]);
    let created = admin.post(PODS, given).await.ok();
    let mut back = created.clone();
    back["spec"]["tolerations"] = json!([{"key": "a", "operator": "Exists"}]);
    for added in ["priority", "preemptionPolicy"] {
        back["spec"].as_object_mut().unwrap().remove(added).unwrap();
    }
    back["metadata"]["labels"] = json!({"put": "back"});
    let after = admin.put(&format!("{PODS}/p"), back).await.ok();
    assert_eq!(after["spec"], created["spec"]);
    assert_eq!(after["metadata"]["labels"]["put"], "back");
}

/// The one default stays the only one when another class would become it.
#[tokio::test]
async fn a_class_does_not_become_a_second_default() {
    let admin = Cluster::start().await.admin();
    let path = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let class = |name: &str, default: bool| {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": 1, "globalDefault": default})
    };
    admin.post(path, class("one", true)).await.ok();
    admin.post(path, class("two", false)).await.ok();
    let message = admin
        .put(&format!("{path}/two"), class("two", true))
        .await
        .refused(403);
    assert_eq!(
        message,
        "priorityclasses.scheduling.k8s.io \"two\" is forbidden: PriorityClass one is already marked as default. Only one default can exist"
    );
    admin.put(&format!("{path}/one"), class("one", true)).await.ok();
}

/// `--admission-control-config-file`: what plugins are told, and who is exempt.
#[tokio::test]
async fn plugins_do_as_their_file_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admission.yaml");
    let config = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": [
        {"name": "PodSecurity", "configuration": {
            "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
            "defaults": {"enforce": "baseline"},
            "exemptions": {"usernames": ["alice"], "namespaces": ["free"], "runtimeClasses": []}}},
        {"name": "ResourceQuota", "configuration": {
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "ResourceQuotaConfiguration",
            "limitedResources": [{"resource": "services", "matchContains": ["services.loadbalancers"]}]}},
        {"name": "EventRateLimit", "configuration": {
            "apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration",
            "limits": [{"type": "Namespace", "qps": 1, "burst": 2}]}}]});
    std::fs::write(&path, config.to_string()).unwrap();
    let settings = AdmissionSettings::read(&path).unwrap();
    let cluster = Cluster::with(|config| {
        config.admission = settings;
        config.enabled_admission = vec!["EventRateLimit".to_owned()];
    })
    .await;
    let admin = cluster.admin();
    let free =
        json!({"metadata": {"name": "free", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    assert_eq!(
        admin.post("/api/v1/namespaces", free).await.warnings(),
        [
            "299 - \"namespace \\\"free\\\" is exempt from Pod Security, and the policy (enforce=restricted:latest) will be ignored\""
        ]
    );
    let mut privileged = pod("p");
    privileged["spec"]["hostNetwork"] = json!(true);
    let message = admin.post(PODS, privileged.clone()).await.refused(403);
    assert!(
        message.contains("violates PodSecurity \"baseline:latest\""),
        "{message}"
    );
    admin
        .post("/api/v1/namespaces/free/pods", privileged.clone())
        .await
        .ok();
    let alice = cluster.user(UserInfo::new("alice", ["system:masters"]));
    alice.post(PODS, privileged).await.ok();
    let balancer =
        json!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 1}]}});
    let services = "/api/v1/namespaces/default/services";
    assert_eq!(
        admin.post(services, balancer).await.refused(403),
        "services \"s\" is forbidden: insufficient quota to consume: services.loadbalancers"
    );
    let events = |namespace: &str| format!("/api/v1/namespaces/{namespace}/events");
    let event = |name: &str, namespace: &str| {
        json!({"metadata": {"name": name}, "reason": "R", "type": "Normal",
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": namespace}})
    };
    for name in ["a", "b"] {
        admin.post(&events("default"), event(name, "default")).await.ok();
    }
    assert_eq!(
        admin
            .post(&events("default"), event("c", "default"))
            .await
            .refused(429),
        "Too many requests: limit reached on type Namespace for key default"
    );
    admin.post(&events("free"), event("c", "free")).await.ok();
}

/// Plugins that are off by default work when they are named.
#[tokio::test]
async fn plugins_that_are_named_do_their_work() {
    let cluster = Cluster::with(|config| {
        let names = [
            "AlwaysPullImages",
            "DenyServiceExternalIPs",
            "PodNodeSelector",
            "PodTolerationRestriction",
            "OwnerReferencesPermissionEnforcement",
        ];
        config.enabled_admission = names.map(str::to_owned).to_vec();
    })
    .await;
    let admin = cluster.admin();
    let annotations = json!({"scheduler.alpha.kubernetes.io/node-selector": "disk=fast",
        "scheduler.alpha.kubernetes.io/defaultTolerations": r#"[{"key": "ours", "operator": "Exists"}]"#,
        "scheduler.alpha.kubernetes.io/tolerationsWhitelist":
            r#"[{"key": "ours", "operator": "Exists"}, {"effect": "NoExecute", "operator": "Exists"}]"#});
    let namespace = json!({"metadata": {"name": "ours", "annotations": annotations}});
    admin.post("/api/v1/namespaces", namespace).await.ok();
    for name in ["default", "ours"] {
        let accounts = format!("/api/v1/namespaces/{name}/serviceaccounts");
        admin
            .post(&accounts, json!({"metadata": {"name": "default"}}))
            .await;
    }
    let pods = "/api/v1/namespaces/ours/pods";
    let made = admin.post(pods, pod("p")).await.ok();
    assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(made["spec"]["nodeSelector"], json!({"disk": "fast"}));
    let tolerations = made["spec"]["tolerations"].as_array().unwrap();
    assert!(tolerations.contains(&json!({"key": "ours", "operator": "Exists"})));
    let mut tolerant = pod("t");
    tolerant["spec"]["tolerations"] =
        json!([{"key": "theirs", "operator": "Exists", "effect": "NoSchedule"}]);
    assert_eq!(
        admin.post(pods, tolerant).await.refused(500),
        "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist"
    );
    let mut elsewhere = pod("q");
    elsewhere["spec"]["nodeSelector"] = json!({"disk": "slow"});
    assert_eq!(
        admin.post(pods, elsewhere).await.refused(403),
        "pods \"q\" is forbidden: pod node label selector conflicts with its namespace node label selector"
    );
    let service =
        json!({"metadata": {"name": "s"}, "spec": {"externalIPs": ["192.0.2.1"], "ports": [{"port": 1}]}});
    assert_eq!(
        admin
            .post("/api/v1/namespaces/default/services", service)
            .await
            .refused(403),
        "services \"s\" is forbidden: Use of external IPs is denied by admission control"
    );
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "delete"]}]);
    let role = json!({"metadata": {"name": "r"}, "rules": rules});
    admin
        .post("/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
        .await
        .ok();
    let binding = json!({"metadata": {"name": "r"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "alice"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}});
    admin
        .post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
        .await
        .ok();
    let alice = cluster.user(UserInfo::new("alice", ["system:authenticated"]));
    let owned = |blocks: bool| {
        let owner =
            json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "blockOwnerDeletion": blocks});
        json!({"metadata": {"generateName": "c", "ownerReferences": [owner]}})
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    alice.post(maps, owned(false)).await.ok();
    let message = alice.post(maps, owned(true)).await.refused(403);
    assert!(
        message.contains("cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: "),
        "{message}"
    );
}
