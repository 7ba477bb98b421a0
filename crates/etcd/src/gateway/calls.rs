//! Requests as curl makes them, and what they are answered.
use crate::http::Services;
use crate::{Face, Limits, Member, Progress};
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use orlop_store::embedded::EmbeddedStore;
use serde_json::{Value, json};
use tokio::time::{Duration, timeout};

/// Nothing here takes as long.
const ANSWER_MAX: Duration = Duration::from_secs(20);

struct Api(Services);

impl Api {
    fn new(limits: Limits) -> Self {
        let store = EmbeddedStore::in_memory().unwrap();
        Self(Services::new(
            Face::new(store, Member::named("m")).with_limits(limits),
        ))
    }

    async fn post(&self, path: &str, text: &str) -> Response<crate::unary::Answer> {
        let body = Full::new(Bytes::copy_from_slice(text.as_bytes()));
        let request = Request::post(path).body(body).unwrap();
        timeout(ANSWER_MAX, self.0.clone().answer(request)).await.unwrap()
    }

    async fn ask(&self, path: &str, question: Value) -> (StatusCode, Value) {
        let response = self.post(path, &question.to_string()).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }
}

/// The next line of an answer that has many.
async fn line(response: &mut Response<crate::unary::Answer>) -> Value {
    let frame = timeout(ANSWER_MAX, response.body_mut().frame()).await.unwrap();
    serde_json::from_slice(&frame.unwrap().unwrap().into_data().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_put_read_and_changed_by_transactions() {
    let api = Api::new(Limits::default());
    let (status, put) = api
        .ask("/v3/kv/put", json!({"key": "Zm9v", "value": "YmFy"}))
        .await;
    assert_eq!(
        (status, &put["header"]["revision"]),
        (StatusCode::OK, &json!("2"))
    );
    let (_, found) = api.ask("/v3beta/kv/range", json!({"key": "Zm9v"})).await;
    assert_eq!(
        found["kvs"],
        json!([{"key": "Zm9v", "create_revision": "2", "mod_revision": "2", "version": "1", "value": "YmFy"}])
    );
    let txn = json!({
        "compare": [{"target": "VERSION", "key": "Zm9v", "version": "1"}],
        "success": [{"requestDeleteRange": {"key": "Zm9v"}}, {"requestPut": {"key": "YQ=="}}],
    });
    let (_, done) = api.ask("/v3/kv/txn", txn).await;
    assert_eq!(done["succeeded"], json!(true));
    assert_eq!(
        done["responses"][0]["response_delete_range"]["deleted"],
        json!("1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_says_why_in_http_and_in_grpcs_codes() {
    let api = Api::new(Limits::default());
    for (path, question, http, code, text) in [
        ("/v3/kv/put", "{}", 400, 3, "etcdserver: key is not provided"),
        ("/v3/kv/put", "", 400, 3, "etcdserver: key is not provided"),
        (
            "/v3/lease/revoke",
            r#"{"ID":"7"}"#,
            404,
            5,
            "etcdserver: requested lease not found",
        ),
        (
            "/v3/kv/range",
            r#"{"key":"YQ==","revision":"99"}"#,
            400,
            11,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        (
            "/v3/election/resign",
            "{}",
            500,
            2,
            "\"leader\" field must be provided",
        ),
        (
            "/v3/election/leader",
            r#"{"name":"YQ=="}"#,
            500,
            2,
            "election: no leader",
        ),
        (
            "/v3/maintenance/downgrade",
            r#"{"action":0,"version":"3.0"}"#,
            400,
            3,
            "etcdserver: invalid downgrade target version",
        ),
        (
            "/v3/auth/user/get",
            r#"{"name":"a"}"#,
            400,
            9,
            "etcdserver: user name not found",
        ),
    ] {
        let response = api.post(path, question).await;
        assert_eq!(response.status().as_u16(), http, "{path} {question}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let error: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            error,
            json!({"error": text, "code": code, "message": text}),
            "{path} {question}"
        );
    }
    assert_eq!(
        api.post("/v3/kv/put", "garbage").await.status(),
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        api.post("/v3/nothing", "{}").await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_a_line_for_every_answer() {
    let api = Api::new(Limits::default());
    api.ask("/v3/kv/put", json!({"key": "Zm9v", "value": "YmFy"}))
        .await;
    let asked = r#"{"create_request":{"key":"Zm9v","start_revision":"2"}}"#;
    let mut watch = api.post("/v3/watch", asked).await;
    assert_eq!(line(&mut watch).await["result"]["created"], json!(true));
    let events = line(&mut watch).await;
    assert_eq!(events["result"]["events"][0]["kv"]["value"], json!("YmFy"));
    api.ask("/v3/kv/deleterange", json!({"key": "Zm9v"})).await;
    assert_eq!(
        line(&mut watch).await["result"]["events"][0]["type"],
        json!("DELETE")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_before_history_and_one_of_nothing_are_refused() {
    let api = Api::new(Limits::default());
    for (asked, reason) in [
        (
            r#"{"create_request":{"key":"YQ==","start_revision":"-1"}}"#,
            "etcdserver: mvcc: required revision has been compacted",
        ),
        (
            r#"{"create_request":{"key":"Yg==","range_end":"YQ=="}}"#,
            "mvcc: watcher range is empty",
        ),
    ] {
        let mut watch = api.post("/v3/watch", asked).await;
        let refused = line(&mut watch).await;
        assert_eq!(refused["result"]["canceled"], json!(true), "{refused}");
        assert_eq!(refused["result"]["watch_id"], json!("-1"), "{refused}");
        assert_eq!(refused["result"]["cancel_reason"], json!(reason));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_what_is_yet_to_come_is_told_of_progress_when_the_store_has_come_there() {
    let api = Api::new(Limits {
        progress: Progress::Every(Duration::from_millis(20)),
        ..Limits::default()
    });
    let asked = r#"{"create_request":{"key":"YQ==","start_revision":"3","progress_notify":true}}"#;
    let mut watch = api.post("/v3/watch", asked).await;
    assert_eq!(line(&mut watch).await["result"]["created"], json!(true));
    for _ in 0..2 {
        api.ask("/v3/kv/put", json!({"key": "Yg==", "value": "Yg=="}))
            .await;
    }
    let progress = line(&mut watch).await;
    assert_eq!(progress["result"]["header"]["revision"], json!("3"), "{progress}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_had_by_one_after_the_other() {
    let api = Api::new(Limits::default());
    let (_, first) = api.ask("/v3/lock/lock", json!({"name": "bG9jaw=="})).await;
    let second = api.post("/v3/lock/lock", r#"{"name":"bG9jaw=="}"#);
    tokio::pin!(second);
    let waits = tokio::select! {
        _ = &mut second => false,
        () = tokio::time::sleep(Duration::from_millis(50)) => true,
    };
    assert!(waits, "two have the lock");
    api.ask("/v3/lock/unlock", json!({"key": first["key"]})).await;
    assert_eq!(second.await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_while_it_waits_for_a_lock_is_not_waited_for() {
    let api = Api::new(Limits::default());
    let (_, first) = api.ask("/v3/lock/lock", json!({"name": "bG9jaw=="})).await;
    let asked = api.post("/v3/lock/lock", r#"{"name":"bG9jaw=="}"#);
    let gone = timeout(Duration::from_millis(50), asked).await;
    assert!(gone.is_err(), "two have the lock");
    api.ask("/v3/lock/unlock", json!({"key": first["key"]})).await;
    let (status, _) = api.ask("/v3/lock/lock", json!({"name": "bG9jaw=="})).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_proclaims_is_observed_and_resigns() {
    let api = Api::new(Limits::default());
    let name = json!({"name": "ZQ=="});
    let (_, won) = api
        .ask("/v3/election/campaign", json!({"name": "ZQ==", "value": "MQ=="}))
        .await;
    let mut observed = api.post("/v3/election/observe", &name.to_string()).await;
    assert_eq!(line(&mut observed).await["result"]["kv"]["value"], json!("MQ=="));
    let said = json!({"leader": won["leader"], "value": "Mg=="});
    let (status, _) = api.ask("/v3/election/proclaim", said.clone()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(line(&mut observed).await["result"]["kv"]["value"], json!("Mg=="));
    let (_, led) = api.ask("/v3/election/leader", name.clone()).await;
    assert_eq!(led["kv"]["value"], json!("Mg=="));
    api.ask("/v3/election/resign", json!({"leader": won["leader"]}))
        .await;
    let (_, error) = api.ask("/v3/election/leader", name).await;
    assert_eq!(error["message"], json!("election: no leader"));
    let (_, error) = api.ask("/v3/election/proclaim", said).await;
    assert_eq!(error["message"], json!("election: not leader"));
    // Who comes next has another lease, hence another key.
    let next = json!({"name": "ZQ==", "value": "Mw=="});
    api.ask("/v3/election/campaign", next).await;
    assert_eq!(line(&mut observed).await["result"]["kv"]["value"], json!("Mw=="));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_anybody_is_told_that_it_may_ask() {
    let api = Api::new(Limits::default());
    let request = Request::options("/v3/kv/put")
        .body(Full::new(Bytes::new()))
        .unwrap();
    let response = api.0.answer(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_may_come_in_pieces() {
    let api = Api::new(Limits::default());
    for (pieces, status) in [
        (
            &["{\"key\":\"Zm", "9v\",\"value\":\"YmFy\"", "}"][..],
            StatusCode::OK,
        ),
        (&["{\"key\":\"Zm", "9v\""], StatusCode::BAD_REQUEST),
        (&["1", "2"], StatusCode::BAD_REQUEST),
    ] {
        let frames = pieces
            .iter()
            .map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(*piece))));
        let body = StreamBody::new(futures::stream::iter(frames.collect::<Vec<_>>()));
        let request = Request::post("/v3/kv/put").body(body).unwrap();
        let response = timeout(ANSWER_MAX, api.0.clone().answer(request)).await.unwrap();
        assert_eq!(response.status(), status, "{pieces:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_quota_refuses_writes_until_room_is_made_and_the_alarm_disarmed() {
    let api = Api::new(Limits {
        quota_bytes: Some(20_000),
        ..Limits::default()
    });
    let put = json!({"key": "Zm9v", "value": BASE64_STANDARD.encode([7; 1000])});
    let mut revision = Value::Null;
    let error = loop {
        match api.ask("/v3/kv/put", put.clone()).await {
            (StatusCode::OK, answer) => revision = answer["header"]["revision"].clone(),
            (_, error) => break error,
        }
    };
    assert_eq!(
        error["message"],
        json!("etcdserver: mvcc: database space exceeded")
    );
    assert_ne!(revision, Value::Null, "nothing could be written");
    let (_, list) = api.ask("/v3/maintenance/alarm", json!({})).await;
    let alarm = list["alarms"][0].clone();
    assert_eq!(alarm["alarm"], json!("NOSPACE"));
    // What makes room is let through.
    let compacted = api
        .ask(
            "/v3/kv/compaction",
            json!({"revision": revision, "physical": true}),
        )
        .await;
    assert_eq!(compacted.0, StatusCode::OK);
    assert_ne!(api.ask("/v3/kv/put", put.clone()).await.0, StatusCode::OK);
    let disarm = json!({"action": "DEACTIVATE", "memberID": alarm["memberID"], "alarm": "NOSPACE"});
    let written_again = async {
        loop {
            api.ask("/v3/maintenance/alarm", disarm.clone()).await;
            // What was compacted is taken away step by step.
            api.ask("/v3/maintenance/defragment", json!({})).await;
            if api.ask("/v3/kv/put", put.clone()).await.0 == StatusCode::OK {
                break;
            }
        }
    };
    timeout(ANSWER_MAX, written_again)
        .await
        .expect("there is room again");
}
