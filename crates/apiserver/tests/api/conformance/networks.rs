//! ServiceCIDRs and FlowSchemas, whose statuses the server itself keeps.
use crate::support::{Client, Cluster};
use serde_json::{Value, json};

const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";

/// The object, once its condition says so.
async fn until(admin: &Client, collection: &str, name: &str, condition: &str, status: &str) -> Value {
    let mut watch = admin
        .watch(&format!(
            "{collection}?watch=1&fieldSelector=metadata.name%3D{name}"
        ))
        .await;
    let told = async {
        loop {
            let object = watch.next().await.unwrap()["object"].clone();
            let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
            if conditions
                .clone()
                .any(|c| c["type"] == condition && c["status"] == status)
            {
                break object;
            }
        }
    };
    let told = tokio::time::timeout(std::time::Duration::from_secs(10), told).await;
    told.unwrap_or_else(|_| panic!("{name} never says {condition}={status}"))
}

/// "should create Services and serve on different Service CIDRs"
#[tokio::test]
async fn services_get_addresses_of_further_service_cidrs() {
    let admin = Cluster::start().await.admin();
    let service = |name: &str, ip: &str| json!({"metadata": {"name": name}, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}});
    let message = admin
        .post(SERVICES, service("s", "10.197.0.9"))
        .await
        .refused(422);
    assert!(message.contains("is not in the valid range"), "{message}");
    let cidr = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.197.0.0/24"]}});
    admin.post(CIDRS, cidr).await.ok();
    until(&admin, CIDRS, "more", "Ready", "True").await;
    let made = admin.post(SERVICES, service("s", "10.197.0.9")).await.ok();
    assert_eq!(made["spec"]["clusterIPs"], json!(["10.197.0.9"]));
    let ip = "/apis/networking.k8s.io/v1/ipaddresses";
    let mut addresses = admin
        .watch(&format!("{ip}?watch=1&fieldSelector=metadata.name%3D10.197.0.9"))
        .await;
    assert_eq!(addresses.event().await.0, "ADDED");

    // It stays while the Service is there.
    let held = until_held(&admin, "more").await;
    assert_eq!(
        held["metadata"]["finalizers"],
        json!(["networking.k8s.io/service-cidr-finalizer"])
    );
    admin.delete(&format!("{CIDRS}/more"), Value::Null).await.ok();
    let ending = until(&admin, CIDRS, "more", "Ready", "False").await;
    let condition = &ending["status"]["conditions"][0];
    assert_eq!(condition["reason"], "Terminating");
    let message = admin
        .post(SERVICES, service("late", "10.197.0.10"))
        .await
        .refused(422);
    assert!(message.contains("is not in the valid range"), "{message}");
    let mut watch = admin
        .watch(&format!("{CIDRS}?watch=1&fieldSelector=metadata.name%3Dmore"))
        .await;
    admin.delete(&format!("{SERVICES}/s"), Value::Null).await.ok();
    while watch.event().await.0 != "DELETED" {}
    assert_eq!(admin.get(&format!("{CIDRS}/kubernetes")).await.code, 200);
}

async fn until_held(admin: &Client, name: &str) -> Value {
    let mut watch = admin
        .watch(&format!("{CIDRS}?watch=1&fieldSelector=metadata.name%3D{name}"))
        .await;
    loop {
        let object = watch.next().await.unwrap()["object"].clone();
        if object["metadata"]["finalizers"].is_array() {
            return object;
        }
    }
}

/// "should ensure that requests can be classified by adding FlowSchema and PriorityLevelConfiguration": one that names no
/// level dangles, its level comes, and requests go there.
#[tokio::test]
async fn a_flow_schema_dangles_until_its_level_is_there() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let schema = json!({"metadata": {"name": "s"}, "spec": {"matchingPrecedence": 500, "priorityLevelConfiguration": {"name": "l"},
        "distinguisherMethod": {"type": "ByUser"}, "rules": [{"subjects": [{"kind": "User", "user": {"name": "noxu"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}]}});
    let made = admin.post(SCHEMAS, schema).await.ok();
    let told = until(&admin, SCHEMAS, "s", "Dangling", "True").await;
    assert_eq!(
        told["status"]["conditions"][0]["message"],
        "This FlowSchema references the PriorityLevelConfiguration object named \"l\" but there is no such object"
    );
    let level = json!({"metadata": {"name": "l"}, "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 1,
        "limitResponse": {"type": "Reject"}}}});
    let level = admin.post(LEVELS, level).await.ok();
    until(&admin, SCHEMAS, "s", "Dangling", "False").await;
    let noxu = cluster.user(orlop_apiserver::UserInfo::new("noxu", ["system:authenticated"]));
    let answer = noxu.get("/api/v1/namespaces/default/pods").await;
    let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    assert_eq!(
        header("x-kubernetes-pf-flowschema-uid"),
        made["metadata"]["uid"].as_str().unwrap()
    );
    assert_eq!(
        header("x-kubernetes-pf-prioritylevel-uid"),
        level["metadata"]["uid"].as_str().unwrap()
    );
    admin.delete(&format!("{LEVELS}/l"), Value::Null).await.ok();
    until(&admin, SCHEMAS, "s", "Dangling", "True").await;
}
