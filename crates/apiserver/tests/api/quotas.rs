//! LimitRanges, ResourceQuotas and the smaller built-in plugins (contract §12.2, §17).
use crate::support::*;
use async_trait::async_trait;
use orlop_store::{Layer, Op, Store, StoreError, Txn, TxnResponse};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const RANGES: &str = "/api/v1/namespaces/default/limitranges";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

fn asks(name: &str, resources: Value) -> Value {
    let mut made = pod(name);
    made["spec"]["containers"][0]["resources"] = resources;
    made
}

async fn range(admin: &Client, limits: Value) {
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": limits}});
    admin.post(RANGES, range).await.ok();
}

/// A quota as it is once the controller has counted: `used` of each bound.
async fn quota(admin: &Client, name: &str, spec: Value, used: Value) {
    let hard = spec["hard"].clone();
    let quota =
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec});
    admin.post(QUOTAS, quota).await.ok();
    let status = json!({"status": {"hard": hard, "used": used}});
    admin
        .patch(&format!("{QUOTAS}/{name}/status"), "merge", status)
        .await
        .ok();
}

async fn used(admin: &Client, name: &str) -> Value {
    admin.get(&format!("{QUOTAS}/{name}")).await.ok()["status"]["used"].clone()
}

#[tokio::test]
async fn containers_get_the_limits_they_leave_open() {
    let admin = Cluster::start().await.admin();
    range(
        &admin,
        json!([{"type": "Container", "default": {"cpu": "300m"}, "defaultRequest": {"cpu": "100m", "memory": "1Mi"}}]),
    )
    .await;
    let made = admin.post(PODS, pod("p")).await.ok();
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "300m"}, "requests": {"cpu": "100m", "memory": "1Mi"}})
    );
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu, memory request for container c; cpu limit for container c"
    );
    assert_eq!(
        made["status"]["qosClass"], "Burstable",
        "it counts what was filled in"
    );
}

#[tokio::test]
async fn pods_and_claims_outside_the_limits_are_forbidden() {
    let admin = Cluster::start().await.admin();
    range(
        &admin,
        json!([{"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "50m"}},
            {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]),
    )
    .await;
    assert_eq!(
        admin
            .post(PODS, asks("p", json!({"limits": {"cpu": "2"}})))
            .await
            .refused(403),
        "pods \"p\" is forbidden: maximum cpu usage per Container is 1, but limit is 2"
    );
    assert_eq!(
        admin
            .post(
                PODS,
                asks("p", json!({"requests": {"cpu": "10m"}, "limits": {"cpu": "2"}}))
            )
            .await
            .refused(403),
        "pods \"p\" is forbidden: [maximum cpu usage per Container is 1, but limit is 2, \
         minimum cpu usage per Container is 50m, but request is 10m]"
    );
    let made = admin.post(PODS, pod("p")).await.ok();
    assert_eq!(
        made["spec"]["containers"][0]["resources"]["limits"]["cpu"], "1",
        "the most is the default"
    );
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}});
    assert_eq!(
        admin.post(CLAIMS, claim).await.refused(403),
        "persistentvolumeclaims \"c\" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"
    );
}

#[tokio::test]
async fn what_exceeds_a_quota_is_forbidden_and_what_fits_is_charged() {
    let admin = Cluster::start().await.admin();
    quota(
        &admin,
        "q",
        json!({"hard": {"pods": "2", "requests.cpu": "1"}}),
        json!({"pods": "1", "requests.cpu": "0"}),
    )
    .await;
    admin
        .post(PODS, asks("a", json!({"requests": {"cpu": "600m"}})))
        .await
        .ok();
    assert_eq!(
        used(&admin, "q").await,
        json!({"pods": "2", "requests.cpu": "600m"})
    );
    assert_eq!(
        admin
            .post(PODS, asks("b", json!({"requests": {"cpu": "100m"}})))
            .await
            .refused(403),
        "pods \"b\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"
    );
    assert_eq!(
        admin.post(PODS, pod("b")).await.refused(403),
        "pods \"b\" is forbidden: failed quota: q: must specify requests.cpu for: c"
    );
    assert_eq!(
        used(&admin, "q").await,
        json!({"pods": "2", "requests.cpu": "600m"}),
        "refusals cost nothing"
    );
}

