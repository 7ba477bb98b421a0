//! Lifecycle handlers: exec, httpGet, sleep (contract, node agent §10.8).
use super::agent::Agent;
use crate::probes::{port_of, target, tls};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler};
use orlop_cri::RuntimeService;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// How a handler was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// As it is written.
    Plainly,
    /// It says HTTPS, and its server speaks HTTP.
    OverHttp,
}

/// The event of [`Done::OverHttp`].
pub const FALLBACK: (&str, &str) = (
    "LifecycleHTTPFallback",
    "request to HTTPS lifecycle hook got HTTP response, retry with HTTP succeeded",
);

/// Runs a handler; `limit` is the grace that is left, none for postStart. A command that isn't done by then goes on
/// unheeded: it ends with its container.
pub async fn run(
    agent: &Agent,
    container_id: &str,
    container: &Container,
    handler: &LifecycleHandler,
    pod_ip: Option<&str>,
    limit: Option<Duration>,
) -> Result<Done, String> {
    if let Some(action) = &handler.exec {
        let command = action.command.clone().unwrap_or_default();
        let mut running = Box::pin(exec(agent.runtime.clone(), container_id.to_owned(), command));
        let outcome = within(limit, &mut running).await;
        return outcome.unwrap_or_else(|late| {
            tokio::spawn(running);
            Err(late)
        });
    }
    let work = async {
        if let Some(get) = &handler.http_get {
            return http_get(get, container, pod_ip).await;
        }
        if let Some(sleep) = &handler.sleep {
            tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        }
        Ok(Done::Plainly)
    };
    within(limit, work).await.flatten()
}

/// What comes of the work; an error when it isn't done in time.
async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Result<T, String> {
    match limit {
        None => Ok(work.await),
        Some(limit) => tokio::time::timeout(limit, work)
            .await
            .map_err(|_| format!("not done within the grace of {} s", limit.as_secs())),
    }
}

async fn exec(runtime: Arc<dyn RuntimeService>, id: String, command: Vec<String>) -> Result<Done, String> {
    let outcome = runtime.exec_sync(&id, command, Duration::ZERO).await;
    let outcome = outcome.map_err(|error| error.to_string())?;
    match outcome.exit_code {
        0 => Ok(Done::Plainly),
        code => {
            let words = String::from_utf8_lossy(&outcome.stderr);
            Err(format!("command exited with {code}: {}", words.trim()))
        }
    }
}

/// Sends the request; that an answer comes is all that counts.
async fn http_get(get: &HTTPGetAction, container: &Container, pod_ip: Option<&str>) -> Result<Done, String> {
    let host = get.host.as_deref().filter(|host| !host.is_empty()).or(pod_ip);
    let host = host.ok_or("httpGet: the pod has no address and no host is given")?;
    let port = port_of(&get.port, container).ok_or_else(|| format!("httpGet: no port {:?}", get.port))?;
    let path = target::of(get.path.as_deref().unwrap_or_default());
    let secure = get
        .scheme
        .as_deref()
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| format!("httpGet {host}:{port}: {error}"))?;
    if !secure {
        request(stream, get, host, port, &path).await?;
        return Ok(Done::Plainly);
    }
    // Hooks talk to the pod itself: its certificate says nothing that the address did not.
    let config = tls::unverified().map_err(|error| error.to_string())?;
    let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    match tokio_rustls::TlsConnector::from(config)
        .connect(name, stream)
        .await
    {
        Ok(stream) => {
            request(stream, get, host, port, &path).await?;
            Ok(Done::Plainly)
        }
        // Older handlers say HTTPS and mean a server that talks HTTP.
        Err(error) if speaks_http(&error) => {
            let stream = TcpStream::connect((host, port)).await;
            let stream = stream.map_err(|error| format!("httpGet {host}:{port}: {error}"))?;
            request(stream, &in_clear(get), host, port, &path).await?;
            Ok(Done::OverHttp)
        }
        Err(error) => Err(format!("httpGet https://{host}:{port}: {error}")),
    }
}

/// Whether what came in place of a handshake is not TLS at all. Other failures are no reason to say in clear what was to be
/// said in secret.
fn speaks_http(error: &std::io::Error) -> bool {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(
        cause,
        Some(rustls::Error::InvalidMessage(
            rustls::InvalidMessage::InvalidContentType
        ))
    )
}

/// The same request without what anybody on its way could use.
fn in_clear(get: &HTTPGetAction) -> HTTPGetAction {
    let mut get = get.clone();
    if let Some(headers) = &mut get.http_headers {
        headers.retain(|header| !header.name.eq_ignore_ascii_case("authorization"));
    }
    get
}

