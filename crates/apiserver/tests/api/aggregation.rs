//! API groups of other servers, and `metrics.k8s.io`.
use crate::served::{Served, connect, leaf};
use crate::support::{Client, Cluster};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use orlop_apiserver::{FrontProxyConfig, KubeletClientTls, TrustedAuthorities};
use orlop_pki::{Authority, Usage};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

/// Serves HTTPS on this machine by a function of the request, which it reads whole.
pub async fn https<F>(authority: &Authority, names: &[&str], answer: F) -> u16
where
    F: Fn(Request<Bytes>) -> (u16, String) + Send + Sync + 'static,
{
    let request = orlop_pki::LeafRequest {
        identity: orlop_pki::Identity::new("server", &[]),
        usage: Usage::Server,
        dns_names: names.iter().map(|name| (*name).to_owned()).collect(),
        addresses: vec!["127.0.0.1".parse().unwrap()],
    };
    let own = authority.sign(&request).unwrap();
    let tls =
        orlop_pki::server_config_for_any_client(&own.certificate, &own.key, authority.certificate()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (acceptor, answer) = (TlsAcceptor::from(tls), Arc::new(answer));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answer.clone();
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let (code, text) = answer(Request::from_parts(parts, body));
                        let mut response = Response::new(Full::new(Bytes::from(text)));
                        *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
                        response
                            .headers_mut()
                            .insert("content-type", "application/json".parse().unwrap());
                        Ok::<_, Infallible>(response)
                    }
                });
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    port
}

/// Waits until a watch of one object shows what is wanted: the kind of event and the object.
pub async fn until(
    admin: &Client,
    collection: &str,
    name: &str,
    wanted: impl Fn(&str, &Value) -> bool,
) -> Value {
    let mut watch = admin
        .watch(&format!(
            "{collection}?watch=1&fieldSelector=metadata.name%3D{name}"
        ))
        .await;
    loop {
        let event = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
        let event = event
            .unwrap_or_else(|_| panic!("{collection}/{name} does not become what is wanted"))
            .unwrap();
        if wanted(event["type"].as_str().unwrap(), &event["object"]) {
            return event["object"].clone();
        }
    }
}

/// Waits for a condition of an APIService.
pub async fn available(admin: &Client, name: &str, status: &str) -> Value {
    let is = |_: &str, object: &Value| object["status"]["conditions"][0]["status"] == status;
    until(admin, API_SERVICES, name, is).await["status"]["conditions"][0].clone()
}

