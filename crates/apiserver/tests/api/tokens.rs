//! Service account tokens. S02, S07–S09, O04.
use crate::support::{Client, Cluster, PODS, pod};
use http::Method;
use orlop_apiserver::TokenConfig;
use serde_json::{Value, json};
use std::path::Path;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

pub async fn cluster() -> Cluster {
    signed_by(tempfile::tempdir().unwrap().path()).await
}

/// With the key in this directory.
async fn signed_by(keys: &Path) -> Cluster {
    let signer = orlop_pki::TokenSigner::ensure(keys).unwrap();
    Cluster::with_tokens(TokenConfig::new(ISSUER, signer)).await
}

async fn account(admin: &Client, name: &str) -> Value {
    admin
        .post(ACCOUNTS, json!({"metadata": {"name": name}}))
        .await
        .ok()
}

async fn token(admin: &Client, spec: Value) -> Value {
    admin
        .post(&format!("{ACCOUNTS}/robot/token"), json!({"spec": spec}))
        .await
        .ok()
}

fn claims(answer: &Value) -> Value {
    use base64::Engine;
    let token = answer["status"]["token"].as_str().unwrap();
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(claims)
            .unwrap(),
    )
    .unwrap()
}

async fn review(admin: &Client, answer: &Value, audiences: &[&str]) -> Value {
    let body = json!({"spec": {"token": answer["status"]["token"], "audiences": audiences}});
    admin.post(REVIEWS, body).await.ok()["status"].clone()
}

#[tokio::test]
async fn s07_a_token_bound_to_a_pod_has_its_claims_and_ends_with_the_pod() {
    let cluster = cluster().await;
    let admin = cluster.admin();
    let robot = account(&admin, "robot").await;
    let mut own = pod("p");
    own["spec"]["serviceAccountName"] = json!("robot");
    let pod = admin.post(PODS, own).await.ok();
    let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]});
    let answer = token(
        &admin,
        json!({"boundObjectRef": bound, "expirationSeconds": 3607}),
    )
    .await;
    let claims = claims(&answer);
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["aud"], json!([ISSUER]));
    assert_eq!(claims["sub"], "system:serviceaccount:default:robot");
    let private = &claims["kubernetes.io"];
    assert_eq!(private["namespace"], "default");
    assert_eq!(private["serviceaccount"]["uid"], robot["metadata"]["uid"]);
    assert_eq!(private["pod"]["uid"], pod["metadata"]["uid"]);
    let from = claims["iat"].as_i64().unwrap();
    assert_eq!(claims["exp"], json!(from + 365 * 24 * 3600));
    assert_eq!(private["warnafter"], json!(from + 3607));

    let status = review(&admin, &answer, &[]).await;
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:robot");
    assert_eq!(
        status["user"]["groups"],
        json!([
            "system:serviceaccounts",
            "system:serviceaccounts:default",
            "system:authenticated"
        ])
    );
    assert_eq!(
        status["user"]["extra"]["authentication.kubernetes.io/pod-name"],
        json!(["p"])
    );
    admin
        .delete(&format!("{PODS}/p"), json!({"gracePeriodSeconds": 0}))
        .await
        .ok();
    let status = review(&admin, &answer, &[]).await;
    assert_eq!(status, json!({"user": {}, "error": "invalid bearer token"}));
}

#[tokio::test]
async fn s07_an_account_made_anew_does_not_take_the_old_ones_tokens() {
    let admin = cluster().await.admin();
    account(&admin, "robot").await;
    let answer = token(&admin, json!({})).await;
    assert_eq!(review(&admin, &answer, &[]).await["authenticated"], true);
    admin.delete(&format!("{ACCOUNTS}/robot"), Value::Null).await.ok();
    account(&admin, "robot").await;
    assert_eq!(review(&admin, &answer, &[]).await["authenticated"], Value::Null);
}

#[tokio::test]
async fn s08_less_than_ten_minutes_are_refused_and_so_are_foreign_objects() {
    let admin = cluster().await.admin();
    account(&admin, "robot").await;
    let path = format!("{ACCOUNTS}/robot/token");
    let refused = admin
        .post(&path, json!({"spec": {"expirationSeconds": 5}}))
        .await
        .refused(422);
    assert!(
        refused.contains("may not specify a duration less than 10 minutes"),
        "{refused}"
    );
    let bound = |kind: &str, name: &str, uid: &str| json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid}}});
    let refused = admin.post(&path, bound("ConfigMap", "x", "")).await.refused(400);
    assert_eq!(refused, "cannot bind token to object of type /v1, Kind=ConfigMap");
    admin.post(&path, bound("Pod", "x", "")).await.refused(404);
    account(&admin, "default").await;
    admin.post(PODS, pod("other")).await.ok();
    assert_eq!(
        admin.post(&path, bound("Pod", "other", "")).await.refused(400),
        "cannot bind token for serviceaccount \"robot\" to pod running with different serviceaccount name."
    );
    let mut own = pod("lg1");
    own["spec"]["serviceAccountName"] = json!("robot");
    admin.post(PODS, own).await.ok();
    let refused = admin.post(&path, bound("Pod", "lg1", "xx")).await.refused(409);
    assert!(
        refused.starts_with("Operation cannot be fulfilled on Pod \"lg1\": the UID in the bound object reference (xx) does not match the UID in record."),
        "{refused}"
    );
    admin
        .post(&format!("{ACCOUNTS}/nobody/token"), json!({}))
        .await
        .refused(404);
}

