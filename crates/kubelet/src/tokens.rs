//! Tokens of service accounts, bound to a pod of theirs.
use crate::in_time::in_time;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use orlop_api::pod::{name, namespace, uid};
use parking_lot::Mutex;
use std::collections::HashMap;

/// Seconds that a token lives where nobody says how long, as the API server has it.
const LIFETIME_DEFAULT: i64 = 3600;
/// Tokens are renewed at the latest after this.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(24);

/// When a token is renewed: after four fifths of its life, a day at most.
pub fn renewal(now: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(now);
    now + (life * 4 / 5).min(AGE_MAX)
}

/// A token that is used until it is time for another.
struct Kept {
    token: String,
    renew: Timestamp,
    expires: Timestamp,
}

/// Tokens that are wanted again and again, by what they are for.
pub struct Shelf<K>(Mutex<HashMap<K, Kept>>);

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: std::hash::Hash + Eq> Shelf<K> {
    /// The token for this: a new one if it is time, the old one while it counts and no new one is to be had.
    pub async fn token(
        &self,
        key: K,
        new: impl Future<Output = Result<(String, Timestamp), String>>,
    ) -> Result<String, String> {
        let now = Timestamp::now();
        if let Some(kept) = self.0.lock().get(&key).filter(|kept| now < kept.renew) {
            return Ok(kept.token.clone());
        }
        let outcome = new.await;
        let mut shelf = self.0.lock();
        shelf.retain(|_, kept| now < kept.expires);
        match outcome {
            Ok((token, expires)) => {
                let kept = Kept {
                    token: token.clone(),
                    renew: renewal(now, expires),
                    expires,
                };
                shelf.insert(key, kept);
                Ok(token)
            }
            Err(error) => match shelf.get(&key) {
                Some(old) => {
                    tracing::warn!(error, "a service account's token is not renewed");
                    Ok(old.token.clone())
                }
                None => Err(error),
            },
        }
    }
}

/// A token of the account for these audiences, and until when it counts; `lifetime` in seconds.
pub async fn request(
    client: &Client,
    pod: &Pod,
    account: &str,
    (audiences, lifetime): (Vec<String>, Option<i64>),
) -> Result<(String, Timestamp), String> {
    let bound = BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(name(pod).to_owned()),
        uid: Some(uid(pod).to_owned()),
    };
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(audiences),
            bound_object_ref: Some(bound),
            expiration_seconds: lifetime,
        }),
        ..TokenRequest::default()
    };
    let api = Api::<ServiceAccount>::namespaced(client.clone(), namespace(pod));
    let parameters = PostParams::default();
    let answer = in_time(api.create_token_request(account, &parameters, &request)).await?;
    let status = answer.status.unwrap_or_default();
    let token = status
        .token
        .ok_or_else(|| "the answer holds no token".to_owned())?;
    let until = status.expiration_timestamp.map(|time| time.0);
    let lifetime = SignedDuration::from_secs(lifetime.unwrap_or(LIFETIME_DEFAULT));
    Ok((token, until.unwrap_or_else(|| Timestamp::now() + lifetime)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e14_renewal_time() {
        let now = Timestamp::UNIX_EPOCH;
        for (life, want) in [(3600, 2880), (600, 480), (86_400 * 365, 86_400)] {
            let renew = renewal(now, now + SignedDuration::from_secs(life));
            assert_eq!(renew.as_second(), want);
        }
    }

    #[tokio::test]
    async fn token_is_asked_for_when_the_last_one_has_lived_four_fifths_and_kept_while_nobody_gives_another()
    {
        let shelf = Shelf::default();
        let lives = |token: &str, seconds| {
            let expires = Timestamp::now() + SignedDuration::from_secs(seconds);
            std::future::ready(Ok((token.to_owned(), expires)))
        };
        assert_eq!(shelf.token("young", lives("a", 3600)).await.unwrap(), "a");
        assert_eq!(shelf.token("young", lives("b", 3600)).await.unwrap(), "a");
        assert_eq!(shelf.token("other", lives("b", 3600)).await.unwrap(), "b");
        let aged = Kept {
            token: "old".to_owned(),
            renew: Timestamp::now(),
            expires: Timestamp::now() + SignedDuration::from_secs(60),
        };
        shelf.0.lock().insert("aged", aged);
        let none = std::future::ready(Err("away".to_owned()));
        assert_eq!(shelf.token("aged", none).await.unwrap(), "old");
        assert_eq!(shelf.token("aged", lives("new", 3600)).await.unwrap(), "new");
        let none = std::future::ready(Err("away".to_owned()));
        assert_eq!(shelf.token("none", none).await.unwrap_err(), "away");
    }
}
