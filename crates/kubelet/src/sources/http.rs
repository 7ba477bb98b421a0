//! Static pods from a URL, asked for at start and every `httpCheckFrequency` (contract, static pods §2.6). A server can't
//! tell when its answer changes, so it is asked.
//!
//! Only a good answer changes anything: while the server fails, what it last asked for runs on.
use super::fault::{Fault, is_news};
use super::report::{Report, ReportBoard};
use super::{Snapshot, Source, received};
use crate::config::KubeletConfiguration;
use crate::dial::{REDIRECTS_MAX, is_redirect, resolve, send};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use k8s_openapi::api::core::v1::Pod;
use orlop_api::fnv::fnv1a128;
use orlop_api::manifest::{self, MANIFEST_BYTES_MAX, StaticOrigin};
use orlop_api::pod::full_name;
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A whole exchange, redirects and body included.
const EXCHANGE_MAX: Duration = Duration::from_secs(10);

/// A URL or headers that no request can be made of.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    #[error("staticPodURL {url:?} is no http or https URL with a host")]
    Url { url: String },
    /// Without the URL, which would be in logs and events.
    #[error(
        "staticPodURL names a user: give the credentials as a header in staticPodURLHeader, Authorization, instead"
    )]
    Credentials,
    #[error("staticPodURLHeader {name:?}: {value:?} is no value of a header")]
    Header { name: String, value: String },
}

/// Where manifests are asked for.
#[derive(Debug)]
pub struct HttpSource {
    url: Uri,
    headers: HeaderMap,
    node_name: String,
    period: Duration,
}

/// What the server last asked for; a pure step from one answer to the next.
#[derive(Default)]
struct Answers {
    /// The last good body; `None` before the first.
    body: Option<Bytes>,
    /// The full names of its pods.
    pods: Vec<String>,
    /// What was last wrong: told once.
    trouble: Option<String>,
}

/// What an answer changes.
#[derive(Debug, PartialEq)]
enum Taken {
    Nothing,
    /// These pods are wanted now; names that came twice are left out.
    Pods(Vec<Arc<Pod>>, Vec<String>),
}

impl HttpSource {
    /// A source for the configuration's URL and headers.
    pub fn new(configuration: &KubeletConfiguration, node_name: String) -> Result<Self, UrlError> {
        let text = &configuration.static_pod_url;
        let bad = || UrlError::Url { url: text.clone() };
        let url: Uri = text.parse().map_err(|_| bad())?;
        if url
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(UrlError::Credentials);
        }
        if url.host().is_none() || !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(bad());
        }
        let mut headers = HeaderMap::new();
        for (name, values) in &configuration.static_pod_url_header {
            for value in values {
                let bad = || UrlError::Header {
                    name: name.clone(),
                    value: value.clone(),
                };
                let key = HeaderName::try_from(name.as_str()).map_err(|_| bad())?;
                headers.append(key, HeaderValue::try_from(value.as_str()).map_err(|_| bad())?);
            }
        }
        Ok(Self {
            url,
            headers,
            node_name,
            period: configuration.http_check_frequency.0,
        })
    }

    /// Sends a snapshot whenever the server asks for something else; its silence and its nonsense go to `faults`.
    pub async fn run(
        self,
        snapshots: mpsc::Sender<Snapshot>,
        faults: mpsc::Sender<Fault>,
        reports: ReportBoard,
    ) {
        let mut answers = Answers::default();
        loop {
            let outcome = match tokio::time::timeout(EXCHANGE_MAX, self.fetch()).await {
                Ok(body) => body.and_then(|body| answers.take(body, &self.url, &self.node_name)),
                Err(_) => Err(format!("no answer within {} s", EXCHANGE_MAX.as_secs())),
            };
            let told: Vec<String> = match outcome {
                Ok(taken) => {
                    answers.trouble = None;
                    match taken {
                        Taken::Nothing => Vec::new(),
                        Taken::Pods(pods, doubles) => {
                            let source = Source::Http;
                            if snapshots.send(Snapshot { source, pods }).await.is_err() {
                                return;
                            }
                            doubles
                        }
                    }
                }
                Err(reason) if is_news(&mut answers.trouble, &reason) => vec![reason],
                Err(_) => Vec::new(),
            };
            let report = Report {
                digest: format!("{:032x}", answers.body.as_deref().map_or(0, fnv1a128)),
                pods: answers.pods.clone(),
                uid: None,
                error: answers.trouble.clone(),
                ignored: None,
            };
            let url = self.url.to_string();
            reports.replace(|manifest| *manifest == url, [(url.clone(), report)].into());
            for reason in told {
                let fault = Fault {
                    manifest: self.url.to_string(),
                    reason,
                    keeps_running: answers.body.as_ref().is_some_and(|body| !body.is_empty()),
                };
                // The receiver lives as long as the agent.
                let _ = faults.send(fault).await;
            }
            tokio::time::sleep(self.period).await;
        }
    }

    async fn fetch(&self) -> Result<Bytes, String> {
        let mut url = self.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let path = url.path_and_query().map_or("/", |path| path.as_str());
            let authority = url.authority().map(ToString::to_string).unwrap_or_default();
            let mut request = Request::get(path)
                .header(header::HOST, authority)
                .header(header::CONNECTION, "close")
                .body(Empty::new())
                .map_err(|error| error.to_string())?;
            // Headers are for the server that they were given for.
            if url.authority() == self.url.authority() {
                request.headers_mut().extend(self.headers.clone());
            }
            let (answer, _driver) = send(&url, request, verified).await?;
            let status = answer.status();
            if is_redirect(status.as_u16())
                && let Some(location) = answer.headers().get(header::LOCATION)
            {
                let location = location.to_str().map_err(|error| error.to_string())?;
                url = resolve(&url, location).ok_or_else(|| format!("bad redirect to {location:?}"))?;
                continue;
            }
            if status != http::StatusCode::OK {
                return Err(format!("the server answers {status}"));
            }
            let body = Limited::new(answer.into_body(), MANIFEST_BYTES_MAX - 1);
            let body = body.collect().await.map_err(|error| error.to_string())?;
            return Ok(body.to_bytes());
        }
        Err(format!("stopped after {REDIRECTS_MAX} redirects"))
    }
}

