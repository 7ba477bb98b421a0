//! What one client can do to others: contract §20, G06.
use crate::served::{Served, connect};
use crate::support::{CONFIGMAPS, Cluster, configmap};
use http::{Method, Request};
use http_body_util::Full;
use orlop_apiserver::{FlowConfig, UserInfo};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";

#[tokio::test]
async fn answers_name_the_flow_schema_and_the_priority_level() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let uid = |object: serde_json::Value| object["metadata"]["uid"].as_str().unwrap().to_owned();
    let schema = uid(admin.get(&format!("{SCHEMAS}/global-default")).await.ok());
    let level = uid(admin.get(&format!("{LEVELS}/global-default")).await.ok());
    let reply = cluster
        .user(UserInfo::new("alice", ["devs"]))
        .get(CONFIGMAPS)
        .await;
    assert_eq!(reply.code, 403);
    assert_eq!(reply.headers["x-kubernetes-pf-flowschema-uid"], schema.as_str());
    assert_eq!(reply.headers["x-kubernetes-pf-prioritylevel-uid"], level.as_str());
}

#[tokio::test]
async fn bad_flow_control_objects_are_refused_and_defaults_filled() {
    let admin = Cluster::start().await.admin();
    let level = json!({"metadata": {"name": "own"}, "spec": {"type": "Limited", "limited":
        {"limitResponse": {"type": "Queue", "queuing": {}}}}});
    let made = admin.post(LEVELS, level).await.ok();
    assert_eq!(
        made["spec"]["limited"],
        json!({"nominalConcurrencyShares": 30, "lendablePercent": 0, "limitResponse":
            {"type": "Queue", "queuing": {"queues": 64, "handSize": 8, "queueLengthLimit": 50}}})
    );
    let refused = admin
        .post(
            LEVELS,
            json!({"metadata": {"name": "x"}, "spec": {"type": "Soft"}}),
        )
        .await
        .refused(422);
    assert!(
        refused.contains("supported values: \"Exempt\", \"Limited\""),
        "{refused}"
    );
    let schema = json!({"metadata": {"name": "x"}, "spec": {"matchingPrecedence": 10001,
        "priorityLevelConfiguration": {"name": "own"}}});
    let refused = admin.post(SCHEMAS, schema).await.refused(422);
    assert!(refused.contains("must not be greater than 10000"), "{refused}");
}

