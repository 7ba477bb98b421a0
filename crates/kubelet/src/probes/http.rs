//! HTTP as probes speak it: one connection a request, certificates unverified, redirects followed on the same host only.
use super::check::{authority, port_of, unknown_address};
use super::decide::Outcome;
use super::{target, tls};
use crate::dial::{REDIRECTS_MAX, is_redirect, resolve, send};
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use std::time::Duration;

/// Bytes of an answer that are read.
const BODY_MAX: usize = 10 * 1024;
/// What probes call themselves, unless their headers say otherwise.
pub const USER_AGENT: &str = "kube-probe/1.36";

/// The URL of an action; `None` while the pod has no address or the port has no number.
fn url_of(get: &HTTPGetAction, container: &Container, pod_host: Option<&str>) -> Option<Uri> {
    let host = get.host.as_deref().filter(|host| !host.is_empty()).or(pod_host)?;
    let port = port_of(&get.port, container)?;
    let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_ascii_lowercase();
    let target = target::of(get.path.as_deref().unwrap_or_default());
    format!("{scheme}://{}{target}", authority(host, port))
        .parse()
        .ok()
}

/// Runs an httpGet probe.
pub async fn probe(
    get: &HTTPGetAction,
    container: &Container,
    pod_host: Option<&str>,
    timeout: Duration,
) -> Outcome {
    let Some(url) = url_of(get, container, pod_host) else {
        return unknown_address();
    };
    match tokio::time::timeout(timeout, follow(&url, get)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Failure(format!(
            "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

async fn follow(first: &Uri, get: &HTTPGetAction) -> Outcome {
    let mut url = first.clone();
    for _ in 0..=REDIRECTS_MAX {
        let answer = match request(&url, get).await {
            Ok(answer) => answer,
            Err(error) => return Outcome::Failure(format!("Get \"{url}\": {error}")),
        };
        match (answer.status, answer.location) {
            (code, Some(location)) if is_redirect(code) => {
                let Some(next) = resolve(&url, &location) else {
                    return Outcome::Failure(format!("Get \"{url}\": bad redirect to {location:?}"));
                };
                if next.host() != first.host() {
                    let body = answer.body;
                    return Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"));
                }
                url = next;
            }
            (200..=399, _) => return Outcome::Success,
            (code, _) => return Outcome::Failure(format!("HTTP probe failed with statuscode: {code}")),
        }
    }
    Outcome::Failure(format!("Get \"{url}\": stopped after {REDIRECTS_MAX} redirects"))
}

struct Answer {
    status: u16,
    location: Option<String>,
    body: String,
}

async fn request(url: &Uri, get: &HTTPGetAction) -> Result<Answer, String> {
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut builder = Request::get(path);
    let mut host = url.authority().map(ToString::to_string).unwrap_or_default();
    let (mut agent, mut accept) = (Some(USER_AGENT), Some("*/*"));
    for given in get.http_headers.iter().flatten() {
        let value = Some(given.value.as_str()).filter(|value| !value.is_empty());
        match given.name.to_ascii_lowercase().as_str() {
            "host" => host.clone_from(&given.value),
            // Given empty: not sent.
            "user-agent" => agent = value,
            "accept" => accept = value,
            _ => builder = builder.header(&given.name, &given.value),
        }
    }
    builder = builder
        .header(header::HOST, host)
        .header(header::CONNECTION, "close");
    let named = [(header::USER_AGENT, agent), (header::ACCEPT, accept)];
    for (name, value) in named.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        builder = builder.header(name, value);
    }
    let request = builder.body(Empty::new()).map_err(|error| error.to_string())?;
    let (answer, _driver) = send(url, request, tls::unverified).await?;
    let location = answer.headers().get(header::LOCATION);
    Ok(Answer {
        status: answer.status().as_u16(),
        location: location.and_then(|value| value.to_str().ok()).map(str::to_owned),
        body: beginning(answer.into_body()).await,
    })
}

/// The first bytes of a body; longer ones are cut, not refused.
async fn beginning(mut body: Incoming) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < BODY_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    bytes.truncate(BODY_MAX);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;

    const SECOND: Duration = Duration::from_secs(1);

    /// A server that gives its answers in turn; its port, and the requests it got.
    async fn answering(answers: Vec<String>) -> (u16, mpsc::UnboundedReceiver<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, received) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                let _ = requests.send(String::from_utf8_lossy(&request[..length]).into_owned());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (port, received)
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}")
    }

    fn get(object: serde_json::Value) -> HTTPGetAction {
        serde_json::from_value(object).unwrap()
    }

    async fn outcome(answers: Vec<String>) -> Outcome {
        let (port, _requests) = answering(answers).await;
        let get = get(serde_json::json!({"port": port, "path": "/healthz"}));
        probe(&get, &Container::default(), Some("127.0.0.1"), SECOND).await
    }

    #[tokio::test]
    async fn r03_status_decides() {
        for status in ["200 OK", "204 No Content", "304 Not Modified", "399 x"] {
            assert_eq!(
                outcome(vec![answer(status, "", "")]).await,
                Outcome::Success,
                "{status}"
            );
        }
        for code in ["400", "404", "500"] {
            let text = format!("HTTP probe failed with statuscode: {code}");
            assert_eq!(
                outcome(vec![answer(&format!("{code} No"), "", "")]).await,
                Outcome::Failure(text)
            );
        }
    }

    #[tokio::test]
    async fn r05_redirect_on_the_same_host_is_followed() {
        let there = answer("302 Found", "location: /other\r\n", "");
        let outcome = outcome(vec![there, answer("500 No", "", "")]).await;
        assert_eq!(
            outcome,
            Outcome::Failure("HTTP probe failed with statuscode: 500".into())
        );
    }

    #[tokio::test]
    async fn r05_redirect_to_another_host_is_success_with_a_warning() {
        let away = answer("302 Found", "location: http://elsewhere.example/\r\n", "hi");
        let text = "Probe terminated redirects, Response body: hi";
        assert_eq!(outcome(vec![away]).await, Outcome::Warning(text.into()));
    }

    #[tokio::test]
    async fn only_the_beginning_of_a_long_answer_is_kept() {
        let away = answer(
            "302 Found",
            "location: http://elsewhere.example/\r\n",
            &"x".repeat(3 * BODY_MAX),
        );
        let Outcome::Warning(text) = outcome(vec![away]).await else {
            panic!("no warning");
        };
        assert_eq!(text.matches('x').count(), BODY_MAX);
    }

    #[tokio::test]
    async fn path_may_have_characters_that_urls_do_not_have() {
        let (port, mut requests) = answering(vec![answer("200 OK", "", "")]).await;
        let get = get(serde_json::json!({"port": port, "path": "/is it \u{fc}p?now=at once"}));
        let outcome = probe(&get, &Container::default(), Some("127.0.0.1"), SECOND).await;
        assert_eq!(outcome, Outcome::Success);
        let request = requests.recv().await.unwrap();
        assert!(
            request.starts_with("GET /is%20it%20%C3%BCp?now=at%20once HTTP/1.1\r\n"),
            "{request}"
        );
    }

    #[tokio::test]
    async fn headers_are_the_probes_own_unless_given() {
        let plain = serde_json::json!([]);
        let given = serde_json::json!([{"name": "Host", "value": "web.example"}, {"name": "User-Agent", "value": "me"},
            {"name": "Accept", "value": ""}, {"name": "X-Key", "value": "v"}]);
        for (headers, has, lacks) in [
            (
                plain,
                vec!["user-agent: kube-probe/1.36", "accept: */*", "host: 127.0.0.1:"],
                "x-key",
            ),
            (
                given,
                vec!["user-agent: me", "host: web.example", "x-key: v"],
                "accept:",
            ),
        ] {
            let (port, mut requests) = answering(vec![answer("200 OK", "", "")]).await;
            let get = get(serde_json::json!({"port": port, "httpHeaders": headers}));
            probe(&get, &Container::default(), Some("127.0.0.1"), SECOND).await;
            let request = requests.recv().await.unwrap().to_ascii_lowercase();
            assert!(has.iter().all(|line| request.contains(line)), "{request}");
            assert!(!request.contains(lacks), "{request}");
        }
    }

    #[tokio::test]
    async fn nobody_listening_and_nobody_answering_are_failures() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let silent = get(serde_json::json!({"port": port}));
        let brief = Duration::from_millis(50);
        let outcome = probe(&silent, &Container::default(), Some("127.0.0.1"), brief).await;
        let deadline = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        assert_eq!(
            outcome,
            Outcome::Failure(format!("Get \"http://127.0.0.1:{port}/\": {deadline}"))
        );
        drop(listener);
        let outcome = probe(&silent, &Container::default(), Some("127.0.0.1"), SECOND).await;
        let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(
            outcome,
            Outcome::Failure(format!("Get \"http://127.0.0.1:{port}/\": {refused}"))
        );
        let nowhere = probe(&silent, &Container::default(), None, SECOND).await;
        assert_eq!(nowhere, unknown_address());
    }

    #[test]
    fn relative_redirects_are_resolved_against_the_page() {
        let base: Uri = "http://h:80/a/b".parse().unwrap();
        for (location, expected) in [
            ("/x", "http://h:80/x"),
            ("x", "http://h:80/a/x"),
            ("//other/x", "http://other/x"),
            ("https://h/y", "https://h/y"),
        ] {
            assert_eq!(resolve(&base, location).unwrap().to_string(), expected);
        }
    }
}
