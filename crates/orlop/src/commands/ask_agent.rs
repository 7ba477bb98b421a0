//! Asks the node agent over its socket on this node.
use crate::paths::Root;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// What the agent of the node under `root` says of its manifests.
pub async fn status(root: &Root) -> Result<Value> {
    let path = root.agent_socket();
    let mut stream = UnixStream::connect(&path).await.with_context(|| {
        format!(
            "no node agent answers at {}: start one with `orlop up` or `orlop kubelet`, or name its --root",
            path.display()
        )
    })?;
    stream
        .write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    body_of(&answer)
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
    fn answers_are_read_and_refusals_told() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"node\":\"n\"}";
        assert_eq!(body_of(answer).unwrap()["node"], "n");
        let error = body_of("HTTP/1.1 404 Not Found\r\n\r\n").unwrap_err().to_string();
        assert!(error.contains("404"), "{error}");
    }
}
