//! What upstream's suites ask of Services in clusters of two families.
use crate::support::{Client, Cluster, TestStore};
use orlop_apiserver::{Config, ServiceNetwork, ServiceRange};
use serde_json::{Value, json};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const SINGLE: &[&str] = &["10.0.0.0/16"];
const DUAL: &[&str] = &["10.0.0.0/16", "2001:db8:1::/112"];

async fn cluster(ranges: &[&str], store: &TestStore) -> Cluster {
    let ranges: Vec<ServiceRange> = ranges.iter().map(|range| range.parse().unwrap()).collect();
    let mut config = Config::new("10.10.0.1:6443".parse().unwrap());
    config.services = ServiceNetwork::new(&ranges, 30000..=32767).unwrap();
    Cluster::configured(config, store.clone()).await
}

fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 443}]}});
    for (key, value) in spec.as_object().unwrap() {
        service["spec"][key] = value.clone();
    }
    service
}

async fn put(admin: &Client, service: &Value) -> Value {
    let name = service["metadata"]["name"].as_str().unwrap();
    let reply = admin.put(&format!("{SERVICES}/{name}"), service.clone()).await;
    reply.ok()
}

/// The Service with another port.
async fn touched(admin: &Client, mut service: Value) -> Value {
    let number = service["spec"]["ports"][0]["port"].as_u64().unwrap() + 1;
    service["spec"]["ports"][0]["port"] = json!(number);
    put(admin, &service).await
}

/// The families of a Service, each of which has its address.
fn families(service: &Value) -> Vec<&str> {
    let spec = &service["spec"];
    let texts = |key: &str| -> Vec<&str> {
        let all = spec[key].as_array().unwrap();
        all.iter().map(|text| text.as_str().unwrap()).collect()
    };
    let (families, ips) = (texts("ipFamilies"), texts("clusterIPs"));
    assert_eq!(spec["clusterIP"], ips[0]);
    assert_eq!(families.len(), ips.len(), "{spec}");
    for (family, ip) in families.iter().zip(&ips) {
        assert_eq!(*family == "IPv6", ip.contains(':'), "{spec}");
    }
    families
}

/// "TestUpgradeDowngrade": by whole objects, first with the lists as they are to be, then with those that there were
#[tokio::test]
async fn a_service_gains_a_family_and_gives_it_back() {
    let admin = cluster(DUAL, &TestStore::new().await).await.admin();
    let mut made = admin.post(SERVICES, service("s", json!({}))).await.ok();
    assert_eq!(families(&made), ["IPv4"]);
    for cuts in [true, false] {
        made["spec"]["ipFamilyPolicy"] = json!("RequireDualStack");
        let mut dual = put(&admin, &made).await;
        assert_eq!(families(&dual), ["IPv4", "IPv6"]);
        assert_eq!(dual["spec"]["clusterIP"], made["spec"]["clusterIP"]);
        let second = dual["spec"]["clusterIPs"][1].as_str().unwrap().to_owned();
        let address = admin.get(&format!("{ADDRESSES}/{second}")).await.ok();
        assert_eq!(address["spec"]["parentRef"]["name"], "s");
        let asks = json!({"clusterIP": second, "ipFamilies": ["IPv6"]});
        let message = admin.post(SERVICES, service("other", asks)).await.refused(422);
        assert!(message.contains("provided IP is already allocated"), "{message}");

        dual["spec"]["ipFamilyPolicy"] = json!("SingleStack");
        if cuts {
            dual["spec"]["clusterIPs"] = made["spec"]["clusterIPs"].clone();
            dual["spec"]["ipFamilies"] = made["spec"]["ipFamilies"].clone();
        }
        made = put(&admin, &dual).await;
        assert_eq!(families(&made), ["IPv4"]);
        let name = format!("has-what-was-given-back-{cuts}");
        let asks = json!({"clusterIP": second, "ipFamilies": ["IPv6"]});
        admin.post(SERVICES, service(&name, asks)).await.ok();
    }
}

