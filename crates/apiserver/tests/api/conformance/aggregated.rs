//! "Aggregator: Should be able to support the sample API Server using the current Aggregator": the life of an APIService,
//! and of objects that only the other server knows.
use crate::aggregation::{API_SERVICES, available, https, until};
use crate::served::Served;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use orlop_pki::Authority;
use serde_json::{Value, json};

const NAME: &str = "v1alpha1.wardle.example.com";
const FLUNDERS: &str = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders";

#[tokio::test]
async fn an_api_service_is_made_patched_updated_and_deleted_by_its_label() {
    let other = Authority::ephemeral("other").unwrap();
    let served = Served::start(|_, _| {}).await;
    let port = https(&other, &["sample-api.default.svc"], |request| {
        let flunder = json!({"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "metadata": {"name": "rest-flunder"}});
        match (request.method().as_str(), request.uri().path()) {
            ("GET", "/apis/wardle.example.com/v1alpha1") => {
                let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.com/v1alpha1",
                    "resources": [{"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
                        "verbs": ["create", "delete", "get", "list"]}]});
                (200, list.to_string())
            }
            ("POST", FLUNDERS) => (201, flunder.to_string()),
            ("GET", FLUNDERS) => {
                let list = json!({"apiVersion": "wardle.example.com/v1alpha1", "kind": "FlunderList", "metadata": {"resourceVersion": "7"},
                    "items": [flunder]});
                (200, list.to_string())
            }
            ("DELETE", path) if path.starts_with(FLUNDERS) => {
                (200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}).to_string())
            }
            (method, path) => {
                let refused = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                    "message": format!("{method} {path} not found")});
                (404, refused.to_string())
            }
        }
    })
    .await;
    let admin = served.admin();
    let service = json!({"metadata": {"name": "sample-api"}, "spec": {"ports": [{"port": 7443, "protocol": "TCP", "targetPort": 443}],
        "selector": {"apiserver": "true"}}});
    admin
        .post("/api/v1/namespaces/default/services", service)
        .await
        .ok();
    let slice = json!({"metadata": {"name": "sample-api", "labels": {"kubernetes.io/service-name": "sample-api"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "", "port": port}]});
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    admin.post(slices, slice).await.ok();
    let object = json!({"metadata": {"name": NAME, "labels": {"e2e": "sample"}}, "spec": {"group": "wardle.example.com", "version": "v1alpha1",
        "groupPriorityMinimum": 2000, "versionPriority": 200, "caBundle": STANDARD.encode(other.certificate()),
        "service": {"namespace": "default", "name": "sample-api", "port": 7443}}});
    admin.post(API_SERVICES, object).await.ok();
    available(&admin, NAME, "True").await;

    let call = async |method: Method, path: &str, body: &str| {
        let root = served.leaf("root", &["system:masters"]);
        let kind = [("content-type", "application/json")];
        served
            .call(Some(&root), method, path, &kind, body.to_owned())
            .await
    };
    let flunder =
        r#"{"apiVersion":"wardle.example.com/v1alpha1","kind":"Flunder","metadata":{"name":"rest-flunder"}}"#;
    assert_eq!(call(Method::POST, FLUNDERS, flunder).await.code, 201);
    let list = call(Method::GET, FLUNDERS, "").await.ok();
    assert_eq!(list["items"][0]["metadata"]["name"], "rest-flunder");
    call(Method::DELETE, &format!("{FLUNDERS}/rest-flunder"), "")
        .await
        .ok();
    let refused = call(Method::GET, &format!("{FLUNDERS}/rest-flunder"), "").await;
    assert_eq!(
        refused.code, 404,
        "what the other server refuses is refused in its words: {}",
        refused.text
    );

    let path = format!("{API_SERVICES}/{NAME}");
    let part = format!("{path}/status");
    let status = admin.get(&part).await.ok();
    assert_eq!(status["status"]["conditions"][0]["type"], "Available");
    let patched = admin
        .patch(&path, "merge", json!({"spec": {"versionPriority": 400}}))
        .await
        .ok();
    assert_eq!(patched["spec"]["versionPriority"], 400);
    let mut status = admin.get(&part).await.ok();
    let mut conditions = status["status"]["conditions"].as_array().unwrap().clone();
    conditions.push(
        json!({"type": "StatusUpdated", "status": "True", "reason": "E2E", "message": "Set from e2e test"}),
    );
    status["status"]["conditions"] = json!(conditions);
    let status = admin.put(&part, status).await.ok();
    let told = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array().unwrap().iter();
        conditions
            .map(|c| c["type"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&status), ["Available", "StatusUpdated"]);
    let mut updated = admin.get(&path).await.ok();
    updated["metadata"]["labels"]["apiservice"] = json!("updated");
    updated["spec"]["versionPriority"] = json!(300);
    let updated = admin.put(&path, updated).await.ok();
    assert_eq!(updated["spec"]["versionPriority"], 300);
    assert_eq!(told(&updated), ["Available", "StatusUpdated"]);
    assert_eq!(call(Method::GET, FLUNDERS, "").await.code, 200);

    let gone = until(&admin, API_SERVICES, NAME, |kind, _| kind == "DELETED");
    let selected = format!("{API_SERVICES}?labelSelector=e2e%3Dsample");
    let delete = async { admin.delete(&selected, Value::Null).await.ok() };
    tokio::join!(gone, delete);
    assert_eq!(admin.get(&path).await.code, 404);
    assert_eq!(call(Method::GET, FLUNDERS, "").await.code, 404);
    let groups = admin.get("/apis").await.ok();
    let named = |group: &Value| group["name"] == "wardle.example.com";
    assert!(!groups["groups"].as_array().unwrap().iter().any(named));
}