async fn request(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    get: &HTTPGetAction,
    host: &str,
    port: u16,
    path: &str,
) -> Result<(), String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let mut builder = http::Request::get(path);
    let given = get.http_headers.iter().flatten();
    if !given
        .clone()
        .any(|header| header.name.eq_ignore_ascii_case("host"))
    {
        let authority = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        builder = builder.header("Host", authority);
    }
    for header in given {
        builder = builder.header(&header.name, &header.value);
    }
    let outcome = match builder.body(Empty::<Bytes>::new()) {
        Ok(request) => sender
            .send_request(request)
            .await
            .map(|_| ())
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    driver.abort();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_pki::{Authority, Identity, LeafRequest, Usage};
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers one request with 404, and tells what was asked.
    async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut block = [0; 512];
            let read = stream.read(&mut block).await.unwrap();
            assert!(read > 0, "the request was cut off");
            asked.extend_from_slice(&block[..read]);
        }
        let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    }

    fn get(port: u16, scheme: &str) -> HTTPGetAction {
        serde_json::from_value(json!({"path": "hook?x=1", "port": port, "scheme": scheme})).unwrap()
    }

    #[tokio::test]
    async fn t04_answer_of_an_http_hook_does_not_matter_as_long_as_there_is_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = tokio::spawn(async move { answer(listener.accept().await.unwrap().0).await });
        let (get, container) = (get(port, "HTTP"), Container::default());
        assert_eq!(
            http_get(&get, &container, Some("127.0.0.1")).await,
            Ok(Done::Plainly)
        );
        let asked = peer.await.unwrap();
        assert!(asked.starts_with("GET /hook?x=1 HTTP/1.1\r\n"), "{asked}");
        let refused = http_get(&get, &container, Some("127.0.0.1")).await.unwrap_err();
        assert!(
            refused.contains(&port.to_string()),
            "nobody is there any more: {refused}"
        );
    }

    #[tokio::test]
    async fn https_hook_of_a_server_that_speaks_http_is_asked_again_and_told_of() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = tokio::spawn(async move {
            // The first connection begins with what is no HTTP.
            let (mut first, _) = listener.accept().await.unwrap();
            let mut hello = vec![0; 16384];
            assert!(first.read(&mut hello).await.unwrap() > 0);
            first
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await
                .unwrap();
            drop(first);
            answer(listener.accept().await.unwrap().0).await
        });
        let mut get = get(port, "HTTPS");
        let headers =
            json!([{"name": "authorization", "value": "Bearer x"}, {"name": "X-Hook", "value": "y"}]);
        get.http_headers = serde_json::from_value(headers).unwrap();
        let outcome = http_get(&get, &Container::default(), Some("127.0.0.1")).await;
        assert_eq!(outcome, Ok(Done::OverHttp));
        let asked = peer.await.unwrap().to_lowercase();
        assert!(asked.starts_with("get /hook?x=1"), "{asked}");
        assert!(
            asked.contains("x-hook: y") && !asked.contains("authorization"),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn https_hook_is_not_said_in_clear_to_a_server_that_hangs_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = tokio::spawn(async move {
            drop(listener.accept().await.unwrap());
            listener
        });
        let outcome = http_get(&get(port, "HTTPS"), &Container::default(), Some("127.0.0.1")).await;
        assert!(outcome.unwrap_err().contains("https://"));
        // It does not block: whoever had come would be there by now.
        let listener = peer.await.unwrap().into_std().unwrap();
        assert!(listener.accept().is_err());
    }

    #[tokio::test]
    async fn t05_https_hook_reaches_a_server_whose_certificate_nobody_signed() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::ensure(directory.path(), "ca", "nobody").unwrap();
        let leaf = authority.sign(&LeafRequest {
            identity: Identity::new("anybody", &[]),
            usage: Usage::Server,
            dns_names: vec!["elsewhere".to_owned()],
            addresses: vec![],
        });
        let leaf = leaf.unwrap();
        let tls = orlop_pki::server_config(&leaf.certificate, &leaf.key, authority.certificate()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = tokio::spawn(async move {
            let stream = listener.accept().await.unwrap().0;
            answer(tokio_rustls::TlsAcceptor::from(tls).accept(stream).await.unwrap()).await
        });
        let outcome = http_get(&get(port, "HTTPS"), &Container::default(), Some("127.0.0.1")).await;
        assert_eq!(outcome, Ok(Done::Plainly));
        assert!(peer.await.unwrap().starts_with("GET /hook?x=1"));
    }
}