/// Who says for which account a token is to be means the one that is asked.
#[tokio::test]
async fn s08_a_request_is_for_the_account_that_it_names() {
    let admin = cluster().await.admin();
    let annotations = json!({"kubernetes.io/enforce-mountable-secrets": "true"});
    let made = admin
        .post(
            ACCOUNTS,
            json!({"metadata": {"name": "robot", "annotations": annotations}}),
        )
        .await;
    assert_eq!(
        made.warnings(),
        [
            "299 - \"metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets\""
        ]
    );
    let uid = made.ok()["metadata"]["uid"].clone();
    let path = format!("{ACCOUNTS}/robot/token");
    let named = |metadata: Value| admin.post(&path, json!({"metadata": metadata, "spec": {}}));
    let message = named(json!({"name": "other"})).await.refused(422);
    assert!(
        message.contains("must match the service account name if specified"),
        "{message}"
    );
    let message = named(json!({"namespace": "other"})).await.refused(400);
    assert!(message.contains("does not match the namespace"), "{message}");
    assert_eq!(
        named(json!({"uid": "u"})).await.refused(409),
        format!(
            "Operation cannot be fulfilled on TokenRequest.authentication.k8s.io \"robot\": the UID in the token request (u) does not match the UID of the service account ({})",
            uid.as_str().unwrap()
        )
    );
    let answer = named(json!({"uid": uid})).await.ok();
    assert_eq!(answer["metadata"]["uid"], uid);
}

#[tokio::test]
async fn s09_a_foreign_audience_is_not_authenticated() {
    let admin = cluster().await.admin();
    account(&admin, "robot").await;
    let answer = token(&admin, json!({"audiences": ["vault"]})).await;
    assert_eq!(review(&admin, &answer, &[]).await["authenticated"], Value::Null);
    assert_eq!(
        review(&admin, &answer, &["other"]).await["authenticated"],
        Value::Null
    );
    let status = review(&admin, &answer, &["other", "vault"]).await;
    assert_eq!(status["audiences"], json!(["vault"]));
    admin.post(REVIEWS, json!({"spec": {}})).await.refused(400);
}

