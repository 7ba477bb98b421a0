//! What upstream's suites ask of Services' ports, policies, families and addresses.
use crate::support::{Client, Cluster};
use serde_json::{Value, json};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn changed(admin: &Client, name: &str, spec: Value) -> Value {
    let patch = json!({ "spec": spec });
    admin
        .patch(&format!("{SERVICES}/{name}"), "merge", patch)
        .await
        .ok()
}

/// "should prevent NodePort collisions", "should check NodePort out-of-range", "should release NodePorts on delete"
#[tokio::test]
async fn node_ports_are_one_services_and_free_when_it_goes() {
    let admin = Cluster::start().await.admin();
    let ports = json!([{"port": 80, "protocol": "TCP"}]);
    let first = json!({"type": "NodePort", "ports": ports});
    let first = admin.post(SERVICES, service("first", first)).await.ok();
    let given = first["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    for protocol in ["TCP", "UDP"] {
        let ports = json!([{"port": 81, "protocol": protocol, "nodePort": given}]);
        let second = service("second", json!({"type": "NodePort", "ports": ports}));
        let message = admin.post(SERVICES, second).await.refused(422);
        let expected = format!("{given}: provided port is already allocated");
        assert!(message.contains(&expected), "{message}");
    }
    let outside = json!([{"port": 80, "protocol": "TCP", "nodePort": 40000}]);
    for reply in [
        admin
            .patch(
                &format!("{SERVICES}/first"),
                "merge",
                json!({"spec": {"ports": outside}}),
            )
            .await,
        admin
            .post(
                SERVICES,
                service("second", json!({"type": "NodePort", "ports": outside})),
            )
            .await,
    ] {
        let message = reply.refused(422);
        let expected =
            "40000: provided port is not in the valid range. The range of valid ports is 30000-32767";
        assert!(message.contains(expected), "{message}");
    }
    admin.delete(&format!("{SERVICES}/first"), Value::Null).await.ok();
    let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": given}]);
    let again = service("first", json!({"type": "NodePort", "ports": ports}));
    admin.post(SERVICES, again).await.ok();
}

/// "should be able to update service type to NodePort listening on same port number but different protocols", "should
/// serve endpoints on same port and different protocols"
#[tokio::test]
async fn a_port_may_be_there_for_each_protocol() {
    let admin = Cluster::start().await.admin();
    let tcp = json!({"name": "tcp-port", "port": 80, "protocol": "TCP", "targetPort": 9376});
    let udp = json!({"name": "udp-port", "port": 80, "protocol": "UDP", "targetPort": 9376});
    admin
        .post(SERVICES, service("s", json!({"ports": [tcp]})))
        .await
        .ok();
    let now = changed(&admin, "s", json!({"type": "NodePort", "ports": [tcp]})).await;
    let given = now["spec"]["ports"][0]["nodePort"].clone();
    let spec = json!({"sessionAffinity": "ClientIP", "ports": [tcp, udp]});
    let now = changed(&admin, "s", spec).await;
    assert_eq!(now["spec"]["ports"][0]["nodePort"], given, "by the port's name");
    assert_ne!(now["spec"]["ports"][1]["nodePort"], given);
    let now = changed(&admin, "s", json!({"ports": [udp]})).await;
    assert_eq!(now["spec"]["ports"].as_array().unwrap().len(), 1);
    // A new Service has one port of the nodes for both.
    let both = json!({"type": "NodePort", "ports": [tcp, udp]});
    let both = admin.post(SERVICES, service("both", both)).await.ok();
    let ports = &both["spec"]["ports"];
    assert_eq!(ports[0]["nodePort"], ports[1]["nodePort"]);
}