/// A body that never comes: its seat is held as long as the answer lives.
async fn stuck(served: &Served, user: &str) -> TlsStream<TcpStream> {
    let leaf = served.leaf(user, &["devs"]);
    let mut stream = connect(served.authority.certificate(), served.address, Some(&leaf)).await;
    let head = format!(
        "POST {CONFIGMAPS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

async fn may_write(served: &Served, users: &[&str]) {
    let admin = served.admin();
    let subjects: Vec<_> = users
        .iter()
        .map(|user| json!({"kind": "User", "name": user}))
        .collect();
    let binding = json!({"metadata": {"name": "write"}, "roleRef": {"kind": "ClusterRole", "name": "edit"},
        "subjects": subjects});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    admin.post(bindings, binding).await.ok();
}

/// Waits until a request of this user is turned away, which it is once others hold every seat.
async fn turned_away(served: &Served, user: &str, method: Method) -> crate::support::Reply {
    let leaf = served.leaf(user, &["devs"]);
    for _ in 0..500 {
        let call = served.call(Some(&leaf), method.clone(), CONFIGMAPS, &[], "");
        if let Ok(reply) = tokio::time::timeout(Duration::from_millis(500), call).await
            && reply.code == 429
        {
            return reply;
        }
    }
    panic!("never turned away");
}

#[tokio::test]
async fn g06_beyond_the_plain_limits_429_with_retry_after_and_administrators_still_in() {
    let served = Served::start(|config, _| {
        config.flow = FlowConfig {
            reads: 2,
            writes: 2,
            fair: false,
        };
    })
    .await;
    may_write(&served, &["mallory"]).await;
    let (_one, _two) = (stuck(&served, "mallory").await, stuck(&served, "mallory").await);
    let reply = turned_away(&served, "mallory", Method::POST).await;
    assert_eq!(reply.headers["retry-after"], "1");
    assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(reply.text, "Too many requests, please try again later.\n");
    // Reads are counted apart, and administrators not at all.
    let read = served
        .call(
            Some(&served.leaf("mallory", &[])),
            Method::GET,
            CONFIGMAPS,
            &[],
            "",
        )
        .await;
    assert_eq!(read.code, 200);
    served.admin().post(CONFIGMAPS, configmap("c", "1")).await.ok();
}

#[tokio::test]
async fn g06_an_abusive_client_waits_behind_itself_and_starves_nobody() {
    let served = Served::start(|config, _| {
        config.flow = FlowConfig {
            reads: 8,
            writes: 4,
            fair: true,
        };
    })
    .await;
    // Mallory's own level turns away what has no seat; everybody else's is another.
    let admin = served.admin();
    let level = json!({"metadata": {"name": "few"}, "spec": {"type": "Limited", "limited":
        {"nominalConcurrencyShares": 10, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}}});
    admin.post(LEVELS, level).await.ok();
    let schema = json!({"metadata": {"name": "mallory"}, "spec": {"matchingPrecedence": 1000,
        "priorityLevelConfiguration": {"name": "few"}, "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "mallory"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}]}});
    let schema = admin.post(SCHEMAS, schema).await.ok();
    may_write(&served, &["mallory", "alice"]).await;
    let _stuck = stuck(&served, "mallory").await;
    let reply = turned_away(&served, "mallory", Method::GET).await;
    assert_eq!(reply.headers["retry-after"], "1");
    assert_eq!(
        reply.headers["x-kubernetes-pf-flowschema-uid"],
        schema["metadata"]["uid"].as_str().unwrap()
    );
    let alice = served
        .call(Some(&served.leaf("alice", &[])), Method::GET, CONFIGMAPS, &[], "")
        .await;
    assert_eq!(alice.code, 200);
}

#[tokio::test]
async fn watches_hold_no_seat_once_they_have_begun() {
    let served = Served::start(|config, _| {
        config.flow = FlowConfig {
            reads: 1,
            writes: 1,
            fair: true,
        };
    })
    .await;
    may_write(&served, &["alice"]).await;
    let alice = served.user(UserInfo::new("alice", ["devs"]));
    let mut watches = Vec::new();
    for _ in 0..50 {
        watches.push(alice.watch(&format!("{CONFIGMAPS}?watch=1")).await);
    }
    alice.get(CONFIGMAPS).await.ok();
}

/// A refusal does not wait for a body that may never come.
#[tokio::test]
async fn who_may_not_write_is_refused_before_the_body_is_read() {
    let served = Served::start(|_, _| {}).await;
    let mut stream = connect(served.authority.certificate(), served.address, None).await;
    let head = format!("POST {CONFIGMAPS} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3000000\r\n\r\n{{");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 64];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await;
    let read = read.expect("an answer although the body is not there").unwrap();
    assert!(
        answer[..read].starts_with(b"HTTP/1.1 403"),
        "{:?}",
        String::from_utf8_lossy(&answer[..read])
    );
}

/// Idle connections, and heads and bodies that come a byte at a time, keep nobody else waiting.
#[tokio::test]
async fn slow_and_idle_clients_keep_nobody_waiting() {
    let served = Served::start(|_, _| {}).await;
    let mut held = Vec::new();
    for n in 0..200 {
        let mut stream = connect(served.authority.certificate(), served.address, None).await;
        if n % 2 == 0 {
            stream
                .write_all(b"GET /api/v1/pods HTTP/1.1\r\nhost: lo")
                .await
                .unwrap();
        }
        held.push(stream);
    }
    let began = std::time::Instant::now();
    let ready = served.call(None, Method::GET, "/readyz", &[], "").await;
    assert_eq!(ready.text, "ok");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

/// A flood over one connection is answered in full: nothing is lost, nothing is left hanging.
#[tokio::test]
async fn a_flood_of_requests_is_answered_to_the_last() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let calls = (0..2000).map(|_| {
        let client = cluster.user(UserInfo::new("flood", ["devs"]));
        async move {
            let request = Request::get(CONFIGMAPS).body(Full::default()).unwrap();
            client.raw(request).await.status().as_u16()
        }
    });
    let codes = futures::future::join_all(calls).await;
    assert!(codes.iter().all(|code| matches!(code, 403 | 429)), "{codes:?}");
    assert_eq!(admin.get("/readyz").await.text, "ok");
}

/// 600 writers at once where there is room for ten: whoever is turned away is told when to come again, and in the end
/// every object is there, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g06_600_requests_beyond_the_limit_are_told_to_retry_and_none_is_lost() {
    const REQUESTS: usize = 600;
    let cluster = Cluster::with(|config| {
        config.flow = FlowConfig {
            reads: 20,
            writes: 10,
            fair: false,
        };
    })
    .await;
    let binding = json!({"metadata": {"name": "write"}, "roleRef": {"kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "User", "name": "writer"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    cluster.admin().post(bindings, binding).await.ok();
    let writers = (0..REQUESTS).map(|number| {
        let writer = cluster.user(UserInfo::new("writer", ["devs"]));
        tokio::spawn(async move {
            let mut refusals = 0;
            loop {
                let reply = writer
                    .post(CONFIGMAPS, configmap(&format!("c{number}"), "1"))
                    .await;
                match reply.code {
                    201 => return refusals,
                    429 => {
                        assert_eq!(reply.headers["retry-after"], "1");
                        assert_eq!(reply.text, "Too many requests, please try again later.\n");
                        refusals += 1;
                        // Sooner than it was told, which makes it worse for everybody.
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    code => panic!("{code}: {}", reply.text),
                }
            }
        })
    });
    let mut refusals = 0;
    for writer in writers.collect::<Vec<_>>() {
        refusals += tokio::time::timeout(Duration::from_secs(120), writer)
            .await
            .unwrap()
            .unwrap();
    }
    assert!(refusals > 0, "there was room for all");
    let list = cluster.admin().get(CONFIGMAPS).await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), REQUESTS);
}