#[tokio::test]
async fn o04_without_the_account_no_pod_and_with_it_a_token_volume() {
    let admin = cluster().await.admin();
    assert_eq!(
        admin.post(PODS, pod("p1")).await.refused(403),
        "pods \"p1\" is forbidden: error looking up service account default/default: serviceaccount \"default\" not found"
    );
    account(&admin, "default").await;
    let made = admin.post(PODS, pod("p1")).await.ok();
    let volume = &made["spec"]["volumes"][0];
    let name = volume["name"].as_str().unwrap();
    assert!(name.starts_with("kube-api-access-") && name.len() == 21, "{name}");
    assert_eq!(
        made["spec"]["containers"][0]["volumeMounts"],
        json!([{"name": name, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}])
    );
    assert_eq!(made["spec"]["tolerations"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_issuer_is_described() {
    let admin = cluster().await.admin();
    let document = admin
        .send(Method::GET, "/.well-known/openid-configuration", &[], "")
        .await
        .ok();
    assert_eq!(document["jwks_uri"], format!("{ISSUER}/openid/v1/jwks"));
    let keys = admin.get("/openid/v1/jwks").await;
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
    assert_eq!(keys.json()["keys"].as_array().unwrap().len(), 1);
}

/// An issuer that gets another name goes on to take what it issued before.
#[tokio::test]
async fn tokens_of_a_former_issuer_are_taken_and_keys_are_where_it_says() {
    const FORMER: &str = "https://former.example";
    let directory = tempfile::tempdir().unwrap();
    let signer = || orlop_pki::TokenSigner::ensure(directory.path()).unwrap();
    let cluster = Cluster::with_tokens(TokenConfig {
        other_issuers: vec![FORMER.to_owned()],
        key_set_url: Some("https://keys.example/jwks".to_owned()),
        ..TokenConfig::new(ISSUER, signer())
    })
    .await;
    let admin = cluster.admin();
    let robot = account(&admin, "robot").await;
    let answer = token(&admin, json!({})).await;
    assert_eq!(claims(&answer)["iss"], ISSUER);
    assert_eq!(claims(&answer)["aud"], json!([ISSUER, FORMER]));
    for (issuer, taken) in [(FORMER, true), ("https://stranger.example", false)] {
        let from = jiff::Timestamp::now().as_second();
        let claims = json!({"iss": issuer, "sub": "system:serviceaccount:default:robot", "aud": [FORMER],
            "iat": from, "nbf": from, "exp": from + 600, "kubernetes.io": {"namespace": "default",
                "serviceaccount": {"name": "robot", "uid": robot["metadata"]["uid"]}}});
        let former = json!({"status": {"token": signer().sign(&claims).unwrap()}});
        let status = review(&admin, &former, &[]).await;
        assert_eq!(status["authenticated"] == true, taken, "{issuer}: {status}");
    }
    let document = admin
        .send(Method::GET, "/.well-known/openid-configuration", &[], "")
        .await
        .ok();
    assert_eq!(document["issuer"], ISSUER);
    assert_eq!(document["jwks_uri"], "https://keys.example/jwks");
}

/// Tokens that a controller keeps in Secrets hold as long as the Secret has them.
#[tokio::test]
async fn a_token_that_is_kept_in_a_secret_ends_with_the_secret() {
    use base64::Engine;
    let keys = tempfile::tempdir().unwrap();
    let cluster = signed_by(keys.path()).await;
    let admin = cluster.admin();
    let robot = account(&admin, "robot").await;
    let private = |member: &str| format!("kubernetes.io/serviceaccount/{member}");
    let kept = |secret: &str, uid: &Value| {
        let mut claims =
            json!({"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:robot"});
        claims[private("namespace")] = json!("default");
        claims[private("secret.name")] = json!(secret);
        claims[private("service-account.name")] = json!("robot");
        claims[private("service-account.uid")] = uid.clone();
        let signer = orlop_pki::TokenSigner::ensure(keys.path()).unwrap();
        signer.sign(&claims).unwrap()
    };
    let token = kept("s", &robot["metadata"]["uid"]);
    let answer = json!({"status": {"token": token}});
    assert_eq!(
        review(&admin, &answer, &[]).await["authenticated"],
        Value::Null,
        "nobody keeps it yet"
    );
    let secrets = "/api/v1/namespaces/default/secrets";
    let encoded = base64::engine::general_purpose::STANDARD.encode(&token);
    let secret = json!({"type": "kubernetes.io/service-account-token", "data": {"token": encoded},
        "metadata": {"name": "s", "annotations": {"kubernetes.io/service-account.name": "robot"}}});
    admin.post(secrets, secret).await.ok();
    let status = review(&admin, &answer, &[]).await;
    assert_eq!(
        status["user"]["username"], "system:serviceaccount:default:robot",
        "{status}"
    );
    assert_eq!(status["user"]["uid"], robot["metadata"]["uid"]);
    assert_eq!(status["user"]["extra"], Value::Null);
    assert_eq!(
        review(&admin, &answer, &["elsewhere"]).await["authenticated"],
        Value::Null
    );
    for other in [
        kept("s", &json!("before")),
        kept("other", &robot["metadata"]["uid"]),
    ] {
        let answer = json!({"status": {"token": other}});
        assert_eq!(review(&admin, &answer, &[]).await["authenticated"], Value::Null);
    }
    // The Secret says when it was used; who labels it as invalid ends it.
    let path = format!("{secrets}/s");
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let mut watch = admin
        .watch(&format!("{secrets}?watch=true&fieldSelector=metadata.name%3Ds"))
        .await;
    let mut labels = Value::Null;
    while labels.is_null() {
        labels = watch.next().await.unwrap()["object"]["metadata"]["labels"].clone();
    }
    assert_eq!(labels, json!({"kubernetes.io/legacy-token-last-used": today}));
    let invalid =
        |since: Value| json!({"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": since}}});
    admin.patch(&path, "merge", invalid(json!(today))).await.ok();
    assert_eq!(review(&admin, &answer, &[]).await["authenticated"], Value::Null);
    admin.patch(&path, "merge", invalid(Value::Null)).await.ok();
    assert_eq!(review(&admin, &answer, &[]).await["authenticated"], true);
    let tracked =
        "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking";
    assert_eq!(admin.get(tracked).await.ok()["data"]["since"], today.as_str());
    admin.delete(&path, Value::Null).await.ok();
    assert_eq!(review(&admin, &answer, &[]).await["authenticated"], Value::Null);
}