/// "should be able to switch session affinity for service with type clusterIP", by a whole object as Go clients send it
#[tokio::test]
async fn an_affinity_that_is_taken_back_takes_its_config_along() {
    let admin = Cluster::start().await.admin();
    let spec = json!({"ports": [{"port": 80}], "sessionAffinity": "ClientIP"});
    let mut made = admin.post(SERVICES, service("s", spec)).await.ok();
    made["spec"]["sessionAffinity"] = json!("None");
    let made = admin.put(&format!("{SERVICES}/s"), made).await.ok();
    assert_eq!(made["spec"].get("sessionAffinityConfig"), None);
}

/// Policies that mean nothing for a type are neither kept nor filled in.
#[tokio::test]
async fn traffic_policies_follow_what_a_service_is() {
    let admin = Cluster::start().await.admin();
    let external =
        json!({"type": "ExternalName", "externalName": "foo.bar.com", "internalTrafficPolicy": "Cluster"});
    let made = admin.post(SERVICES, service("e", external)).await.ok();
    assert_eq!(made["spec"].get("internalTrafficPolicy"), None);

    let reached = json!({"ports": [{"port": 80}], "selector": {"foo": "bar"}, "externalIPs": ["1.1.1.1"]});
    let made = admin.post(SERVICES, service("s", reached)).await.ok();
    assert_eq!(made["spec"]["externalTrafficPolicy"], "Cluster");
    let now = changed(&admin, "s", json!({"externalIPs": []})).await;
    assert_eq!(now["spec"].get("externalTrafficPolicy"), None);
    let now = changed(&admin, "s", json!({"externalIPs": ["1.1.1.1"]})).await;
    assert_eq!(now["spec"]["externalTrafficPolicy"], "Cluster");
    changed(&admin, "s", json!({"externalIPs": []})).await;
    let spec = json!({"type": "ExternalName", "externalName": "foo.bar.com"});
    let now = changed(&admin, "s", spec).await;
    assert_eq!(now["spec"].get("internalTrafficPolicy"), None);
}

/// A load balancer's own fields and status go when the Service is none any more.
#[tokio::test]
async fn a_load_balancer_gives_back_what_it_had() {
    let admin = Cluster::start().await.admin();
    let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
        "loadBalancerClass": "example.com/internal-vip", "ports": [{"port": 80}]});
    let made = admin.post(SERVICES, service("s", spec)).await.ok();
    let asked = made["spec"]["healthCheckNodePort"].as_i64().unwrap();
    assert!((30000..=32767).contains(&asked), "{asked}");
    assert_ne!(made["spec"]["ports"][0]["nodePort"], asked);
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]},
        "conditions": [{"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test",
            "lastTransitionTime": null}]}});
    let path = format!("{SERVICES}/s");
    let now = admin
        .patch(&format!("{path}/status"), "merge", ingress)
        .await
        .ok();
    assert_eq!(
        now["status"]["loadBalancer"]["ingress"],
        json!([{"ip": "203.0.113.1", "ipMode": "VIP"}])
    );
    for (change, expected) in [
        (
            json!({"spec": {"healthCheckNodePort": 30000}}),
            "spec.healthCheckNodePort: Forbidden: field is immutable",
        ),
        (
            json!({"spec": {"loadBalancerClass": null}}),
            "spec.loadBalancerClass: Invalid value: null: may not change once set",
        ),
    ] {
        let message = admin.patch(&path, "merge", change).await.refused(422);
        assert!(message.contains(expected), "{message}");
    }
    let now = changed(&admin, "s", json!({"type": "ClusterIP"})).await;
    for gone in [
        "healthCheckNodePort",
        "loadBalancerClass",
        "allocateLoadBalancerNodePorts",
        "externalTrafficPolicy",
    ] {
        assert_eq!(now["spec"].get(gone), None, "{gone} stays: {now}");
    }
    assert_eq!(now["status"]["loadBalancer"], json!({}));
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
    let reply = admin.patch(&format!("{path}/status"), "merge", ingress).await;
    let message = reply.refused(422);
    assert!(
        message.contains("may only be used when `spec.type` is 'LoadBalancer'"),
        "{message}"
    );
}

