//! Who is recognised, and by what. S01, S02; contract §15, §16.
use crate::aggregation::until;
use crate::served::{Served, leaf, serving};
use crate::support::{CONFIGMAPS, Cluster, PODS};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use orlop_apiserver::{
    AuthorizationMode, Config, FrontProxyConfig, OidcConfig, StructuredAuthentication, TokenConfig,
    TrustedAuthorities, UserInfo,
};
use orlop_pki::{Authority, TokenSigner, Usage};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

fn groups(user: &Value) -> Vec<&str> {
    user["groups"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

/// S01, and §15.2: a bad certificate is answered, not cut off.
#[tokio::test]
async fn s01_a_certificate_names_its_user_and_one_of_another_authority_is_401() {
    let served = Served::start(|_, _| {}).await;
    let alice = served
        .whoami(Some(&served.leaf("alice", &["devs"])), &[])
        .await
        .unwrap();
    assert_eq!(alice["username"], "alice");
    assert_eq!(groups(&alice), ["devs", "system:authenticated"]);
    let id = &alice["extra"]["authentication.kubernetes.io/credential-id"][0];
    assert!(id.as_str().unwrap().starts_with("X509SHA256="), "{id}");
    let stranger = Authority::ephemeral("stranger").unwrap();
    let stranger = leaf(&stranger, "admin", &["system:masters"], Usage::Client);
    assert_eq!(served.whoami(Some(&stranger), &[]).await, Err(401));
    // Nor does a serving certificate of the right authority name a user.
    let server = leaf(&served.authority, "admin", &["system:masters"], Usage::Server);
    assert_eq!(served.whoami(Some(&server), &[]).await, Err(401));
}

#[tokio::test]
async fn s02_static_tokens_name_their_users_and_a_wrong_one_is_401() {
    let served = Served::start(|config, _| {
        config.authentication.static_tokens = Some("t1,alice,7,\"devs,ops\"\n".to_owned());
    })
    .await;
    let alice = served.with_token("t1").await.unwrap();
    assert_eq!(
        (&alice["username"], &alice["uid"]),
        (&json!("alice"), &json!("7"))
    );
    assert_eq!(groups(&alice), ["devs", "ops", "system:authenticated"]);
    assert_eq!(served.with_token("t2").await, Err(401));
    let nobody = served.call(None, Method::GET, PODS, &[], "").await;
    assert!(nobody.refused(403).contains("system:anonymous"));
    let review = json!({"spec": {"token": "t1"}});
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let status = served.admin().post(path, review).await.ok()["status"].clone();
    assert_eq!(
        (&status["authenticated"], &status["user"]["username"]),
        (&json!(true), &json!("alice"))
    );
    let encoded = format!(
        "base64url.bearer.authorization.k8s.io.{}",
        URL_SAFE_NO_PAD.encode("t1")
    );
    let protocols = format!("v5.channel.k8s.io, {encoded}");
    let by_websocket = served
        .whoami(None, &[("sec-websocket-protocol", &protocols)])
        .await;
    assert_eq!(by_websocket.unwrap()["username"], "alice");
}

#[tokio::test]
async fn without_anonymous_requests_without_credentials_are_401() {
    let served = Served::start(|config, _| config.authentication.anonymous = false).await;
    let nobody = served.call(None, Method::GET, "/livez", &[], "").await;
    assert_eq!(nobody.refused(401), "Unauthorized");
    served
        .whoami(Some(&served.leaf("alice", &[])), &[])
        .await
        .unwrap();
}

/// §15.6.
#[tokio::test]
async fn a_bootstrap_token_counts_while_its_secret_says_so() {
    let served = Served::start(|config, _| config.authentication.bootstrap_tokens = true).await;
    let token = "abcdef.0123456789abcdef";
    assert_eq!(served.with_token(token).await, Err(401));
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    let data = |groups: &str| {
        json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "stringData": {
            "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
            "expiration": "2999-01-01T00:00:00Z", "auth-extra-groups": groups}})
    };
    let admin = served.admin();
    admin
        .post(secrets, data("system:bootstrappers:kubeadm:x"))
        .await
        .ok();
    let node = served.with_token(token).await.unwrap();
    assert_eq!(node["username"], "system:bootstrap:abcdef");
    assert_eq!(
        groups(&node),
        [
            "system:bootstrappers",
            "system:bootstrappers:kubeadm:x",
            "system:authenticated"
        ]
    );
    let path = format!("{secrets}/bootstrap-token-abcdef");
    let over = json!({"data": {"expiration": STANDARD.encode("2020-01-01T00:00:00Z")}});
    admin.patch(&path, "merge", over).await.ok();
    assert_eq!(served.with_token(token).await, Err(401));
    admin.delete(&path, Value::Null).await.ok();
    admin.post(secrets, data("")).await.ok();
    served.with_token(token).await.unwrap();
    admin.delete(&path, Value::Null).await.ok();
    assert_eq!(served.with_token(token).await, Err(401));
}

