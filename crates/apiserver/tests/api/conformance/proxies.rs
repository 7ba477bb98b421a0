//! "A set of valid responses are returned for both pod and service Proxy" and "… ProxyWithPath".
use crate::support::{Client, Cluster, PODS, Reply, pod};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use orlop_apiserver::UserInfo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::IpAddr;
use tokio::net::TcpListener;

/// An address of this machine that others could reach, since nothing is proxied to any other; `None` on one without.
async fn address() -> Option<IpAddr> {
    let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await.ok()?;
    // Nothing is sent.
    socket.connect("198.51.100.1:9").await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Tells what it is asked.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let page = Response::builder().header("content-type", "text/html; charset=utf-8");
    match parts.uri.path() {
        "/rewritten" => return Ok(page.body(Full::from(r#"<a href="/rewriteme">test</a>"#)).unwrap()),
        "/moved" => {
            let moved = Response::builder().status(302).header("location", "/home?a=b");
            return Ok(moved.body(Full::default()).unwrap());
        }
        _ => {}
    }
    let body = body.collect().await.unwrap().to_bytes();
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let told = json!({"Method": parts.method.as_str(), "Path": parts.uri.to_string(), "Body": String::from_utf8_lossy(&body),
        "Accept": header("accept"), "Authorization": header("authorization")});
    let answer = Response::builder()
        .header("content-type", "application/json")
        .header("x-echo", parts.method.as_str());
    Ok(answer.body(Full::new(Bytes::from(told.to_string()))).unwrap())
}

/// A pod `agnhost` and a Service `e2e-proxy` before it. `None` where nothing can be proxied.
async fn start(cluster: &Cluster) -> Option<Client> {
    let address = address().await.or_else(|| {
        eprintln!("this machine has no address but its own; nothing can be proxied to");
        None
    })?;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(echo)));
        }
    });
    let admin = cluster.admin();
    let mut agnhost = pod("agnhost");
    agnhost["spec"]["nodeName"] = json!("n1");
    agnhost["spec"]["containers"][0]["ports"] = json!([{"containerPort": port}]);
    admin.post(PODS, agnhost).await.ok();
    let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
    admin
        .patch(&format!("{PODS}/agnhost/status"), "merge", status)
        .await
        .ok();
    let service = json!({"metadata": {"name": "e2e-proxy"}, "spec": {"ports": [{"port": 80}], "selector": {"response": "ok"}}});
    admin
        .post("/api/v1/namespaces/default/services", service)
        .await
        .ok();
    let slice = json!({"metadata": {"name": "e2e-proxy-1", "labels": {"kubernetes.io/service-name": "e2e-proxy"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "", "port": port}]});
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    admin.post(slices, slice).await.ok();
    Some(admin)
}

const PLACES: [&str; 2] = [
    "/api/v1/namespaces/default/pods/agnhost/proxy",
    "/api/v1/namespaces/default/services/e2e-proxy/proxy",
];

fn told(reply: Reply, method: &Method) -> Value {
    assert_eq!(
        (reply.code, reply.headers["x-echo"].to_str().unwrap()),
        (200, method.as_str()),
        "{}",
        reply.text
    );
    // A HEAD has none.
    let told = if method == Method::HEAD {
        json!({"Method": "HEAD"})
    } else {
        reply.json()
    };
    assert_eq!(told["Method"], method.as_str());
    told
}

#[tokio::test]
async fn every_method_reaches_a_pod_and_a_service_with_and_without_a_path() {
    let cluster = Cluster::start().await;
    let Some(admin) = start(&cluster).await else {
        return;
    };
    let methods = [
        Method::DELETE,
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PATCH,
        Method::POST,
        Method::PUT,
    ];
    for place in PLACES {
        for method in &methods {
            let path = format!("{place}/some/path/with/{method}?a=b%20c");
            let seen = told(admin.send(method.clone(), &path, &[], "").await, method);
            if method != Method::HEAD {
                assert_eq!(seen["Path"], format!("/some/path/with/{method}?a=b%20c"));
            }
            let path = format!("{place}?method={method}");
            let reply = admin.send(method.clone(), &path, &[], "").await;
            if matches!(*method, Method::GET | Method::HEAD) {
                assert_eq!(reply.code, 301, "{}", reply.text);
                assert_eq!(reply.headers["location"], format!("{place}/?method={method}"));
            } else {
                assert_eq!(told(reply, method)["Path"], format!("/?method={method}"));
            }
        }
        let sent = admin
            .send(
                Method::POST,
                &format!("{place}/x"),
                &[("authorization", "Bearer secret")],
                "body",
            )
            .await;
        let seen = told(sent, &Method::POST);
        assert_eq!(
            (&seen["Body"], &seen["Authorization"]),
            (&json!("body"), &Value::Null)
        );
        // What somebody accepts is the matter of who answers.
        let page = admin
            .send(
                Method::GET,
                &format!("{place}/page"),
                &[("accept", "text/html")],
                "",
            )
            .await;
        assert_eq!(told(page, &Method::GET)["Accept"], "text/html");
    }
}

/// "should proxy through a service and a pod": what a page or a redirection leads to is found behind the proxy.
#[tokio::test]
async fn pages_and_redirections_lead_back_through_the_proxy() {
    let cluster = Cluster::start().await;
    let Some(admin) = start(&cluster).await else {
        return;
    };
    for place in PLACES {
        let page = admin.get(&format!("{place}/rewritten")).await;
        assert_eq!(page.text, format!(r#"<a href="{place}/rewriteme">test</a>"#));
        let moved = admin.get(&format!("{place}/moved")).await;
        assert_eq!(moved.headers["location"], format!("{place}/home?a=b"));
    }
}

/// Each method needs its right.
#[tokio::test]
async fn a_proxy_is_reached_by_those_who_may() {
    let cluster = Cluster::start().await;
    let Some(admin) = start(&cluster).await else {
        return;
    };
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods/proxy"], "verbs": ["get"]}]});
    admin.post(&format!("{roles}/roles"), role).await.ok();
    let binding = json!({"metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}]});
    admin.post(&format!("{roles}/rolebindings"), binding).await.ok();
    let jane = cluster.user(UserInfo::new("jane", ["devs"]));
    for (method, code) in [
        (Method::GET, 200),
        (Method::HEAD, 200),
        (Method::POST, 403),
        (Method::OPTIONS, 403),
    ] {
        let reply = jane
            .send(method.clone(), &format!("{}/x", PLACES[0]), &[], "")
            .await;
        assert_eq!(reply.code, code, "{method}: {}", reply.text);
    }
    let reply = jane.send(Method::GET, &format!("{}/x", PLACES[1]), &[], "").await;
    assert_eq!(reply.code, 403);
}