/// "TestConvertToFromExternalName": by a client that does not clear clusterIPs
#[tokio::test]
async fn a_service_becomes_an_external_name_by_its_first_address_alone() {
    let admin = cluster(DUAL, &TestStore::new().await).await.admin();
    let spec = json!({"ipFamilyPolicy": "PreferDualStack"});
    let mut made = admin.post(SERVICES, service("s", spec)).await.ok();
    assert_eq!(families(&made), ["IPv4", "IPv6"]);
    made["spec"]["type"] = json!("ExternalName");
    made["spec"]["externalName"] = json!("something.somewhere");
    made["spec"]["clusterIP"] = json!("");
    let mut external = put(&admin, &made).await;
    for gone in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        assert_eq!(external["spec"].get(gone), None, "{external}");
    }
    external["spec"]["type"] = json!("ClusterIP");
    external["spec"]["externalName"] = json!("");
    assert_eq!(families(&put(&admin, &external).await), ["IPv4"]);
}

/// "TestPreferDualStack", "TestUpgradeServicePreferToDualStack", "TestDowngradeServicePreferToDualStack"
#[tokio::test]
async fn who_prefers_two_families_keeps_what_was_given_when_the_cluster_changes() {
    let store = TestStore::new().await;
    let spec = || json!({"ipFamilyPolicy": "PreferDualStack"});
    let single = cluster(SINGLE, &store).await.admin();
    let mut one = single.post(SERVICES, service("one", spec())).await.ok();
    assert_eq!(families(&one), ["IPv4"]);
    let dual = cluster(DUAL, &store).await.admin();
    let range = dual
        .get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes")
        .await
        .ok();
    assert_eq!(range["spec"]["cidrs"], json!(DUAL));
    let own = dual.get(&format!("{SERVICES}/kubernetes")).await.ok();
    assert_eq!(families(&own), ["IPv4"]);
    let two = dual.post(SERVICES, service("two", spec())).await.ok();
    one = touched(&dual, one).await;
    assert_eq!(families(&one), ["IPv4"]);
    let two = touched(&dual, two).await;
    assert_eq!(families(&two), ["IPv4", "IPv6"]);
    assert_eq!(families(&touched(&single, two).await), ["IPv4", "IPv6"]);
    // Whoever asks for the second family gets it.
    one["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
    assert_eq!(families(&put(&dual, &one).await), ["IPv4", "IPv6"]);
    let required = service("three", json!({"ipFamilyPolicy": "RequireDualStack"}));
    let message = single.post(SERVICES, required).await.refused(422);
    let expected = "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services";
    assert!(message.contains(expected), "{message}");
}

/// "should create a single stack service with cluster ip from primary service range", "should create service with ipv6,v4
/// cluster ip", and what headless Services have
#[tokio::test]
async fn services_have_the_families_that_they_name_in_their_order() {
    let admin = cluster(DUAL, &TestStore::new().await).await.admin();
    let turned =
        json!({"ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "RequireDualStack", "type": "NodePort"});
    let made = admin.post(SERVICES, service("turned", turned)).await.ok();
    assert_eq!(families(&made), ["IPv6", "IPv4"]);
    assert!(
        made["spec"]["ports"][0]["nodePort"].is_u64(),
        "one for both: {made}"
    );
    for (name, spec, expected) in [
        ("open", json!({}), json!(["IPv4", "IPv6"])),
        ("chosen", json!({"selector": {"a": "b"}}), json!(["IPv4"])),
        (
            "both",
            json!({"selector": {"a": "b"}, "ipFamilyPolicy": "PreferDualStack"}),
            json!(["IPv4", "IPv6"]),
        ),
    ] {
        let mut headless = service(name, spec);
        headless["spec"]["clusterIP"] = json!("None");
        let made = admin.post(SERVICES, headless).await.ok();
        assert_eq!(made["spec"]["clusterIPs"], json!(["None"]));
        assert_eq!(made["spec"]["ipFamilies"], expected, "{name}");
    }
}