/// §15.1. Upstream follows the files of `--client-ca-file` and `--requestheader-client-ca-file`.
#[tokio::test]
async fn authorities_that_are_replaced_count_at_once_on_open_connections_too() {
    let (new, front) = (
        Authority::ephemeral("new").unwrap(),
        Authority::ephemeral("front").unwrap(),
    );
    let mut clients = None;
    let served = Served::start(|config, _| {
        clients = config.authentication.client_ca.clone();
        let proxies = TrustedAuthorities::of_front_proxies(front.certificate()).unwrap();
        config.authentication.front_proxy = Some(FrontProxyConfig::usual(proxies));
    })
    .await;
    let clients = clients.unwrap();
    let old = served.leaf("alice", &[]);
    let bob = leaf(&new, "bob", &[], Usage::Client);
    assert_eq!(served.whoami(Some(&bob), &[]).await, Err(401));
    let mut open = served.connection(Some(&old)).await;
    assert_eq!(open.whoami(&[]).await.unwrap()["username"], "alice");

    clients.replace(new.certificate()).unwrap();
    assert_eq!(served.whoami(Some(&bob), &[]).await.unwrap()["username"], "bob");
    assert_eq!(served.whoami(Some(&old), &[]).await, Err(401));
    assert_eq!(open.whoami(&[]).await, Err(401));

    // Another server may still take what the old one has signed.
    let both = format!("{}{}", served.authority.certificate(), new.certificate());
    let told = |_: &str, map: &Value| map["data"]["client-ca-file"] == both;
    let maps = "/api/v1/namespaces/kube-system/configmaps";
    until(&served.admin(), maps, "extension-apiserver-authentication", told).await;
}

/// §21. What other servers tell extension servers is kept; what somebody takes away is told again.
#[tokio::test]
async fn extension_servers_are_told_of_the_authorities_of_all_servers() {
    let another = Authority::ephemeral("another").unwrap();
    let served = Served::start(|_, _| {}).await;
    let admin = served.admin();
    let maps = "/api/v1/namespaces/kube-system/configmaps";
    let path = format!("{maps}/extension-apiserver-authentication");
    let own = served.authority.certificate();
    let theirs = json!({"data": {"client-ca-file": another.certificate()}});
    admin.patch(&path, "merge", theirs).await.ok();
    let both = format!("{}{own}", another.certificate());
    let told = |_: &str, map: &Value| map["data"]["client-ca-file"] == both;
    until(&admin, maps, "extension-apiserver-authentication", told).await;
    admin.delete(&path, Value::Null).await.ok();
    let told = |_: &str, map: &Value| map["data"]["client-ca-file"] == own;
    until(&admin, maps, "extension-apiserver-authentication", told).await;
}

