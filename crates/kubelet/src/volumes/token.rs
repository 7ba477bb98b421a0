//! Service account tokens of pods: requested, kept, renewed in time.
use super::atomic::File;
use super::due::Due;
use super::ownership::FsGroup;
use super::{Fault, RETRY_AFTER, keys};
use crate::tokens;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ServiceAccountTokenProjection};
use kube::Client;
use orlop_api::pod::{name, namespace, uid};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

const LIFETIME_DEFAULT: i64 = 3600;

type Key = (String, String, String);

/// The tokens pods have.
pub struct Tokens {
    client: Option<Client>,
    due: Due,
    kept: Mutex<HashMap<Key, Kept>>,
}

struct Kept {
    token: String,
    expires: Timestamp,
    renew: Timestamp,
}

/// The token that a volume wants.
pub struct Wanted<'a> {
    pub volume: &'a str,
    pub projection: &'a ServiceAccountTokenProjection,
}

impl Tokens {
    pub fn new(client: Option<Client>, due: Due) -> Self {
        Self {
            client,
            due,
            kept: Mutex::default(),
        }
    }

    /// The token, new if it is time; the old one while it is valid and no new one is to be had.
    pub async fn token(&self, pod: &Pod, wanted: &Wanted<'_>) -> Result<String, Fault> {
        let key = (
            uid(pod).to_owned(),
            wanted.volume.to_owned(),
            wanted.projection.path.clone(),
        );
        let now = Timestamp::now();
        if let Some(kept) = self.kept.lock().get(&key).filter(|kept| now < kept.renew) {
            // The pod may have been due for something else, and its timer is spent.
            self.remind(pod, now, kept.renew);
            return Ok(kept.token.clone());
        }
        match self.request(pod, wanted.projection).await {
            Ok((token, expires)) => {
                let renew = tokens::renewal(now, expires);
                self.remind(pod, now, renew);
                self.kept.lock().insert(
                    key,
                    Kept {
                        token: token.clone(),
                        expires,
                        renew,
                    },
                );
                Ok(token)
            }
            Err(fault) => {
                let kept = self.kept.lock();
                let Some(old) = kept.get(&key).filter(|kept| now < kept.expires) else {
                    return Err(fault);
                };
                tracing::warn!(pod = name(pod), namespace = namespace(pod), uid = uid(pod), %fault, "token not renewed");
                self.due.remind(uid(pod), RETRY_AFTER);
                Ok(old.token.clone())
            }
        }
    }

    /// The pod is gone.
    pub fn forget(&self, uid: &str) {
        self.kept.lock().retain(|(of, _, _), _| of != uid);
    }

    /// Has the pod looked at again when a token is to be renewed.
    fn remind(&self, pod: &Pod, now: Timestamp, renew: Timestamp) {
        let wait = Duration::try_from(renew.duration_since(now)).unwrap_or(RETRY_AFTER);
        self.due.remind(uid(pod), wait);
    }

    async fn request(
        &self,
        pod: &Pod,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<(String, Timestamp), Fault> {
        let account = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_deref());
        let account = account.filter(|account| !account.is_empty()).unwrap_or("default");
        let fault = |reason: String| Fault::Token {
            name: account.to_owned(),
            reason,
        };
        let Some(client) = self.client.clone() else {
            return Err(fault("the agent runs without an API server".to_owned()));
        };
        let lifetime = wanted.expiration_seconds.unwrap_or(LIFETIME_DEFAULT);
        let audiences = wanted
            .audience
            .clone()
            .filter(|audience| !audience.is_empty())
            .into_iter()
            .collect();
        tokens::request(&client, pod, account, (audiences, Some(lifetime)))
            .await
            .map_err(fault)
    }
}

/// The token's file: only for whom it is meant, if the pod says who that is.
pub fn file(pod: &Pod, token: String, default_mode: Option<i32>) -> File {
    let user = common_user(pod);
    let mode = if user.is_some() || FsGroup::of(pod).is_some() {
        0o600
    } else {
        default_mode.unwrap_or(keys::MODE_DEFAULT)
    };
    File {
        owner: user,
        ..keys::file(token.into_bytes(), mode)
    }
}

/// The user that all containers run as.
fn common_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec
        .security_context
        .as_ref()
        .and_then(|context| context.run_as_user);
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let users: BTreeSet<Option<i64>> = containers
        .map(|container| {
            container
                .security_context
                .as_ref()
                .and_then(|context| context.run_as_user)
                .or(of_pod)
        })
        .collect();
    match (users.len(), users.into_iter().next()) {
        (1, Some(Some(user))) => u32::try_from(user).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn e14_who_may_read_the_token() {
        for (context, container, mode, owner) in [
            (json!({}), json!({}), 0o644, None),
            (json!({"runAsUser": 1000}), json!({}), 0o600, Some(1000)),
            (json!({}), json!({"runAsUser": 7}), 0o600, Some(7)),
            (json!({"fsGroup": 5}), json!({}), 0o600, None),
        ] {
            let pod: Pod =
                serde_json::from_value(json!({"metadata": {}, "spec": {"securityContext": context,
                "containers": [{"name": "c", "securityContext": container}]}}))
                .unwrap();
            let file = file(&pod, "t".into(), None);
            assert_eq!((file.mode, file.owner), (mode, owner));
        }
    }
}
