//! Tokens that others know: TokenReviews to a webhook (`--authentication-token-webhook-config-file`).
use super::recent::{Recent, digest};
use super::{UserInfo, Verified};
use crate::outbound::{Remote, RemoteError, ReviewVersion};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the webhook is, and how it is asked.
#[derive(Clone, Debug)]
pub struct TokenWebhookConfig {
    /// A kubeconfig file.
    pub kubeconfig: PathBuf,
    pub version: ReviewVersion,
    /// How long an answer counts.
    pub ttl: Duration,
}

/// Recognises tokens by asking.
pub struct TokenWebhook {
    remote: Remote,
    version: ReviewVersion,
    ttl: Duration,
    known: Recent<Option<Arc<Known>>>,
}

/// Whom a token speaks for, and to whom.
struct Known {
    user: Arc<UserInfo>,
    audiences: Vec<String>,
}

impl TokenWebhook {
    /// # Errors
    /// The kubeconfig file cannot be used.
    pub fn new(config: TokenWebhookConfig) -> Result<Self, RemoteError> {
        Ok(Self {
            remote: Remote::from_kubeconfig(&config.kubeconfig)?,
            version: config.version,
            ttl: config.ttl,
            known: Recent::default(),
        })
    }

    /// Whom a token speaks for, if it is for one of `audiences`. A webhook that isn't there knows no token.
    pub async fn verify(&self, token: &str, audiences: &[String]) -> Option<Verified> {
        let key = digest(&format!("{token}\n{}", audiences.join("\n")));
        let now = Instant::now();
        let known = match self.known.get(&key, now) {
            Some(known) => known,
            None => {
                let review = review(self.version, token, audiences);
                let answer = match self.remote.ask(&review).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        tracing::warn!(%error, "the authentication webhook does not answer");
                        return None;
                    }
                };
                let known = read(&answer["status"], audiences).map(Arc::new);
                self.known.put(key, known.clone(), now + self.ttl);
                known
            }
        }?;
        Some(Verified {
            user: known.user.clone(),
            audiences: known.audiences.clone(),
        })
    }
}

fn review(version: ReviewVersion, token: &str, audiences: &[String]) -> Value {
    let mut spec = json!({"token": token});
    if !audiences.is_empty() {
        spec["audiences"] = json!(audiences);
    }
    json!({"kind": "TokenReview", "apiVersion": version.of("authentication.k8s.io"),
        "metadata": {}, "spec": spec, "status": {"user": {}}})
}

/// What a review's status says. A webhook that says nothing about audiences answers for this server's own.
fn read(status: &Value, audiences: &[String]) -> Option<Known> {
    if status["authenticated"] != true {
        return None;
    }
    let said: Vec<String> = serde_json::from_value(status["audiences"].clone()).unwrap_or_default();
    let shared: Vec<String> = match said.is_empty() {
        true => audiences.to_vec(),
        false => said.into_iter().filter(|a| audiences.contains(a)).collect(),
    };
    if shared.is_empty() && !audiences.is_empty() {
        return None;
    }
    let user = &status["user"];
    let name = user["username"].as_str().unwrap_or_default();
    let groups: Vec<String> = serde_json::from_value(user["groups"].clone()).unwrap_or_default();
    let mut known = UserInfo::new(name, groups);
    known.uid = user["uid"].as_str().unwrap_or_default().to_owned();
    known.extra = serde_json::from_value(user["extra"].clone()).unwrap_or_default();
    Some(Known {
        user: Arc::new(known),
        audiences: shared,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_authenticated_for_one_of_the_audiences_is_known() {
        let wanted = ["api".to_owned(), "other".to_owned()];
        let status = |audiences: Value| {
            json!({"authenticated": true, "audiences": audiences,
                "user": {"username": "alice", "uid": "1", "groups": ["devs"], "extra": {"k": ["v"]}}})
        };
        let known = read(&status(json!(["api", "else"])), &wanted).unwrap();
        assert_eq!(known.audiences, ["api"]);
        assert_eq!(
            (known.user.name.as_str(), known.user.uid.as_str()),
            ("alice", "1")
        );
        assert_eq!(known.user.groups, ["devs", "system:authenticated"]);
        assert_eq!(known.user.extra["k"], ["v"]);
        assert_eq!(read(&status(Value::Null), &wanted).unwrap().audiences, wanted);
        assert!(read(&status(json!(["else"])), &wanted).is_none());
        assert!(
            read(
                &json!({"authenticated": false, "user": {"username": "a"}}),
                &wanted
            )
            .is_none()
        );
        assert!(read(&Value::Null, &wanted).is_none());
    }
}
