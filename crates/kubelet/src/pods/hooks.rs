//! Lifecycle handlers: exec, httpGet, sleep (contract, node agent §10.8).
use super::agent::Agent;
use crate::probes::{port_of, tls};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Runs a handler; `limit` is the grace that is left, none for postStart.
pub async fn run(
    agent: &Agent,
    container_id: &str,
    container: &Container,
    handler: &LifecycleHandler,
    pod_ip: Option<&str>,
    limit: Option<Duration>,
) -> Result<(), String> {
    let work = async {
        if let Some(exec) = &handler.exec {
            let command = exec.command.clone().unwrap_or_default();
            let timeout = limit.unwrap_or(Duration::ZERO);
            let outcome = agent
                .runtime
                .exec_sync(container_id, command, timeout)
                .await
                .map_err(|e| e.to_string())?;
            return match outcome.exit_code {
                0 => Ok(()),
                code => {
                    let words = String::from_utf8_lossy(&outcome.stderr);
                    Err(format!("command exited with {code}: {}", words.trim()))
                }
            };
        }
        if let Some(get) = &handler.http_get {
            return http_get(get, container, pod_ip).await;
        }
        if let Some(sleep) = &handler.sleep {
            tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        }
        Ok(())
    };
    match limit {
        None => work.await,
        Some(limit) => tokio::time::timeout(limit, work)
            .await
            .unwrap_or_else(|_| Err(format!("not done within the grace of {} s", limit.as_secs()))),
    }
}

/// Sends the request; that an answer comes is all that counts.
async fn http_get(get: &HTTPGetAction, container: &Container, pod_ip: Option<&str>) -> Result<(), String> {
    let host = get.host.as_deref().filter(|host| !host.is_empty()).or(pod_ip);
    let host = host.ok_or("httpGet: the pod has no address and no host is given")?;
    let port = port_of(&get.port, container).ok_or_else(|| format!("httpGet: no port {:?}", get.port))?;
    let path = get.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let secure = get
        .scheme
        .as_deref()
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| format!("httpGet {host}:{port}: {error}"))?;
    if !secure {
        return request(stream, get, host, port, &path).await;
    }
    // Hooks talk to the pod itself: its certificate says nothing that the address did not.
    let config = tls::unverified().map_err(|error| error.to_string())?;
    let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    match tokio_rustls::TlsConnector::from(config)
        .connect(name, stream)
        .await
    {
        Ok(stream) => request(stream, get, host, port, &path).await,
        // Older handlers say HTTPS and mean a server that talks HTTP.
        Err(error) => match TcpStream::connect((host, port)).await {
            Ok(stream) => request(stream, get, host, port, &path).await,
            Err(_) => Err(format!("httpGet https://{host}:{port}: {error}")),
        },
    }
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