#[tokio::test]
async fn what_is_served_here_is_registered_and_available() {
    let admin = Cluster::start().await.admin();
    let apps = admin.get(&format!("{API_SERVICES}/v1.apps")).await.ok();
    assert_eq!(
        apps["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"],
        "onstart"
    );
    assert_eq!(apps["status"]["conditions"][0]["reason"], "Local");
    available(&admin, "v1.", "True").await;
    let groups = admin.get("/apis").await.ok();
    assert_eq!(groups["groups"][0]["name"], "apiregistration.k8s.io");
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "xs.example.org"}, "spec": {"group": "example.org", "scope": "Namespaced",
        "names": {"plural": "xs", "kind": "X"}, "versions": [{"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    admin.post(definitions, definition).await.ok();
    available(&admin, "v1.example.org", "True").await;
    let gone = until(&admin, API_SERVICES, "v1.example.org", |kind, _| {
        kind == "DELETED"
    });
    let delete = async {
        admin
            .delete(&format!("{definitions}/xs.example.org"), Value::Null)
            .await
            .ok()
    };
    tokio::join!(gone, delete);
}

#[tokio::test]
async fn a_group_of_another_server_is_passed_on_with_the_caller_and_shows_in_discovery() {
    let (front, other) = (
        Authority::ephemeral("front").unwrap(),
        Authority::ephemeral("other").unwrap(),
    );
    let proxy = leaf(&front, "front-proxy-client", &[], Usage::Client);
    let ca = TrustedAuthorities::of_front_proxies(front.certificate()).unwrap();
    let served = Served::start(|config, _| {
        config.authentication.front_proxy = Some(FrontProxyConfig::usual(ca));
        config.proxy_identity = Some(proxy.into());
    })
    .await;
    let port = https(&other, &["wardle.default.svc"], |request| {
        let path = request.uri().to_string();
        let header = |name: &str| {
            let values = request.headers().get_all(name).iter();
            values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        match path.as_str() {
            "/apis/wardle.example.org/v1" => {
                let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.org/v1",
                    "resources": [{"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
                        "verbs": ["get", "list"]}]});
                (200, list.to_string())
            }
            "/openapi/v3" => {
                let index = json!({"paths": {"apis/wardle.example.org/v1": {
                    "serverRelativeURL": "/openapi/v3/apis/wardle.example.org/v1?hash=CAFE"}}});
                (200, index.to_string())
            }
            "/openapi/v3/apis/wardle.example.org/v1" => (200, json!({"openapi": "3.0.0"}).to_string()),
            _ => {
                let told = json!({"path": path, "user": header("x-remote-user"), "groups": header("x-remote-group"),
                    "authorization": header("authorization"), "method": request.method().as_str(),
                    "bytes": request.body().len()});
                (200, told.to_string())
            }
        }
    })
    .await;
    let admin = served.admin();
    let service = json!({"metadata": {"name": "wardle"}, "spec": {"ports": [{"port": 443}]}});
    let object = json!({"metadata": {"name": "v1.wardle.example.org"}, "spec": {"group": "wardle.example.org", "version": "v1",
        "groupPriorityMinimum": 2000, "versionPriority": 10, "caBundle": STANDARD.encode(other.certificate()),
        "service": {"namespace": "default", "name": "wardle"}}});
    admin.post(API_SERVICES, object).await.ok();
    let condition = available(&admin, "v1.wardle.example.org", "False").await;
    assert_eq!(condition["reason"], "ServiceNotFound");
    let flunders = "/apis/wardle.example.org/v1/namespaces/default/flunders?limit=5";
    assert_eq!(admin.get(flunders).await.refused(503), "service unavailable");
    admin
        .post("/api/v1/namespaces/default/services", service)
        .await
        .ok();
    let slice = json!({"metadata": {"name": "wardle", "labels": {"kubernetes.io/service-name": "wardle"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "", "port": port}]});
    admin
        .post(
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            slice,
        )
        .await
        .ok();
    assert_eq!(
        available(&admin, "v1.wardle.example.org", "True").await["reason"],
        "Passed"
    );

    // Its schemas are found beside ours.
    let index = admin.get("/openapi/v3").await.ok();
    let url = index["paths"]["apis/wardle.example.org/v1"]["serverRelativeURL"].clone();
    assert_eq!(url, "/openapi/v3/apis/wardle.example.org/v1?hash=CAFE");
    let document = admin.get(url.as_str().unwrap()).await;
    assert_eq!(document.headers["cache-control"], "public, immutable");
    assert_eq!(document.ok(), json!({"openapi": "3.0.0"}));
    let stale = admin.get("/openapi/v3/apis/wardle.example.org/v1?hash=OLD").await;
    assert_eq!(
        (stale.code, &stale.headers["location"]),
        (301, &url.as_str().unwrap().parse().unwrap())
    );

    let told = served
        .call(
            Some(&served.leaf("root", &["system:masters"])),
            Method::GET,
            flunders,
            &[("x-remote-user", "mallory")],
            "",
        )
        .await
        .ok();
    assert_eq!(told["path"], flunders);
    assert_eq!(told["user"], json!(["root"]));
    assert_eq!(told["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!(told["authorization"], json!([]));
    // What is written there has that server's limits, not ours for objects.
    let upload = "x".repeat(5 << 20);
    let told = admin.send(Method::POST, flunders, &[], upload.clone()).await.ok();
    assert_eq!(told["bytes"], upload.len());
    // Whoever has no right does not get there.
    served
        .call(Some(&served.leaf("alice", &[])), Method::GET, flunders, &[], "")
        .await
        .refused(403);

    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = admin
        .send(Method::GET, "/apis", &[("accept", accept)], "")
        .await
        .ok();
    let items = all["items"].as_array().unwrap();
    let wardle = items
        .iter()
        .find(|item| item["metadata"]["name"] == "wardle.example.org")
        .unwrap();
    assert_eq!(wardle["versions"][0]["resources"][0]["resource"], "flunders");
    assert_eq!(
        wardle["versions"][0]["resources"][0]["responseKind"]["kind"],
        "Flunder"
    );
    let groups = admin.get("/apis").await.ok();
    let named = |group: &Value| group["name"] == "wardle.example.org";
    assert!(groups["groups"].as_array().unwrap().iter().any(named));
    let list = admin.get("/apis/wardle.example.org/v1").await.ok();
    assert_eq!(list["resources"][0]["name"], "flunders");
}

/// What kubernetes-mixin's alerts on aggregated APIs, and on calls that fail, select.
#[tokio::test]
async fn metrics_tell_which_apis_are_not_available_and_how_often_one_was_lost() {
    let admin = Cluster::start().await.admin();
    let name = "v1.lost.example.org";
    let object = json!({"metadata": {"name": name}, "spec": {"group": "lost.example.org", "version": "v1",
        "groupPriorityMinimum": 2000, "versionPriority": 10, "insecureSkipTLSVerify": true,
        "service": {"namespace": "default", "name": "none"}}});
    admin.post(API_SERVICES, object).await.ok();
    available(&admin, name, "False").await;
    let text = admin.get("/metrics").await.text;
    for line in [
        "aggregator_unavailable_apiservice{name=\"v1.lost.example.org\"} 1\n",
        "aggregator_unavailable_apiservice{name=\"v1.apps\"} 0\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    // It never was available.
    assert!(
        !text.contains("aggregator_unavailable_apiservice_total{"),
        "{text}"
    );
    let status = json!({"status": {"conditions": [{"type": "Available", "status": "True", "reason": "Passed",
        "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    let path = format!("{API_SERVICES}/{name}/status");
    admin.patch(&path, "merge", status).await.ok();
    available(&admin, name, "False").await;
    // It is counted just after everybody sees it.
    let lost = "aggregator_unavailable_apiservice_total{name=\"v1.lost.example.org\",reason=\"ServiceNotFound\"} 1\n";
    let counted = async {
        loop {
            let text = admin.get("/metrics").await.text;
            if text.contains(lost) {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(10), counted).await;
    let text = text.expect("the loss is counted within 10 s");
    let call = "rest_client_requests_total{code=\"200\",method=\"PATCH\",host=\"";
    assert!(text.contains(call), "{text}");
}

#[tokio::test]
async fn bad_api_services_are_refused() {
    let admin = Cluster::start().await.admin();
    let object = json!({"metadata": {"name": "x"}, "spec": {"group": "g", "version": "v1", "groupPriorityMinimum": 0,
        "versionPriority": 1001}});
    let refused = admin.post(API_SERVICES, object).await.refused(422);
    for why in [
        "must be `spec.version+\".\"+spec.group`: \"v1.g\"",
        "spec.groupPriorityMinimum",
        "spec.versionPriority",
    ] {
        assert!(refused.contains(why), "{refused}");
    }
}

#[tokio::test]
async fn metrics_come_from_the_agents_and_only_when_asked_for() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let agents = Authority::ephemeral("agents").unwrap();
    let began = std::time::Instant::now();
    let port = https(&agents, &["localhost"], move |request| {
        assert_eq!(request.uri().path(), "/metrics/resource");
        counted.fetch_add(1, Ordering::SeqCst);
        let passed = began.elapsed().as_secs_f64();
        let at = jiff::Timestamp::now().as_millisecond();
        let text = format!(
            "node_cpu_usage_seconds_total {:.6} {at}\nnode_memory_working_set_bytes 2097152 {at}\n\
             container_cpu_usage_seconds_total{{container=\"c\",namespace=\"default\",pod=\"p\"}} {:.6} {at}\n\
             container_memory_working_set_bytes{{container=\"c\",namespace=\"default\",pod=\"p\"}} 4096 {at}\n",
            passed / 2.0,
            passed / 4.0
        );
        (200, text)
    })
    .await;
    let cluster = Cluster::with(|config| {
        let client = leaf(&agents, "apiserver", &["system:masters"], Usage::Client);
        config.kubelet_client = KubeletClientTls {
            ca: Some(agents.certificate().to_owned()),
            identity: Some(client.into()),
        };
    })
    .await;
    let admin = cluster.admin();
    let node = json!({"metadata": {"name": "n1", "labels": {"a": "b"}}, "status": {"addresses":
        [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    admin.post("/api/v1/nodes", node).await.ok();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]}});
    admin.post("/api/v1/namespaces/default/pods", pod).await.ok();
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let nodes = admin.get("/apis/metrics.k8s.io/v1beta1/nodes").await.ok();
    assert_eq!(nodes["kind"], "NodeMetricsList");
    let node = &nodes["items"][0];
    assert_eq!(
        (&node["metadata"]["name"], &node["usage"]["memory"]),
        (&json!("n1"), &json!("2048Ki"))
    );
    let cores: f64 = node["usage"]["cpu"]
        .as_str()
        .unwrap()
        .trim_end_matches('n')
        .parse()
        .unwrap();
    assert!((0.4e9..0.6e9).contains(&cores), "{node}");
    let pods = admin
        .get("/apis/metrics.k8s.io/v1beta1/namespaces/default/pods")
        .await
        .ok();
    let container = &pods["items"][0]["containers"][0];
    assert_eq!(
        (&container["name"], &container["usage"]["memory"]),
        (&json!("c"), &json!("4Ki"))
    );
    // Both lists came from the same two readings.
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let one = admin
        .get("/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/p")
        .await
        .ok();
    assert_eq!(one["kind"], "PodMetrics");
    admin
        .get("/apis/metrics.k8s.io/v1beta1/nodes/other")
        .await
        .refused(404);
    let none = admin
        .get("/apis/metrics.k8s.io/v1beta1/nodes?labelSelector=a%3Dc")
        .await
        .ok();
    assert_eq!(none["items"], json!([]));
}

/// §16: the rules of an aggregated role are written.
#[tokio::test]
async fn an_aggregated_role_has_the_rules_of_those_it_selects() {
    let admin = Cluster::start().await.admin();
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let whole = json!({"metadata": {"name": "whole"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"part": "true"}}]}, "rules": []});
    admin.post(roles, whole).await.ok();
    let part = json!({"metadata": {"name": "part", "labels": {"part": "true"}},
        "rules": [{"verbs": ["get"], "apiGroups": ["example.org"], "resources": ["things"]}]});
    admin.post(roles, part).await.ok();
    let has_one = |_: &str, whole: &Value| whole["rules"].as_array().is_some_and(|rules| rules.len() == 1);
    until(&admin, roles, "whole", has_one).await;
}

/// §21: the Service that leads to the server is there whatever somebody does to it.
#[tokio::test]
async fn the_kubernetes_service_is_put_right_while_the_server_runs() {
    let admin = Cluster::start().await.admin();
    let path = "/api/v1/namespaces/default/services/kubernetes";
    let before = admin.get(path).await.ok();
    admin.delete(path, Value::Null).await.ok();
    let services = "/api/v1/namespaces/default/services";
    let after = until(&admin, services, "kubernetes", |kind, _| kind != "DELETED").await;
    assert_eq!(after["spec"]["clusterIP"], before["spec"]["clusterIP"]);
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
}

/// Reads from a connection up to the end of a head.
async fn head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// What leaves HTTP, such as a console, goes both ways through this server.
#[tokio::test]
async fn connections_that_switch_protocols_are_passed_on() {
    let other = Authority::ephemeral("other").unwrap();
    let request = orlop_pki::LeafRequest {
        identity: orlop_pki::Identity::new("server", &[]),
        usage: Usage::Server,
        dns_names: vec!["wardle.default.svc".to_owned()],
        addresses: Vec::new(),
    };
    let own = other.sign(&request).unwrap();
    let tls =
        orlop_pki::server_config_for_any_client(&own.certificate, &own.key, other.certificate()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(tls);
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let head = head(&mut stream).await.to_lowercase();
                if head.contains("upgrade: echo") {
                    let user = if head.contains("x-remote-user: root") {
                        "root"
                    } else {
                        "nobody"
                    };
                    let answer = format!(
                        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\nx-user: {user}\r\n\r\n"
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    let (mut from, mut to) = tokio::io::split(stream);
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                } else {
                    let list = r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"w.example.org/v1","resources":[]}"#;
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{list}", list.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    let served = Served::start(|_, _| {}).await;
    let admin = served.admin();
    let service = json!({"metadata": {"name": "wardle"}, "spec": {"ports": [{"port": 443}]}});
    admin
        .post("/api/v1/namespaces/default/services", service)
        .await
        .ok();
    let slice = json!({"metadata": {"name": "wardle", "labels": {"kubernetes.io/service-name": "wardle"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "", "port": port}]});
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    admin.post(slices, slice).await.ok();
    let object = json!({"metadata": {"name": "v1.w.example.org"}, "spec": {"group": "w.example.org", "version": "v1",
        "groupPriorityMinimum": 2000, "versionPriority": 10, "caBundle": STANDARD.encode(other.certificate()),
        "service": {"namespace": "default", "name": "wardle"}}});
    admin.post(API_SERVICES, object).await.ok();
    available(&admin, "v1.w.example.org", "True").await;

    let identity = served.leaf("root", &["system:masters"]);
    let mut stream = connect(served.authority.certificate(), served.address, Some(&identity)).await;
    let asked = "GET /apis/w.example.org/v1/namespaces/default/vms/v/console HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(asked.as_bytes()).await.unwrap();
    let answer = head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.contains("x-user: root"), "{answer}");
    stream.write_all(b"both ways").await.unwrap();
    let mut back = [0; 9];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"both ways");
}