#[tokio::test]
async fn nothing_is_charged_for_what_is_not_stored() {
    let admin = Cluster::start().await.admin();
    quota(
        &admin,
        "q",
        json!({"hard": {"configmaps": "5", "count/configmaps": "5"}}),
        json!({"configmaps": "0", "count/configmaps": "0"}),
    )
    .await;
    admin.post(CONFIGMAPS, configmap("a", "1")).await.ok();
    assert_eq!(admin.post(CONFIGMAPS, configmap("a", "1")).await.code, 409);
    admin
        .post(&format!("{CONFIGMAPS}?dryRun=All"), configmap("b", "1"))
        .await
        .ok();
    admin
        .put(&format!("{CONFIGMAPS}/a"), configmap("a", "2"))
        .await
        .ok();
    assert_eq!(
        used(&admin, "q").await,
        json!({"configmaps": "1", "count/configmaps": "1"})
    );
}

/// The count and the object are one write: of many at once, exactly as many come to be as fit.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_exactly_those_that_fit_are_created() {
    let admin = Cluster::start().await.admin();
    quota(
        &admin,
        "q",
        json!({"hard": {"count/configmaps": "10"}}),
        json!({"count/configmaps": "0"}),
    )
    .await;
    let many = (0..40).map(|n| {
        let admin = admin.clone();
        tokio::spawn(async move {
            admin
                .post(CONFIGMAPS, configmap(&format!("c{n}"), "1"))
                .await
                .code
        })
    });
    let mut codes = Vec::new();
    for task in many.collect::<Vec<_>>() {
        codes.push(task.await.unwrap());
    }
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), 10, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 403).count(), 30, "{codes:?}");
    assert_eq!(used(&admin, "q").await, json!({"count/configmaps": "10"}));
    let stored = admin.get(CONFIGMAPS).await.ok()["items"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(stored, 10);
}

/// A store in which somebody else writes a quota right before the next object that is charged to it.
struct Meddling {
    store: Arc<dyn Store>,
    meddles: AtomicBool,
}

const STORED_QUOTA: &str = "/registry/resourcequotas/default/q";

#[async_trait]
impl Layer for Meddling {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        if txn.success.len() > 1 && self.meddles.swap(false, Ordering::Relaxed) {
            let quota = self.store.get(STORED_QUOTA).await?.unwrap();
            let same = Txn::default().then(Op::put(STORED_QUOTA, quota.value, None));
            self.store.txn(same).await?;
        }
        self.store.txn(txn).await
    }
}

/// That somebody has written the quota meanwhile doesn't mean that there is an object of the name.
#[tokio::test]
async fn a_quota_that_changes_meanwhile_is_charged_again() {
    let store = TestStore::new().await;
    let meddling = Arc::new(Meddling {
        store: store.store.clone(),
        meddles: AtomicBool::new(false),
    });
    let admin = Cluster::over(store.below(meddling.clone())).await.admin();
    quota(
        &admin,
        "q",
        json!({"hard": {"count/configmaps": "10", "pods": "10", "count/jobs.batch": "10"}}),
        json!({"count/configmaps": "0", "pods": "0", "count/jobs.batch": "0"}),
    )
    .await;
    for (path, object) in [
        (CONFIGMAPS, configmap("c", "1")),
        (PODS, asks("p", json!({}))),
        (
            CONFIGMAPS,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "g-"}}),
        ),
    ] {
        meddling.meddles.store(true, Ordering::Relaxed);
        admin.post(path, object.clone()).await.ok();
        assert!(!meddling.meddles.load(Ordering::Relaxed), "{object}");
    }
    meddling.meddles.store(true, Ordering::Relaxed);
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": template}});
    let job = admin
        .post("/apis/batch/v1/namespaces/default/jobs", job)
        .await
        .ok();
    let selector = &job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"];
    assert_eq!(*selector, job["metadata"]["uid"]);
    assert_eq!(
        used(&admin, "q").await,
        json!({"count/configmaps": "2", "pods": "1", "count/jobs.batch": "1"})
    );
    let again = admin.post(CONFIGMAPS, configmap("c", "1")).await;
    assert_eq!(again.refused(409), "configmaps \"c\" already exists");
}

