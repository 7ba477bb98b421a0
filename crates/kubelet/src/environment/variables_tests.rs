use super::*;
use serde_json::{Value, json};

fn pod(container: &Value) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "serviceAccountName": "sa", "containers": [container]}}),
    )
    .unwrap()
}

async fn env_with(
    container: Value,
    client: Option<&kube::Client>,
) -> Result<BTreeMap<String, String>, EnvError> {
    let pod = pod(&container);
    let (pod_ips, host_ips) = (
        ["10.0.0.7".to_owned(), "fd00::7".to_owned()],
        ["192.0.2.1".to_owned()],
    );
    let context = EnvContext {
        root: Path::new("/nowhere"),
        pod_ips: &pod_ips,
        host_ips: &host_ips,
        services: &[("OWN_SERVICE_HOST".to_owned(), "10.96.0.7".to_owned())],
        client,
        local: None,
        node: &Default::default(),
    };
    let container = pod.spec.as_ref().unwrap().containers[0].clone();
    Ok(container_env(&pod, &container, &context)
        .await?
        .into_iter()
        .collect())
}

#[tokio::test]
async fn e05_expansion_of_earlier_names_only() {
    let env = env_with(
        json!({"name": "c", "env": [{"name": "FOO", "value": "foo"},
            {"name": "FOOBAR", "value": "$(FOO);;$(BAR)"}, {"name": "BAR", "value": "bar"},
            {"name": "LITERAL", "value": "$$(FOO)"}]}),
        None,
    )
    .await
    .unwrap();
    assert_eq!(env["FOOBAR"], "foo;;$(BAR)");
    assert_eq!(env["LITERAL"], "$(FOO)");
}

#[tokio::test]
async fn e06_variables_of_services_may_be_referred_to_and_replaced() {
    let env = env_with(
        json!({"name": "c", "env": [{"name": "URL", "value": "http://$(OWN_SERVICE_HOST)"}]}),
        None,
    );
    assert_eq!(env.await.unwrap()["URL"], "http://10.96.0.7");
    let env = env_with(
        json!({"name": "c", "env": [{"name": "OWN_SERVICE_HOST", "value": "x"}]}),
        None,
    );
    assert_eq!(env.await.unwrap()["OWN_SERVICE_HOST"], "x");
}

#[tokio::test]
async fn e03_fields_without_an_api_server() {
    let field = |path: &str| json!({"name": path.replace(['.', '[', ']', '\''], "_"), "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let paths = [
        "metadata.name",
        "metadata.labels['app']",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.podIP",
        "status.podIPs",
        "status.hostIP",
        "status.hostIPs",
    ];
    let env = env_with(json!({"name": "c", "env": paths.map(field)}), None)
        .await
        .unwrap();
    let values: Vec<&str> = paths
        .iter()
        .map(|path| env[&path.replace(['.', '[', ']', '\''], "_")].as_str())
        .collect();
    assert_eq!(
        values,
        [
            "p",
            "web",
            "n1",
            "sa",
            "10.0.0.7",
            "10.0.0.7,fd00::7",
            "192.0.2.1",
            "192.0.2.1"
        ]
    );
    let bad = env_with(json!({"name": "c", "env": [field("spec.x")]}), None)
        .await
        .unwrap_err();
    assert_eq!(bad.to_string(), "unsupported fieldPath: spec.x");
}

/// An API server of two objects.
fn client() -> kube::Client {
    let api = crate::volumes::fake_api::FakeApi::new();
    api.put(
        "/api/v1/namespaces/ns/configmaps/cm",
        json!({"data": {"k": "v", "K": "$(k)"}}),
    );
    api.put(
        "/api/v1/namespaces/ns/secrets/s",
        json!({"data": {"pw": "c2VjcmV0"}}),
    );
    api.client()
}

#[tokio::test]
async fn e01_values_from_config_maps_and_secrets() {
    let env = env_with(
        json!({"name": "c",
            "envFrom": [{"configMapRef": {"name": "cm"}, "prefix": "P_"}, {"secretRef": {"name": "gone", "optional": true}}],
            "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "K"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pw"}}},
                {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "no", "optional": true}}},
                {"name": "D", "value": "$(P_k)"}]}),
        Some(&client()),
    )
    .await
    .unwrap();
    assert_eq!(env["P_k"], "v");
    assert_eq!(env["A"], "$(k)", "values from elsewhere are not expanded");
    assert_eq!(env["B"], "secret");
    assert!(!env.contains_key("C"));
    assert_eq!(env["D"], "v");
}

#[tokio::test]
async fn e02_texts_of_what_is_missing() {
    for (variable, want) in [
        (
            json!({"configMapKeyRef": {"name": "x", "key": "k"}}),
            "configmap \"x\" not found",
        ),
        (
            json!({"secretKeyRef": {"name": "x", "key": "k"}}),
            "secret \"x\" not found",
        ),
        (
            json!({"configMapKeyRef": {"name": "cm", "key": "no"}}),
            "couldn't find key no in ConfigMap ns/cm",
        ),
        (
            json!({"secretKeyRef": {"name": "s", "key": "no"}}),
            "couldn't find key no in Secret ns/s",
        ),
    ] {
        let container = json!({"name": "c", "env": [{"name": "A", "valueFrom": variable}]});
        assert_eq!(
            env_with(container, Some(&client()))
                .await
                .unwrap_err()
                .to_string(),
            want
        );
    }
}