/// §15.3.
#[tokio::test]
async fn a_front_proxys_headers_count_from_the_proxy_only() {
    let front = Authority::ephemeral("front").unwrap();
    let proxy = leaf(&front, "front-proxy-client", &[], Usage::Client);
    let other = leaf(&front, "other", &[], Usage::Client);
    let ca = TrustedAuthorities::of_front_proxies(front.certificate()).unwrap();
    let served = Served::start(|config, _| {
        config.authentication.front_proxy = Some(FrontProxyConfig::usual(ca));
    })
    .await;
    let headers = [
        ("x-remote-user", "carol"),
        ("x-remote-uid", "9"),
        ("x-remote-group", "devs"),
        ("x-remote-group", "ops"),
        ("x-remote-extra-example.org%2fscope", "a"),
    ];
    let carol = served.whoami(Some(&proxy), &headers).await.unwrap();
    assert_eq!(
        (&carol["username"], &carol["uid"]),
        (&json!("carol"), &json!("9"))
    );
    assert_eq!(groups(&carol), ["devs", "ops", "system:authenticated"]);
    assert_eq!(carol["extra"], json!({"example.org/scope": ["a"]}));
    assert_eq!(served.whoami(Some(&other), &headers).await, Err(401));
    assert_eq!(served.whoami(Some(&proxy), &[]).await, Err(401));
    let alice = served
        .whoami(Some(&served.leaf("alice", &[])), &headers)
        .await
        .unwrap();
    assert_eq!(alice["username"], "alice");
    let map = served
        .admin()
        .get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")
        .await
        .ok();
    assert_eq!(map["data"]["client-ca-file"], served.authority.certificate());
    assert_eq!(map["data"]["requestheader-client-ca-file"], front.certificate());
    assert_eq!(
        map["data"]["requestheader-allowed-names"],
        r#"["front-proxy-client"]"#
    );
}

