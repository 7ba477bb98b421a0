//! The secure port with a real client: certificates, HTTP/2, watches, logs. S01, S02, W11, O13, O14.
use crate::support::{TestStore, pod};
use futures::{StreamExt, TryStreamExt};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{Api, DeleteParams, LogParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig as ClientConfig};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, Config};
use orlop_apiserver::{ApiServer, Config as ServerConfig, KubeletClientTls, TrustedAuthorities};
use orlop_pki::{Authority, Identity, Kubeconfig, Leaf, LeafRequest, Usage};
use serde_json::json;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub struct Secure {
    directory: tempfile::TempDir,
    pub authority: Authority,
    pub url: String,
    shutdown: CancellationToken,
    _store: TestStore,
}

pub fn leaf(authority: &Authority, user: &str, groups: &[&str], usage: Usage) -> Leaf {
    let request = LeafRequest {
        identity: Identity::new(user, groups),
        usage,
        dns_names: vec!["localhost".to_owned()],
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
    };
    authority.sign(&request).unwrap()
}

impl Secure {
    pub async fn start() -> Self {
        Self::known_to_agents(true).await
    }

    /// A server that shows a certificate to node agents, or none.
    async fn known_to_agents(known: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::ensure(directory.path(), "ca", "kubernetes").unwrap();
        let serving = leaf(&authority, "kube-apiserver", &[], Usage::Server);
        let agent_client = leaf(
            &authority,
            "kube-apiserver-kubelet-client",
            &["system:masters"],
            Usage::Client,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = ServerConfig::new(address);
        let client_ca = TrustedAuthorities::of_clients(authority.certificate()).unwrap();
        config.authentication.client_ca = Some(client_ca);
        config.kubelet_client = KubeletClientTls {
            ca: Some(authority.certificate().to_owned()),
            identity: known.then(|| agent_client.into()),
        };
        let shutdown = config.shutdown.clone();
        let store = TestStore::new().await;
        let server = ApiServer::start(config, store.store.clone()).await.unwrap();
        let tls =
            orlop_pki::server_config(&serving.certificate, &serving.key, authority.certificate()).unwrap();
        tokio::spawn(server.serve(listener, tls, shutdown.clone()));
        Self {
            directory,
            authority,
            url: format!("https://{address}"),
            shutdown,
            _store: store,
        }
    }

    async fn config(&self, user: &str, groups: &[&str]) -> Config {
        let path = self.directory.path().join(format!("{user}.conf"));
        let kubeconfig = Kubeconfig {
            server: &self.url,
            cluster: "kubernetes",
            identity: Identity::new(user, groups),
        };
        kubeconfig.ensure(&path, &self.authority).unwrap();
        let read = ClientConfig::read_from(&path).unwrap();
        Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
            .await
            .unwrap()
    }

    pub async fn client(&self, user: &str, groups: &[&str]) -> Client {
        Client::try_from(self.config(user, groups).await).unwrap()
    }
}

fn configmap(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

#[tokio::test]
async fn s01_s02_certificates_name_users_and_none_is_anonymous() {
    let secure = Secure::start().await;
    let admin = secure.client("admin", &["system:masters"]).await;
    Api::<ConfigMap>::default_namespaced(admin)
        .create(&PostParams::default(), &configmap("c"))
        .await
        .unwrap();
    let alice = secure.client("alice", &["devs"]).await;
    let refused = Api::<ConfigMap>::default_namespaced(alice)
        .get("c")
        .await
        .unwrap_err();
    let kube::Error::Api(status) = refused else {
        panic!("{refused}")
    };
    assert_eq!(status.code, 403);
    assert!(status.message.contains("User \"alice\""), "{}", status.message);

    let mut config = secure.config("nobody", &[]).await;
    config.auth_info = kube::config::AuthInfo::default();
    let nobody = Client::try_from(config.clone()).unwrap();
    let refused = Api::<ConfigMap>::default_namespaced(nobody.clone())
        .get("c")
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("system:anonymous"), "{refused}");
    assert_eq!(nobody.apiserver_version().await.unwrap().minor, "36");
    config.auth_info.token = Some("wrong".to_owned().into());
    let wrong = Client::try_from(config).unwrap();
    let refused = Api::<ConfigMap>::default_namespaced(wrong)
        .get("c")
        .await
        .unwrap_err();
    let kube::Error::Api(status) = refused else {
        panic!("{refused}")
    };
    assert_eq!(status.code, 401);
}

#[tokio::test]
async fn w11_a_reflector_converges() {
    let secure = Secure::start().await;
    for streaming in [false, true] {
        let admin = secure.client("admin", &["system:masters"]).await;
        let maps: Api<ConfigMap> = Api::default_namespaced(admin);
        let name = |n: usize| format!("{streaming}-{n}");
        for n in 0..3 {
            maps.create(&PostParams::default(), &configmap(&name(n)))
                .await
                .unwrap();
        }
        let (reader, writer) = reflector::store();
        let mut options = watcher::Config::default();
        if streaming {
            options = options.streaming_lists();
        }
        let stream = watcher(maps.clone(), options).default_backoff().reflect(writer);
        let watching = tokio::spawn(stream.try_for_each(|_| async { Ok(()) }));
        reader.wait_until_ready().await.unwrap();
        assert!(reader.state().len() >= 3);
        maps.delete(&name(0), &DeleteParams::default()).await.unwrap();
        let patch = Patch::Merge(json!({"data": {"k": "v"}}));
        maps.patch(&name(1), &PatchParams::default(), &patch)
            .await
            .unwrap();
        let converged = async {
            loop {
                let state = reader.state();
                let gone = !state.iter().any(|m| m.metadata.name == Some(name(0)));
                let changed = state
                    .iter()
                    .any(|m| m.metadata.name == Some(name(1)) && m.data.is_some());
                if gone && changed {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), converged)
            .await
            .unwrap();
        watching.abort();
    }
}

/// A node agent that answers with the path it was asked for, or refuses.
pub async fn fake_agent(authority: &Authority) -> (u16, mpsc::UnboundedReceiver<String>) {
    fake_agent_signed_by(authority, authority).await
}

/// The same, whose certificate is of one authority, and those of its clients of another.
async fn fake_agent_signed_by(
    own: &Authority,
    clients: &Authority,
) -> (u16, mpsc::UnboundedReceiver<String>) {
    let serving = leaf(own, "system:node:n1", &["system:nodes"], Usage::Server);
    let tls = orlop_pki::server_config(&serving.certificate, &serving.key, clients.certificate()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(tls);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            let is_known = stream.get_ref().1.peer_certificates().is_some();
            let asked = asked.clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let path = request.uri().to_string();
                asked.send(path.clone()).unwrap();
                let (code, text) = if !is_known && !path.contains("/open/") {
                    (401, "Unauthorized")
                } else if path.contains("previous=true") {
                    (400, "previous terminated container \"c\" in pod \"p\" not found")
                } else {
                    (200, "line 1\nline 2\n")
                };
                let body = Full::new(bytes::Bytes::from_static(text.as_bytes()));
                async move { Ok::<_, Infallible>(http::Response::builder().status(code).body(body).unwrap()) }
            });
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move {
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (port, seen)
}

#[tokio::test]
async fn o13_o14_logs_come_from_the_nodes_agent() {
    let secure = Secure::start().await;
    let (port, mut seen) = fake_agent(&secure.authority).await;
    let admin = secure.client("admin", &["system:masters"]).await;
    let nodes: Api<Node> = Api::all(admin.clone());
    let node = json!({"metadata": {"name": "n1"}, "status": {
        "addresses": [{"type": "Hostname", "address": "n1.invalid"}, {"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    nodes
        .create(&PostParams::default(), &serde_json::from_value(node).unwrap())
        .await
        .unwrap();
    let pods: Api<Pod> = Api::default_namespaced(admin);
    let waiting = pod("waiting");
    pods.create(&PostParams::default(), &serde_json::from_value(waiting).unwrap())
        .await
        .unwrap();
    assert_eq!(pods.logs("waiting", &LogParams::default()).await.unwrap(), "");

    let mut bound = pod("p");
    bound["spec"]["nodeName"] = json!("n1");
    pods.create(&PostParams::default(), &serde_json::from_value(bound).unwrap())
        .await
        .unwrap();
    let options = LogParams {
        timestamps: true,
        tail_lines: Some(5),
        ..LogParams::default()
    };
    assert_eq!(pods.logs("p", &options).await.unwrap(), "line 1\nline 2\n");
    assert_eq!(
        seen.recv().await.unwrap(),
        "/containerLogs/default/p/c?timestamps=true&tailLines=5"
    );
    let follow = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let mut lines = Vec::new();
    let mut stream = std::pin::pin!(pods.log_stream("p", &follow).await.unwrap());
    futures::AsyncReadExt::read_to_end(&mut stream, &mut lines)
        .await
        .unwrap();
    assert_eq!(lines, b"line 1\nline 2\n");
    assert_eq!(
        seen.recv().await.unwrap(),
        "/containerLogs/default/p/c?follow=true"
    );
    let previous = LogParams {
        previous: true,
        ..LogParams::default()
    };
    let refused = pods.logs("p", &previous).await.unwrap_err();
    assert!(
        refused.to_string().contains("previous terminated container"),
        "{refused}"
    );
}

/// `--kubelet-client-certificate` need not be given: agents may let anybody ask.
#[tokio::test]
async fn a_server_without_a_certificate_for_agents_asks_as_nobody_in_particular() {
    let secure = Secure::known_to_agents(false).await;
    let (port, _seen) = fake_agent(&secure.authority).await;
    let admin = secure.client("admin", &["system:masters"]).await;
    node_at(&admin, port).await;
    let pods: Api<Pod> = Api::default_namespaced(admin);
    for name in ["open", "shut"] {
        let mut bound = pod(name);
        bound["spec"]["nodeName"] = json!("n1");
        pods.create(&PostParams::default(), &serde_json::from_value(bound).unwrap())
            .await
            .unwrap();
    }
    let options = LogParams::default();
    assert_eq!(pods.logs("open", &options).await.unwrap(), "line 1\nline 2\n");
    let kube::Error::Api(refused) = pods.logs("shut", &options).await.unwrap_err() else {
        panic!("no answer")
    };
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (
            401,
            "the server has asked for the client to provide credentials ( pods/log shut)"
        )
    );
}

/// Node n1, whose agent answers at this port of the machine.
async fn node_at(admin: &kube::Client, port: u16) {
    let nodes: Api<Node> = Api::all(admin.clone());
    let node = json!({"metadata": {"name": "n1"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    nodes
        .create(&PostParams::default(), &serde_json::from_value(node).unwrap())
        .await
        .unwrap();
}

/// `kubectl logs --insecure-skip-tls-verify-backend`.
#[tokio::test]
async fn logs_of_an_unknown_agent_are_for_who_asks_for_them() {
    let secure = Secure::start().await;
    let stranger = Authority::ephemeral("stranger").unwrap();
    let (port, _seen) = fake_agent_signed_by(&stranger, &secure.authority).await;
    let admin = secure.client("admin", &["system:masters"]).await;
    node_at(&admin, port).await;
    let pods: Api<Pod> = Api::default_namespaced(admin.clone());
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = json!("n1");
    pods.create(&PostParams::default(), &serde_json::from_value(bound).unwrap())
        .await
        .unwrap();
    let log = |query: &str| {
        let path = format!("/api/v1/namespaces/default/pods/p/log?{query}");
        admin.request_text(http::Request::get(path).body(Vec::new()).unwrap())
    };
    let text = log("insecureSkipTLSVerifyBackend=true").await.unwrap();
    assert_eq!(text, "line 1\nline 2\n");
    let refused = log("").await.unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
}

/// "should proxy logs on node with explicit kubelet port using proxy subresource"
#[tokio::test]
async fn the_agent_of_a_node_is_reached_by_its_port_as_well() {
    let secure = Secure::start().await;
    let (port, mut seen) = fake_agent(&secure.authority).await;
    let admin = secure.client("admin", &["system:masters"]).await;
    node_at(&admin, port).await;
    for name in ["n1".to_owned(), format!("n1:{port}"), format!("https:n1:{port}")] {
        let request = http::Request::get(format!("/api/v1/nodes/{name}/proxy/logs/"));
        let text = admin
            .request_text(request.body(Vec::new()).unwrap())
            .await
            .unwrap();
        assert_eq!(text, "line 1\nline 2\n", "{name}");
        assert_eq!(seen.recv().await.unwrap(), "/logs/");
    }
}

#[tokio::test]
async fn shutdown_ends_watches_and_lets_requests_finish() {
    let secure = Secure::start().await;
    let admin = secure.client("admin", &["system:masters"]).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(admin);
    let stream = maps.watch(&kube::api::WatchParams::default(), "0").await.unwrap();
    let ended = tokio::spawn(stream.collect::<Vec<_>>());
    tokio::task::yield_now().await;
    secure.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), ended)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn w05_the_head_of_a_watch_does_not_wait_for_an_event() {
    let secure = Secure::start().await;
    let admin = secure.client("admin", &["system:masters"]).await;
    let request = http::Request::get("/api/v1/namespaces/none/configmaps?watch=true&resourceVersion=1");
    let answer = admin.send(request.body(kube::client::Body::empty()).unwrap());
    let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
    let answer = answer.expect("headers within 5 s").unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
}