fn verified() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl Answers {
    fn take(&mut self, body: Bytes, url: &Uri, node_name: &str) -> Result<Taken, String> {
        if self.body.as_ref() == Some(&body) {
            return Ok(Taken::Nothing);
        }
        let mut pods = Vec::new();
        if !body.is_empty() {
            let origin = StaticOrigin {
                node_name: node_name.to_owned(),
                source: manifest::Source::Http(url.to_string()),
            };
            pods = manifest::static_pods(&body, &origin).map_err(|error| error.to_string())?;
        }
        self.body = Some(body);
        let (mut names, mut doubles) = (HashSet::new(), Vec::new());
        pods.retain(|pod| {
            let name = full_name(pod);
            let first = names.insert(name.clone());
            if !first {
                doubles.push(format!("pod {name} is there twice: the first is run"));
            }
            first
        });
        self.pods = pods.iter().map(full_name).collect();
        let pods = pods.into_iter().map(|pod| Arc::new(received(pod, Source::Http)));
        Ok(Taken::Pods(pods.collect(), doubles))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn list(names: &[&str]) -> Bytes {
        let items: String = names
            .iter()
            .map(|name| {
                format!("- metadata: {{name: {name}}}\n  spec: {{containers: [{{name: c, image: i}}]}}\n")
            })
            .collect();
        format!("apiVersion: v1\nkind: PodList\nitems:\n{items}").into()
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter()
            .filter_map(|pod| pod.metadata.name.as_deref())
            .collect()
    }

    #[test]
    fn a10_bad_answers_change_nothing_and_empty_ones_stop_everything() {
        let url: Uri = "http://x/pods".parse().unwrap();
        let mut answers = Answers::default();
        let mut take = |body: Bytes| answers.take(body, &url, "n");
        let Taken::Pods(pods, doubles) = take(list(&["a", "b"])).unwrap() else {
            panic!("a list is taken")
        };
        assert_eq!((names(&pods), doubles.len()), (vec!["a-n", "b-n"], 0));
        assert_eq!(take(list(&["a", "b"])), Ok(Taken::Nothing));
        assert!(take("nonsense".into()).is_err());
        assert_eq!(take(list(&["a", "b"])), Ok(Taken::Nothing));
        assert_eq!(take(Bytes::new()), Ok(Taken::Pods(vec![], vec![])));
        let again = take(list(&["a", "b"])).unwrap();
        assert!(matches!(again, Taken::Pods(pods, _) if pods.len() == 2));
    }

    #[test]
    fn a12_pods_of_a_url_carry_their_source_and_no_toleration() {
        let url: Uri = "http://x/pods".parse().unwrap();
        let of = |node: &str| {
            let taken = Answers::default().take(list(&["a"]), &url, node).unwrap();
            let Taken::Pods(pods, _) = taken else { panic!() };
            pods[0].clone()
        };
        let pod = of("n1");
        let annotations = pod.metadata.annotations.as_ref().unwrap();
        assert_eq!(annotations["kubernetes.io/config.source"], "http");
        assert_eq!(pod.spec.as_ref().unwrap().tolerations, None);
        assert_eq!(pod.metadata.uid, of("n2").metadata.uid);
    }

    #[test]
    fn second_pod_of_a_name_is_left_out_and_told() {
        let url: Uri = "http://x/pods".parse().unwrap();
        let taken = Answers::default().take(list(&["a", "a"]), &url, "n").unwrap();
        let Taken::Pods(pods, doubles) = taken else {
            panic!()
        };
        assert_eq!(pods.len(), 1);
        assert!(doubles[0].contains("a-n_default"), "{doubles:?}");
    }

    #[test]
    fn url_and_headers_must_make_a_request() {
        let with = |url: &str, value: &str| {
            let configuration = KubeletConfiguration {
                static_pod_url: url.into(),
                static_pod_url_header: [("X-Token".to_owned(), vec![value.to_owned()])].into(),
                ..KubeletConfiguration::default()
            };
            HttpSource::new(&configuration, "n".into()).map(drop)
        };
        assert!(with("https://x/pods", "a").is_ok());
        let error = with("https://me:secret@x/pods", "a").unwrap_err().to_string();
        assert!(
            !error.contains("secret") && error.contains("staticPodURLHeader"),
            "{error}"
        );
        assert!(
            with("file:///x", "a")
                .unwrap_err()
                .to_string()
                .contains("file:///x")
        );
        let error = with("http://x", "a\nb").unwrap_err().to_string();
        assert!(error.contains("X-Token"), "{error}");
    }

    /// A server whose answer can be changed; it knows who has the header.
    async fn server() -> (String, Arc<Mutex<(u16, Bytes)>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/pods", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new((200, list(&["a", "b"]))));
        let now = answer.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let read = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..read]).to_ascii_lowercase();
                let (status, body) = match request.contains("x-token: one\r\nx-token: two\r\n") {
                    true => now.lock().unwrap().clone(),
                    false => (403, Bytes::new()),
                };
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(&body).await.unwrap();
            }
        });
        (url, answer)
    }

    #[tokio::test]
    async fn a10_list_behind_a_header_runs_survives_errors_and_stops_when_empty() {
        let (url, answer) = server().await;
        let configuration = |values: &[&str]| KubeletConfiguration {
            static_pod_url: url.clone(),
            static_pod_url_header: [(
                "X-Token".to_owned(),
                values.iter().map(ToString::to_string).collect(),
            )]
            .into(),
            http_check_frequency: crate::config::GoDuration(Duration::from_millis(20)),
            ..KubeletConfiguration::default()
        };
        let start = |values: &[&str]| {
            let source = HttpSource::new(&configuration(values), "n".into()).unwrap();
            let (snapshots, received) = mpsc::channel(4);
            let (faults, told) = mpsc::channel(4);
            tokio::spawn(source.run(snapshots, faults, ReportBoard::default()));
            (received, told)
        };
        let (mut refused, mut told) = start(&["one"]);
        let fault = told.recv().await.unwrap();
        assert!(fault.to_string().contains("403"), "{fault}");
        assert!(refused.try_recv().is_err(), "never seen");

        let (mut received, mut told) = start(&["one", "two"]);
        assert_eq!(names(&received.recv().await.unwrap().pods), ["a-n", "b-n"]);
        *answer.lock().unwrap() = (500, Bytes::new());
        let fault = told.recv().await.unwrap();
        assert!(fault.keeps_running && fault.reason.contains("500"), "{fault}");
        *answer.lock().unwrap() = (200, Bytes::new());
        assert!(received.recv().await.unwrap().pods.is_empty());
    }
}