/// A provider that counts how often it is asked for its keys.
async fn provider(authority: &Authority, signer: &TokenSigner) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let acceptor = TlsAcceptor::from(serving(authority));
    let (asked, keys) = (
        Arc::new(AtomicUsize::new(0)),
        json!({"keys": [signer.public().jwk().unwrap()]}),
    );
    let (url, counted) = (issuer.clone(), asked.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, url, keys, counted) =
                (acceptor.clone(), url.clone(), keys.clone(), counted.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let answer = service_fn(move |request: Request<Incoming>| {
                    let document = match request.uri().path() {
                        "/.well-known/openid-configuration" => {
                            json!({"issuer": url, "jwks_uri": format!("{url}/keys")})
                        }
                        _ => {
                            counted.fetch_add(1, Ordering::SeqCst);
                            keys.clone()
                        }
                    };
                    let body = Full::new(Bytes::from(document.to_string()));
                    async move { Ok::<_, Infallible>(Response::new(body)) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    (issuer, asked)
}

#[tokio::test]
async fn tokens_of_an_openid_provider_are_taken_and_its_keys_asked_for_once() {
    let idp = Authority::ephemeral("idp").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let signer = TokenSigner::ensure(directory.path()).unwrap();
    let (issuer, asked) = provider(&idp, &signer).await;
    let served = Served::start(|config, _| {
        config.authentication.oidc = Some(OidcConfig {
            ca: Some(idp.certificate().to_owned()),
            groups_claim: Some("groups".to_owned()),
            groups_prefix: Some("idp:".to_owned()),
            algorithms: vec!["ES256".to_owned()],
            ..OidcConfig::new(issuer.clone(), "kubernetes")
        });
    })
    .await;
    let claims = json!({"iss": issuer, "aud": "kubernetes", "sub": "dave", "groups": ["devs"], "exp": 4_000_000_000_u64});
    let token = |change: &[(&str, Value)]| {
        let mut claims = claims.clone();
        for (key, value) in change {
            claims[*key] = value.clone();
        }
        signer.sign(&claims).unwrap()
    };
    for _ in 0..3 {
        let dave = served.with_token(&token(&[])).await.unwrap();
        assert_eq!(dave["username"], format!("{issuer}#dave"));
        assert_eq!(groups(&dave), ["idp:devs", "system:authenticated"]);
    }
    assert_eq!(
        served.with_token(&token(&[("aud", json!("other"))])).await,
        Err(401)
    );
    assert_eq!(served.with_token(&token(&[("exp", json!(1000))])).await, Err(401));
    let other = tempfile::tempdir().unwrap();
    let forged = TokenSigner::ensure(other.path()).unwrap().sign(&claims).unwrap();
    assert_eq!(served.with_token(&forged).await, Err(401));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// Providers of a file, whose claims become users by expressions; another file takes its place while the server runs.
#[tokio::test]
async fn a_file_says_whose_tokens_are_taken_and_for_whom_until_it_is_replaced() {
    let idp = Authority::ephemeral("idp").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let signer = TokenSigner::ensure(directory.path()).unwrap();
    let (issuer, _) = provider(&idp, &signer).await;
    let config = |rule: &str| {
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
            "anonymous": {"enabled": true, "conditions": [{"path": "/livez"}]},
            "jwt": [{
                "issuer": {"url": issuer, "audiences": ["a", "b"], "audienceMatchPolicy": "MatchAny",
                    "certificateAuthority": idp.certificate()},
                "claimMappings": {"username": {"expression": "'idp:' + claims.sub"},
                    "groups": {"expression": "claims.roles.filter(r, r != 'none')"},
                    "extra": [{"key": "example.org/level", "valueExpression": "claims.level"}]},
                "userValidationRules": [{"expression": rule, "message": "not here"}]}]})
        .to_string()
    };
    let structured = StructuredAuthentication::new(&config("user.username != 'idp:eve'"), &[]).unwrap();
    let served = Served::start(|config, _| config.authentication.structured = Some(structured.clone())).await;
    let token = |sub: &str, audience: &str| {
        let claims = json!({"iss": issuer, "aud": audience, "sub": sub, "roles": ["devs", "none"], "level": "high",
            "exp": 4_000_000_000_u64});
        signer.sign(&claims).unwrap()
    };
    let dave = served.with_token(&token("dave", "b")).await.unwrap();
    assert_eq!(dave["username"], "idp:dave");
    assert_eq!(groups(&dave), ["devs", "system:authenticated"]);
    assert_eq!(dave["extra"], json!({"example.org/level": ["high"]}));
    assert_eq!(served.with_token(&token("dave", "c")).await, Err(401));
    assert_eq!(served.with_token(&token("eve", "a")).await, Err(401));
    let anybody = async |path: &str| served.call(None, Method::GET, path, &[], "").await.code;
    assert_eq!((anybody("/livez").await, anybody("/readyz").await), (200, 401));
    structured
        .replace(Ok(&config("user.username != 'idp:dave'")))
        .unwrap();
    served.with_token(&token("eve", "a")).await.unwrap();
    assert_eq!(served.with_token(&token("dave", "b")).await, Err(401));
    structured.replace(Ok("kind: Nothing")).unwrap_err();
    served.with_token(&token("eve", "a")).await.unwrap();
    let metrics = served.admin().get("/metrics").await.text;
    for status in ["failure", "success"] {
        let counted = metrics.lines().any(|line| {
            line.starts_with("apiserver_authentication_config_controller_automatic_reloads_total{")
                && line.ends_with(&format!("status=\"{status}\"}} 1"))
        });
        assert!(counted, "{status}: {metrics}");
    }
}

/// A remembered signature is no remembered account.
#[tokio::test]
async fn a_service_accounts_token_ends_with_the_account_however_often_it_was_used() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(|config: &mut Config, _| {
        let signer = TokenSigner::ensure(directory.path()).unwrap();
        config.tokens = Some(TokenConfig::new("https://kubernetes.default.svc", signer));
    })
    .await;
    let admin = served.admin();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    admin
        .post(accounts, json!({"metadata": {"name": "robot"}}))
        .await
        .ok();
    let answer = admin
        .post(&format!("{accounts}/robot/token"), json!({"spec": {}}))
        .await
        .ok();
    let token = answer["status"]["token"].as_str().unwrap();
    for _ in 0..3 {
        let robot = served.with_token(token).await.unwrap();
        assert_eq!(robot["username"], "system:serviceaccount:default:robot");
    }
    admin.delete(&format!("{accounts}/robot"), Value::Null).await.ok();
    assert_eq!(served.with_token(token).await, Err(401));
}

/// §16: the authorizers that are named decide, and nobody else; administrators always may.
#[tokio::test]
async fn the_named_authorizers_decide() {
    let cluster =
        |modes: &'static [AuthorizationMode]| Cluster::with(|config| config.authorization = modes.to_vec());
    let alice = || UserInfo::new("alice", ["devs"]);
    let open = cluster(&[AuthorizationMode::AlwaysAllow]).await;
    open.user(alice()).get(CONFIGMAPS).await.ok();
    let closed = cluster(&[AuthorizationMode::AlwaysDeny]).await;
    let refused = closed.user(alice()).get(CONFIGMAPS).await.refused(403);
    assert!(
        refused.ends_with("in the namespace \"default\": Everything is forbidden."),
        "{refused}"
    );
    closed.admin().get(CONFIGMAPS).await.ok();
    // Without the authorizer of nodes, a node is what roles say.
    let roles = cluster(&[AuthorizationMode::Rbac]).await;
    let own = "/api/v1/nodes/n1";
    roles.user(UserInfo::node("n1")).get(own).await.refused(403);
    let usual = cluster(&AuthorizationMode::DEFAULT).await;
    usual.user(UserInfo::node("n1")).get(own).await.refused(404);
}

/// §15.3: confined impersonation of 1.36, and its refusals.
#[tokio::test]
async fn impersonation_may_be_confined_to_what_is_done() {
    let cluster = Cluster::start().await;
    let (admin, alice) = (cluster.admin(), cluster.user(UserInfo::new("alice", ["devs"])));
    let as_bob = |path: &'static str| {
        let alice = alice.clone();
        async move {
            alice
                .send(Method::GET, path, &[("impersonate-user", "bob")], "")
                .await
        }
    };
    assert_eq!(
        as_bob(PODS).await.refused(403),
        "pods is forbidden: User \"alice\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let bind = |user: &str, role: &str| {
        json!({"metadata": {"name": format!("{user}-{role}")}, "roleRef": {"kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": user}]})
    };
    let role = json!({"metadata": {"name": "confined"}, "rules": [
        {"verbs": ["impersonate:user-info"], "apiGroups": ["authentication.k8s.io"], "resources": ["users"], "resourceNames": ["bob"]},
        {"verbs": ["impersonate-on:user-info:list"], "apiGroups": [""], "resources": ["pods"]}]});
    admin.post(roles, role).await.ok();
    admin.post(bindings, bind("alice", "confined")).await.ok();
    admin.post(bindings, bind("bob", "view")).await.ok();
    as_bob(PODS).await.ok();
    assert!(
        as_bob(CONFIGMAPS)
            .await
            .refused(403)
            .contains("impersonate-on:user-info:list")
    );
    let unconfined = json!({"metadata": {"name": "unconfined"}, "rules": [
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"]}]});
    admin.post(roles, unconfined).await.ok();
    admin.post(bindings, bind("alice", "unconfined")).await.ok();
    as_bob(CONFIGMAPS).await.ok();
}

/// The way of a node's certificate: it asks, is approved, gets it signed, and is known by it.
#[tokio::test]
async fn s15_a_certificate_that_was_asked_for_and_signed_authenticates_the_node() {
    let served = Served::start(|_, _| {}).await;
    let admin = served.admin();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut asked = rcgen::CertificateParams::default();
    asked.distinguished_name = rcgen::DistinguishedName::new();
    asked
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, "system:nodes");
    asked
        .distinguished_name
        .push(rcgen::DnType::CommonName, "system:node:n1");
    let pem = asked.serialize_request(&key).unwrap().pem().unwrap();
    let base64 = |text: &str| STANDARD.encode(text);
    let request = json!({"metadata": {"name": "n1"}, "spec": {"request": base64(&pem), "usages": ["client auth", "digital signature"],
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet"}});
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    admin.post(requests, request).await.ok();
    let condition = async || {
        let table = admin.table(&format!("{requests}/n1")).await.ok();
        table["rows"][0]["cells"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone()
    };
    assert_eq!(condition().await, "Pending");
    let approval = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "R", "message": "m"}]}});
    admin
        .patch(&format!("{requests}/n1/approval"), "merge", approval)
        .await
        .ok();
    assert_eq!(condition().await, "Approved");
    let request = orlop_pki::CertificateRequest::parse(&pem).unwrap();
    let signed = served
        .authority
        .sign_request(
            &request,
            orlop_pki::Usage::Client,
            std::time::Duration::from_secs(3600),
        )
        .unwrap();
    let status = json!({"status": {"certificate": base64(&signed)}});
    admin
        .patch(&format!("{requests}/n1/status"), "merge", status)
        .await
        .ok();
    assert_eq!(condition().await, "Approved,Issued");
    let made = admin.get(&format!("{requests}/n1")).await.ok();
    let issued = made["status"]["certificate"].as_str().unwrap();
    let issued = STANDARD.decode(issued).unwrap();
    let leaf = orlop_pki::Leaf {
        certificate: String::from_utf8(issued).unwrap(),
        key: key.serialize_pem(),
    };
    let user = served.whoami(Some(&leaf), &[]).await.unwrap();
    assert_eq!(user["username"], "system:node:n1");
    assert_eq!(user["groups"], json!(["system:nodes", "system:authenticated"]));
}