#[tokio::test]
async fn scopes_choose_whom_a_quota_bounds_and_a_service_may_grow_within_it() {
    let admin = Cluster::start().await.admin();
    quota(
        &admin,
        "best",
        json!({"hard": {"pods": "0"}, "scopes": ["BestEffort"]}),
        json!({"pods": "0"}),
    )
    .await;
    let message = admin.post(PODS, pod("p")).await.refused(403);
    assert!(message.contains("exceeded quota: best"), "{message}");
    admin
        .post(PODS, asks("p", json!({"requests": {"cpu": "1m"}})))
        .await
        .ok();
    quota(
        &admin,
        "ports",
        json!({"hard": {"services.nodeports": "1"}}),
        json!({"services.nodeports": "0"}),
    )
    .await;
    let services = "/api/v1/namespaces/default/services";
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}});
    admin.post(services, service).await.ok();
    let open = json!({"spec": {"type": "NodePort"}});
    assert_eq!(
        admin
            .patch(&format!("{services}/s"), "merge", open.clone())
            .await
            .refused(403),
        "services \"s\" is forbidden: exceeded quota: ports, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1"
    );
    let fewer = json!({"spec": {"ports": [{"name": "a", "port": 1}]}});
    admin.patch(&format!("{services}/s"), "merge", fewer).await.ok();
    admin.patch(&format!("{services}/s"), "merge", open).await.ok();
    assert_eq!(used(&admin, "ports").await, json!({"services.nodeports": "1"}));
}

#[tokio::test]
async fn quotas_and_limits_are_checked_themselves() {
    let admin = Cluster::start().await.admin();
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"bogus": "1"}}});
    assert_eq!(
        admin.post(QUOTAS, quota).await.refused(422),
        "ResourceQuota \"q\" is invalid: spec.hard[bogus]: Invalid value: \"bogus\": must be a standard resource for quota"
    );
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"},
        "spec": {"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}});
    let message = admin.post(RANGES, range).await.refused(422);
    assert!(
        message.contains("min value 2 is greater than max value 1"),
        "{message}"
    );
}

#[tokio::test]
async fn a_quota_shows_requests_and_limits_in_a_table() {
    let admin = Cluster::start().await.admin();
    quota(
        &admin,
        "q",
        json!({"hard": {"pods": "2", "limits.cpu": "4"}}),
        json!({"pods": "1", "limits.cpu": "1"}),
    )
    .await;
    let table = admin.table(&format!("{QUOTAS}/q")).await.ok();
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(
        cells[..3],
        [json!("q"), json!("pods: 1/2"), json!("limits.cpu: 1/4")]
    );
}

#[tokio::test]
async fn a_runtime_class_gives_overhead_and_scheduling_and_must_exist() {
    let admin = Cluster::start().await.admin();
    let mut sandboxed = pod("p");
    sandboxed["spec"]["runtimeClassName"] = json!("kata");
    assert_eq!(
        admin.post(PODS, sandboxed.clone()).await.refused(403),
        "pods \"p\" is forbidden: pod rejected: RuntimeClass \"kata\" not found"
    );
    let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "kata"}, "handler": "kata",
        "overhead": {"podFixed": {"cpu": "250m"}},
        "scheduling": {"nodeSelector": {"kata": "yes"}, "tolerations": [{"key": "kata", "operator": "Exists"}]}});
    admin
        .post("/apis/node.k8s.io/v1/runtimeclasses", class)
        .await
        .ok();
    let made = admin.post(PODS, sandboxed).await.ok();
    assert_eq!(made["spec"]["overhead"], json!({"cpu": "250m"}));
    assert_eq!(made["spec"]["nodeSelector"], json!({"kata": "yes"}));
    let tolerations = made["spec"]["tolerations"].as_array().unwrap();
    assert!(tolerations.iter().any(|t| t["key"] == "kata"), "{tolerations:?}");
    let mut alone = pod("q");
    alone["spec"]["overhead"] = json!({"cpu": "1"});
    let message = admin.post(PODS, alone).await.refused(403);
    assert!(
        message.contains("Pod Overhead set without corresponding RuntimeClass"),
        "{message}"
    );
}

