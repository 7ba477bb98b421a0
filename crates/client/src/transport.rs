//! Connections to an API server, which notice when it is no longer there.
//!
//! A watch only listens: when the server's machine dies, or something between drops the connection without a word, nothing
//! would tell until the watch's time is over after five minutes; and what was sent last would be sent again for a quarter of
//! an hour. So the kernel asks a silent server whether it is there, and gives up early what nobody acknowledges.
use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::Config;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt, DynBody};
use std::task::{Context, Poll};
use std::time::Duration;
use tower::retry::RetryLayer;
use tower::timeout::TimeoutLayer;
use tower::util::BoxService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

/// A connection on which nothing was said for this long is asked about, this often.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
/// It is given up after so many questions without an answer.
const KEEPALIVE_QUESTIONS: u32 = 3;
/// So is one on which something was said that is not acknowledged for this long.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// What clients of an API server are made of.
pub type Transport = BoxService<Request<Body>, Response<Box<DynBody>>, BoxError>;

/// As kube makes it, but for its connections. An answer has to begin within the configuration's `read_timeout`, if it has
/// one.
pub fn builder(config: Config) -> Result<ClientBuilder<Transport>, kube::Error> {
    // Through proxies, and with credentials that programs give, all is left to kube.
    if config.proxy_url.is_some() || config.auth_info.exec.is_some() {
        return ClientBuilder::try_from(config);
    }
    let connector = InTime {
        connector: config.rustls_https_connector_with_connector(sockets())?,
        limit: config.connect_timeout,
    };
    let client = legacy::Builder::new(TokioExecutor::new()).build::<_, Body>(connector);
    let retries = config
        .default_retry
        .then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retries)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .option_layer(config.read_timeout.map(TimeoutLayer::new))
        .map_err(BoxError::from)
        .service(client);
    let service = service.map_response(|answer: Response<_>| {
        answer.map(|body: hyper::body::Incoming| Box::new(body.map_err(BoxError::from)) as Box<DynBody>)
    });
    Ok(ClientBuilder::new(
        service.boxed(),
        config.default_namespace.clone(),
    ))
}

fn sockets() -> HttpConnector {
    let mut sockets = HttpConnector::new();
    sockets.enforce_http(false);
    sockets.set_nodelay(true);
    sockets.set_keepalive(Some(KEEPALIVE_EVERY));
    sockets.set_keepalive_interval(Some(KEEPALIVE_EVERY));
    sockets.set_keepalive_retries(Some(KEEPALIVE_QUESTIONS));
    sockets.set_tcp_user_timeout(Some(SILENCE_MAX));
    sockets
}

/// Gives up a connection that is not made in time, TLS included.
///
/// kube's own connector has a clock for writes, too (`write_timeout`, five minutes). There is none here, as no write waits
/// longer than [`SILENCE_MAX`]: the kernel also gives up a connection whose other end acknowledges all and takes nothing.
#[derive(Clone)]
struct InTime<C> {
    connector: C,
    /// `None`: as long as it takes.
    limit: Option<Duration>,
}

impl<C> Service<Uri> for InTime<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<C::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let (connected, limit) = (self.connector.call(server), self.limit);
        Box::pin(async move {
            let Some(limit) = limit else {
                return connected.await.map_err(Into::into);
            };
            match tokio::time::timeout(limit, connected).await {
                Ok(outcome) => outcome.map_err(Into::into),
                Err(_) => Err(format!("no connection within {} s", limit.as_secs()).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn config(address: std::net::SocketAddr, scheme: &str) -> Config {
        Config::new(format!("{scheme}://{address}").parse().unwrap())
    }

    /// The kernel's timer of the connection to a port, as `/proc/net/tcp` has it.
    fn timer(port: u16) -> Option<String> {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let remote = format!("0100007F:{port:04X}");
        let mut lines = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.find(|line| line[2] == remote)?;
        line[5].split_once(':').map(|(timer, _)| timer.to_owned())
    }

    #[tokio::test]
    async fn kernel_asks_silent_servers_whether_they_are_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = builder(config(address, "http")).unwrap().build();
        let asked = tokio::spawn(async move { client.apiserver_version().await });
        let (mut stream, _) = listener.accept().await.unwrap();
        // Until the request is here and acknowledged, other timers run.
        let mut head = [0; 64];
        tokio::io::AsyncReadExt::read(&mut stream, &mut head)
            .await
            .unwrap();
        const KEEPALIVE: &str = "02";
        assert_eq!(timer(address.port()).as_deref(), Some(KEEPALIVE));
        asked.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn server_that_takes_connections_and_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let held = tokio::spawn(async move { listener.accept().await.unwrap() });
        let client = builder(config(address, "https")).unwrap().build();
        let error = client.apiserver_version().await.unwrap_err().to_string();
        assert!(!error.is_empty());
        held.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn server_that_takes_a_request_and_does_not_answer_is_given_up_if_there_is_a_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = config(listener.local_addr().unwrap(), "http");
        config.read_timeout = Some(Duration::from_secs(10));
        let held = tokio::spawn(async move { listener.accept().await.unwrap() });
        let client = builder(config).unwrap().build();
        let asked = tokio::time::timeout(Duration::from_secs(60), client.apiserver_version());
        let error = asked.await.expect("nobody gave up").unwrap_err();
        assert!(crate::is_transient(&error), "{error}");
        held.abort();
    }

    #[tokio::test]
    async fn answers_are_read_through_all_layers() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let body = r#"{"major":"1","minor":"36","gitVersion":"","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream
                .write_all(format!("{head}{body}").as_bytes())
                .await
                .unwrap();
            String::from_utf8_lossy(&request[..read]).to_ascii_lowercase()
        });
        let mut config = config(address, "http");
        config.auth_info.token = Some("secret".to_owned().into());
        config
            .headers
            .push(("x-own".parse().unwrap(), "1".parse().unwrap()));
        let client = builder(config).unwrap().build();
        assert_eq!(client.apiserver_version().await.unwrap().minor, "36");
        let seen = seen.await.unwrap();
        assert!(seen.starts_with("get /version "), "{seen}");
        assert!(
            seen.contains("authorization: bearer secret") && seen.contains("x-own: 1"),
            "{seen}"
        );
    }
}
