//! Asks the node agent over its socket on this node.
use crate::paths::Root;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// It answers from what it knows.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What the agent of the node under `root` says of its manifests.
pub async fn status(root: &Root) -> Result<Value> {
    let path = root.agent_socket();
    let stream = UnixStream::connect(&path)
        .await
        .map_err(|error| unreachable(&path, &error))?;
    match tokio::time::timeout(ANSWER_MAX, ask(stream)).await {
        Ok(answer) => body_of(&answer?),
        Err(_) => bail!(
            "the node agent at {} does not answer within {} s: see its log",
            path.display(),
            ANSWER_MAX.as_secs()
        ),
    }
}

fn unreachable(path: &Path, error: &Error) -> anyhow::Error {
    let path = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied => {
            anyhow!("only root may ask the node agent at {path}: run this as root")
        }
        _ => anyhow!(
            "no node agent answers at {path} ({error}): start one with `orlop up` or `orlop kubelet`, or name its --root"
        ),
    }
}

async fn ask(mut stream: UnixStream) -> Result<String> {
    stream
        .write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn body_of(answer: &str) -> Result<Value> {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the node agent's answer is no HTTP")?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!(
            "the node agent answers {}",
            head.lines().next().unwrap_or_default()
        );
    }
    serde_json::from_str(body).context("the node agent's answer is no JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_answered_is_told_what_to_do() {
        let told = |kind: ErrorKind| unreachable(Path::new("/run/x.sock"), &kind.into()).to_string();
        let gone = told(ErrorKind::NotFound);
        assert!(
            gone.contains("/run/x.sock") && gone.contains("start one"),
            "{gone}"
        );
        let denied = told(ErrorKind::PermissionDenied);
        assert!(
            denied.contains("as root") && !denied.contains("start one"),
            "{denied}"
        );
    }

    #[test]
    fn answers_are_read_and_refusals_told() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"node\":\"n\"}";
        assert_eq!(body_of(answer).unwrap()["node"], "n");
        let error = body_of("HTTP/1.1 404 Not Found\r\n\r\n").unwrap_err().to_string();
        assert!(error.contains("404"), "{error}");
    }
}