#[tokio::test]
async fn claims_and_ingresses_get_the_default_class() {
    let admin = Cluster::start().await.admin();
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "p", "metadata": {"name": "fast",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
    admin
        .post("/apis/storage.k8s.io/v1/storageclasses", class)
        .await
        .ok();
    let claim = |name: &str, class: Value| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let made = admin.post(CLAIMS, claim("a", Value::Null)).await.ok();
    assert_eq!(made["spec"]["storageClassName"], "fast");
    let made = admin.post(CLAIMS, claim("b", json!(""))).await.ok();
    assert_eq!(made["spec"]["storageClassName"], "", "none is a wish, too");
    let grow = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    assert_eq!(
        admin
            .patch(&format!("{CLAIMS}/a"), "merge", grow)
            .await
            .refused(422),
        "PersistentVolumeClaim \"a\" is invalid: spec: Forbidden: spec is immutable after creation except \
         resources.requests and volumeAttributesClassName for bound claims"
    );
    let class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "nginx",
        "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}, "spec": {"controller": "k8s.io/nginx"}});
    admin
        .post("/apis/networking.k8s.io/v1/ingressclasses", class)
        .await
        .ok();
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i"},
        "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}});
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let made = admin.post(ingresses, ingress).await.ok();
    assert_eq!(made["spec"]["ingressClassName"], "nginx");
}

#[tokio::test]
async fn a_bound_pod_has_its_nodes_zone() {
    let admin = Cluster::start().await.admin();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {
        "topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r1"}}});
    admin.post("/api/v1/nodes", node).await.ok();
    admin.post(PODS, pod("p")).await.ok();
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    admin.post(&format!("{PODS}/p/binding"), binding).await.ok();
    let labels = admin.get(&format!("{PODS}/p")).await.ok()["metadata"]["labels"].clone();
    assert_eq!(
        labels,
        json!({"topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r1"})
    );
}

/// Both versions of an autoscaler are one object.
#[tokio::test]
async fn autoscalers_are_served_in_two_versions() {
    let admin = Cluster::start().await.admin();
    let v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let v2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let scaler = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": {
        "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70}});
    let made = admin.post(v1, scaler).await.ok();
    assert_eq!(made["apiVersion"], "autoscaling/v1");
    assert_eq!(made["spec"]["targetCPUUtilizationPercentage"], 70);
    assert_eq!(made["spec"]["minReplicas"], 1);
    let shown = admin.get(&format!("{v2}/h")).await.ok();
    assert_eq!(shown["apiVersion"], "autoscaling/v2");
    assert_eq!(
        shown["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
        70
    );
    let metrics = json!({"spec": {"metrics": [{"type": "Resource", "resource": {"name": "memory",
        "target": {"type": "AverageValue", "averageValue": "1Gi"}}}]}});
    admin.patch(&format!("{v2}/h"), "merge", metrics).await.ok();
    let shown = admin.get(&format!("{v1}/h")).await.ok();
    assert!(shown["spec"]["targetCPUUtilizationPercentage"].is_null());
    assert!(shown["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"].is_string());
    let table = admin.table(&format!("{v1}/h")).await.ok();
    assert_eq!(table["rows"][0]["cells"][1], "Deployment/d");
    let groups = admin.get("/apis/autoscaling").await.ok();
    assert_eq!(groups["preferredVersion"]["version"], "v2");
    assert_eq!(groups["versions"].as_array().unwrap().len(), 2);
    let bad = json!({"spec": {"maxReplicas": 0}});
    let message = admin.patch(&format!("{v2}/h"), "merge", bad).await.refused(422);
    assert!(
        message.contains("spec.maxReplicas: Invalid value: 0: must be greater than 0"),
        "{message}"
    );
}

/// S15, as far as the API server goes: who asked is the server's to say, a decision is for ever, and deciding is a right.
#[tokio::test]
async fn s15_certificate_requests_name_their_requestor_and_are_decided_once() {
    use base64::Engine;
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let pem = "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n";
    let request = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "r"},
        "spec": {"request": base64::engine::general_purpose::STANDARD.encode(pem), "username": "somebody-else",
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet", "usages": ["client auth"]}});
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let made = admin.post(requests, request).await.ok();
    assert_eq!(made["spec"]["username"], "admin");
    assert_eq!(
        made["spec"]["groups"],
        json!(["system:masters", "system:authenticated"])
    );
    let mut approved = made.clone();
    approved["status"]["conditions"] =
        json!([{"type": "Approved", "status": "True", "reason": "R", "message": "m"}]);
    let path = format!("{requests}/r/approval");
    let denied = cluster.user(orlop_apiserver::UserInfo::new("bob", ["nobody"]));
    assert_eq!(denied.put(&path, approved.clone()).await.code, 403);
    let answered = admin.put(&path, approved.clone()).await.ok();
    assert!(answered["status"]["conditions"][0]["lastUpdateTime"].is_string());
    let mut undone = answered.clone();
    undone["status"] = json!({});
    let message = admin.put(&path, undone).await.refused(422);
    assert!(
        message.contains("updates may not remove a condition of type \"Approved\""),
        "{message}"
    );
    let mut other = answered;
    other["spec"]["usages"] = json!(["server auth"]);
    let kept = admin.put(&format!("{requests}/r"), other).await.ok();
    assert_eq!(
        kept["spec"]["usages"],
        json!(["client auth"]),
        "what was asked for stays"
    );
}
