//! Where a list in chunks goes on: the token between two chunks, in upstream's form (contract api-server §8.3).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::fmt;

const VERSION: &str = "meta.k8s.io/v1";

/// The state to go on in, and the key to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContinueToken {
    /// 0, written `-1`: the present, which is another state than that of the chunks before.
    pub revision: u64,
    /// Below the collection's own key.
    pub start: String,
}

impl ContinueToken {
    /// # Errors
    /// Nobody was given this token; the text says why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|error| error.to_string())?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if token["v"] != VERSION {
            return Err("server does not recognize this encoded version".to_owned());
        }
        let start = token["start"]
            .as_str()
            .and_then(|start| start.strip_prefix('/'))
            .filter(|start| !start.is_empty())
            .ok_or("encoded continue token is missing start")?;
        Ok(Self {
            revision: token["rv"].as_i64().unwrap_or_default().max(0).cast_unsigned(),
            start: start.to_owned(),
        })
    }
}

impl fmt::Display for ContinueToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = if self.revision == 0 {
            -1
        } else {
            self.revision.cast_signed()
        };
        let token = json!({"v": VERSION, "rv": revision, "start": format!("/{}", self.start)});
        f.write_str(&URL_SAFE_NO_PAD.encode(token.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_upstreams() {
        let token = ContinueToken {
            revision: 311,
            start: "l1\0".to_owned(),
        };
        let text = URL_SAFE_NO_PAD.decode(token.to_string()).unwrap();
        let parsed: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            parsed,
            json!({"v": "meta.k8s.io/v1", "rv": 311, "start": "/l1\u{0}"})
        );
        assert_eq!(ContinueToken::parse(&token.to_string()), Ok(token));
    }

    #[test]
    fn what_nobody_was_given_is_refused_with_the_reason() {
        let refused = |text: &str| ContinueToken::parse(text).unwrap_err();
        assert!(refused("nonsense!").contains("Invalid symbol"));
        assert_eq!(refused("e30"), "server does not recognize this encoded version");
        let pathless = URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":1}"#);
        assert_eq!(refused(&pathless), "encoded continue token is missing start");
        let before = URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":-9,"start":"/a"}"#);
        assert_eq!(ContinueToken::parse(&before).unwrap().revision, 0);
    }
}