/// A headless Service becomes an ExternalName and gets an address afterwards, by objects that name nothing else.
#[tokio::test]
async fn headless_services_become_others() {
    let admin = Cluster::start().await.admin();
    let path = format!("{SERVICES}/s");
    let spec = |more: Value| {
        let mut spec = json!({"ports": [{"port": 80}], "selector": {"foo": "bar"}, "clusterIP": "None", "type": "ClusterIP"});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        service("s", spec)
    };
    let others = "fieldSelector=spec.clusterIP%21%3DNone,metadata.name%3Ds";
    let count = async || {
        let list = admin.get(&format!("{SERVICES}?{others}")).await.ok();
        list["items"].as_array().unwrap().len()
    };
    admin.post(SERVICES, spec(json!({}))).await.ok();
    assert_eq!(count().await, 0);
    let external = spec(json!({"type": "ExternalName", "externalName": "test"}));
    let now = admin.put(&path, external).await.ok();
    assert_eq!(now["spec"].get("clusterIPs"), None);
    assert_eq!(count().await, 1);
    let back = spec(json!({"clusterIP": "", "externalName": ""}));
    let now = admin.put(&path, back).await.ok();
    assert!(now["spec"]["clusterIP"].as_str().unwrap().starts_with("10."));
    assert_eq!(now["spec"]["ipFamilies"], json!(["IPv4"]));
}

/// The IPAddress of a Service is there when the answer is.
#[tokio::test]
async fn a_services_address_is_an_object_at_once() {
    let admin = Cluster::start().await.admin();
    for number in 0..5 {
        let spec = json!({"ports": [{"port": 80}]});
        let made = admin
            .post(SERVICES, service(&format!("svc-{number}"), spec))
            .await
            .ok();
        let ip = made["spec"]["clusterIP"].as_str().unwrap();
        let address = admin.get(&format!("{ADDRESSES}/{ip}")).await.ok();
        assert_eq!(
            address["spec"]["parentRef"],
            json!({"resource": "services", "namespace": "default", "name": made["metadata"]["name"]})
        );
        assert_eq!(
            (&address["metadata"]["generation"], &address["kind"]),
            (&Value::Null, &json!("IPAddress"))
        );
    }
}

/// "IPv4 Service Type ClusterIP with leading zeros should work interpreted as decimal"
#[tokio::test]
async fn zeros_before_the_numbers_of_an_address_are_no_octal() {
    let admin = Cluster::start().await.admin();
    let spec = json!({"clusterIP": "10.96.0.011", "ports": [{"port": 7180}]});
    let mut made = admin.post(SERVICES, service("s", spec)).await.ok();
    assert_eq!(made["spec"]["clusterIPs"], json!(["10.96.0.11"]));
    made["spec"]["clusterIP"] = json!("10.96.0.011");
    let now = admin.put(&format!("{SERVICES}/s"), made).await.ok();
    assert_eq!(now["spec"]["clusterIP"], "10.96.0.11");
}

/// Endpoints and slices that lead nowhere are refused.
#[tokio::test]
async fn endpoints_are_addresses() {
    let admin = Cluster::start().await.admin();
    let endpoints = "/api/v1/namespaces/default/endpoints";
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let subset = json!({"addresses": [{"ip": "10.0.0.256"}], "ports": [{"port": 80}]});
    let bad = json!({"metadata": {"name": "e"}, "subsets": [subset]});
    let message = admin.post(endpoints, bad).await.refused(422);
    assert!(
        message.contains("subsets[0].addresses[0].ip: Invalid value"),
        "{message}"
    );
    let slice = |addresses: Value| {
        json!({"metadata": {"generateName": "e2e-example-ing"}, "addressType": "IPv4",
            "endpoints": [{"addresses": addresses}]})
    };
    let message = admin.post(slices, slice(json!(["fd00::1"]))).await.refused(422);
    assert!(message.contains("must be a valid IPv4 address"), "{message}");
    admin
        .post(slices, slice(json!(["1.2.3.4", "5.6.7.8"])))
        .await
        .ok();
}
