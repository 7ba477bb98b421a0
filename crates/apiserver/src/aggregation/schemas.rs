//! OpenAPI v3 documents of other servers: which there are is known from their index, and they are read when somebody asks.
use super::{Aggregation, Remote, proxy};
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use std::time::Duration;

/// A server that takes longer has no document.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
const INDEX: &str = "/openapi/v3";

impl Remote {
    /// Under which its document is in the index.
    pub fn schema_path(&self) -> String {
        format!("apis/{}/{}", self.group, self.version)
    }
}

/// The hash of a server's document for its group-version, if it has one.
pub(super) async fn hash(aggregation: &Aggregation, remote: &Remote) -> Option<String> {
    let index = read(aggregation, remote, INDEX).await?;
    let index: Value = serde_json::from_slice(&index).ok()?;
    hash_in(&index, &remote.schema_path())
}

/// The document itself.
pub async fn document(aggregation: &Aggregation, remote: &Remote) -> Option<Bytes> {
    read(aggregation, remote, &format!("{INDEX}/{}", remote.schema_path())).await
}

async fn read(aggregation: &Aggregation, remote: &Remote, path: &str) -> Option<Bytes> {
    let asked = proxy::read(aggregation, remote, path);
    match tokio::time::timeout(ANSWER_TIME_MAX, asked).await {
        Ok(Ok((StatusCode::OK, bytes))) => Some(bytes),
        other => {
            tracing::debug!(api_service = remote.name, path, ?other, "no OpenAPI document");
            None
        }
    }
}

fn hash_in(index: &Value, path: &str) -> Option<String> {
    let url = index["paths"][path]["serverRelativeURL"].as_str()?;
    let (_, query) = url.split_once('?')?;
    let hash = query.split('&').find_map(|part| part.strip_prefix("hash="))?;
    Some(hash.to_owned())
}

#[cfg(test)]
mod tests {
    use super::hash_in;
    use serde_json::json;

    #[test]
    fn the_index_tells_the_hash() {
        let index = json!({"paths": {
            "apis/a.io/v1": {"serverRelativeURL": "/openapi/v3/apis/a.io/v1?hash=ABC"},
            "apis/b.io/v1": {"serverRelativeURL": "/openapi/v3/apis/b.io/v1"}}});
        assert_eq!(hash_in(&index, "apis/a.io/v1").as_deref(), Some("ABC"));
        assert_eq!(hash_in(&index, "apis/b.io/v1"), None);
        assert_eq!(hash_in(&index, "apis/c.io/v1"), None);
    }
}
