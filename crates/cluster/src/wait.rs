//! Waiting until a part of the node answers.
use crate::ClusterError;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Of one question.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two questions. Another process's start has no event that could be awaited.
const PAUSE: Duration = Duration::from_millis(100);
/// A health answer is a few bytes.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Where the health of a part is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub part: &'static str,
    pub tls: bool,
    pub address: SocketAddr,
    pub path: &'static str,
}

impl Health {
    fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.address, self.path)
    }

    /// Asks once; the complaint otherwise.
    pub async fn ask(&self) -> Result<(), String> {
        match tokio::time::timeout(ASK_TIMEOUT, self.answer()).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer in {ASK_TIMEOUT:?}")),
        }
    }

    async fn answer(&self) -> Result<(), String> {
        let stream = TcpStream::connect(self.address)
            .await
            .map_err(|error| error.to_string())?;
        let line = if self.tls {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            // As probes do: which certificate it has is not asked.
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .dangerous()
                .with_custom_certificate_verifier(orlop_pki::any_certificate())
                .with_no_client_auth();
            let name = ServerName::from(self.address.ip());
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let stream = connector
                .connect(name, stream)
                .await
                .map_err(|error| error.to_string())?;
            get(stream, self.path).await
        } else {
            get(stream, self.path).await
        }
        .map_err(|error| error.to_string())?;
        match line.split_whitespace().nth(1) {
            Some("200") => Ok(()),
            _ => Err(format!(
                "it answers {:?}",
                line.lines().next().unwrap_or_default()
            )),
        }
    }

    /// Asks until it is well.
    pub async fn wait(&self, patience: Duration, hint: &str) -> Result<(), ClusterError> {
        let what = format!("{} is not healthy at {}", self.part, self.url());
        until(&what, patience, hint, async || self.ask().await).await
    }
}

/// Tries until there is an answer.
pub async fn until<T>(
    what: &str,
    patience: Duration,
    hint: &str,
    attempt: impl AsyncFn() -> Result<T, String>,
) -> Result<T, ClusterError> {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        match attempt().await {
            Ok(answer) => return Ok(answer),
            Err(last) if tokio::time::Instant::now() >= deadline => {
                return Err(ClusterError::TooLate {
                    what: what.to_owned(),
                    within: patience,
                    last,
                    hint: hint.to_owned(),
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // Whoever hangs up without a proper end has said what it had to.
    let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await;
    match read {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_does_not_come_is_named_with_its_last_word() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(b"HTTP/1.1 503 Unavailable\r\n\r\n").await;
            }
        });
        let health = Health {
            part: "kubelet",
            tls: false,
            address,
            path: "/healthz",
        };
        let error = health
            .wait(Duration::ZERO, "look at its log")
            .await
            .unwrap_err()
            .to_string();
        for word in [
            "kubelet is not healthy at http://127.0.0.1:",
            "503",
            "look at its log",
        ] {
            assert!(error.contains(word), "{error}");
        }
    }
}
