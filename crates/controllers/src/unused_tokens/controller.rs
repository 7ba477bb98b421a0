//! Looks once a day, if it has been noted for long enough when tokens are used.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::ApiResource;
use orlop_api::annotations::{TOKEN_INVALID_SINCE, day};
use serde_json::json;
use tokio::task::JoinSet;

use super::plan::{self, Verdict};
use crate::account_tokens::{ACCOUNT, OF_TYPE};
use crate::api_error;
use crate::resources::MetadataOnly;

/// Pause between two looks.
const PERIOD: Duration = Duration::from_secs(24 * 60 * 60);
/// Pause after a look that failed.
const RETRY: Duration = Duration::from_secs(60 * 60);
/// Says since when API servers note the days of use.
const TRACKING: (&str, &str) = (
    "kube-system",
    "kube-apiserver-legacy-service-account-token-tracking",
);

/// The controller.
pub struct UnusedTokens {
    client: kube::Client,
    reader: kube::Client,
    /// How long a token may be unused.
    period: SignedDuration,
}

impl UnusedTokens {
    /// `reader` may list Secrets and pods and read accounts, which upstream's role of who cleans up doesn't allow. Without a
    /// `period`, tokens may be unused for a year.
    pub fn new(client: kube::Client, reader: kube::Client, period: Option<Duration>) -> Arc<Self> {
        let period = period.map_or(plan::PERIOD, |period| {
            SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX)
        });
        Arc::new(Self {
            client,
            reader,
            period,
        })
    }

    /// Starts looking.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(self.clone().run());
    }

    async fn run(self: Arc<Self>) {
        loop {
            let pause = match self.look(Timestamp::now()).await {
                Ok(pause) => pause,
                Err(error) => {
                    let error = orlop_client::message(&error);
                    tracing::warn!(%error, "cannot look for tokens that nobody uses");
                    RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Looks at all Secrets, if it is time; when to look again.
    async fn look(&self, now: Timestamp) -> Result<Duration, kube::Error> {
        let (namespace, name) = TRACKING;
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let since = maps
            .get_opt(name)
            .await?
            .and_then(|map| map.data?.remove("since"));
        let Some(since) = since else { return Ok(PERIOD) };
        if let Some(early) = plan::early(&since, self.period, now) {
            return Ok(early.min(PERIOD));
        }
        let kind = ApiResource::erase::<Secret>(&());
        let secrets: Api<MetadataOnly> = Api::all_with(self.reader.clone(), &kind);
        for secret in secrets.list(&ListParams::default().fields(OF_TYPE)).await?.items {
            let verdict = plan::judge(&secret.metadata, self.period, now);
            if verdict != Verdict::Keep && !self.is_needed(&secret.metadata).await? {
                self.carry_out(verdict, secret.metadata, now).await?;
            }
        }
        Ok(PERIOD)
    }

    /// Whether somebody asked for the Secret, or a pod has it.
    async fn is_needed(&self, secret: &ObjectMeta) -> Result<bool, kube::Error> {
        let namespace = secret.namespace.as_deref().unwrap_or_default();
        let annotations = secret.annotations.as_ref();
        let name = annotations.and_then(|annotations| annotations.get(ACCOUNT));
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(true);
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.reader.clone(), namespace);
        let account = accounts.get_opt(name).await?;
        if !account.is_some_and(|account| plan::is_made_for(&account, secret)) {
            return Ok(true);
        }
        let pods: Api<Pod> = Api::namespaced(self.reader.clone(), namespace);
        let pods = pods.list(&ListParams::default()).await?;
        let name = secret.name.as_deref().unwrap_or_default();
        Ok(pods.items.iter().any(|pod| plan::mentions(pod, name)))
    }

    async fn carry_out(
        &self,
        verdict: Verdict,
        secret: ObjectMeta,
        now: Timestamp,
    ) -> Result<(), kube::Error> {
        let namespace = secret.namespace.unwrap_or_default();
        let name = secret.name.unwrap_or_default();
        let kind = ApiResource::erase::<Secret>(&());
        let api: Api<MetadataOnly> = Api::namespaced_with(self.client.clone(), &namespace, &kind);
        let result = match verdict {
            Verdict::Keep => Ok(()),
            Verdict::Mark => {
                tracing::info!(%namespace, %name, "a token that nobody uses is taken out of use");
                let labels = json!({TOKEN_INVALID_SINCE: day(now)});
                let patch = Patch::Merge(json!({"metadata": {"uid": secret.uid, "labels": labels}}));
                api.patch(&name, &PatchParams::default(), &patch).await.map(drop)
            }
            Verdict::Delete => {
                tracing::info!(%namespace, %name, "a token that nobody uses is deleted");
                let params = DeleteParams {
                    preconditions: Some(Preconditions {
                        uid: secret.uid,
                        resource_version: secret.resource_version,
                    }),
                    ..DeleteParams::default()
                };
                api.delete(&name, &params).await.map(drop)
            }
        };
        match result {
            Err(error) if !api_error::is_not_found(&error) && !api_error::is_conflict(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::Value;

    use super::*;
    use crate::testing::server;

    #[tokio::test]
    async fn unused_tokens_are_marked_and_deleted_but_not_those_that_pods_have() {
        let secret = |name: &str, labels: Value| {
            json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "5",
                "creationTimestamp": "2020-01-01T00:00:00Z", "labels": labels,
                "annotations": {ACCOUNT: "a", "kubernetes.io/service-account.uid": "a-uid"}}})
        };
        let secrets = [
            secret("unused", json!({})),
            secret("mounted", json!({})),
            secret("by-hand", json!({})),
            secret("invalid", json!({TOKEN_INVALID_SINCE: "2024-01-01"})),
        ];
        let (client, asked) = server(move |method, path, body| match (method, path) {
            (&Method::GET, "/api/v1/secrets") => (
                200,
                json!({"apiVersion": "v1", "kind": "SecretList", "metadata": {}, "items": secrets}),
            ),
            (&Method::GET, "/api/v1/namespaces/ns/serviceaccounts/a") => (
                200,
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "uid": "a-uid"},
                    "secrets": [{"name": "unused"}, {"name": "mounted"}, {"name": "invalid"}]}),
            ),
            (&Method::GET, "/api/v1/namespaces/ns/pods") => (
                200,
                json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [
                    {"metadata": {"name": "p"}, "spec": {"containers": [],
                        "volumes": [{"name": "v", "secret": {"secretName": "mounted"}}]}}]}),
            ),
            (&Method::GET, path) if path.ends_with(TRACKING.1) => (
                200,
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": TRACKING.1},
                    "data": {"since": "2023-01-01"}}),
            ),
            (&Method::PATCH, _) => (200, body),
            (&Method::DELETE, _) => (200, json!({"kind": "Status", "status": "Success"})),
            _ => panic!("{method} {path}"),
        });
        let tokens = UnusedTokens::new(client.clone(), client, None);
        let now = "2026-06-01T12:00:00Z".parse().unwrap();
        assert_eq!(tokens.look(now).await.unwrap(), PERIOD);
        let asked = asked.lock().unwrap();
        let writes: Vec<(&Method, &str)> = asked
            .iter()
            .filter(|(method, ..)| method != Method::GET)
            .map(|(method, path, _)| (method, path.as_str()))
            .collect();
        assert_eq!(
            writes,
            [
                (&Method::PATCH, "/api/v1/namespaces/ns/secrets/unused"),
                (&Method::DELETE, "/api/v1/namespaces/ns/secrets/invalid"),
            ]
        );
        let marked = asked.iter().find(|(method, ..)| method == Method::PATCH).unwrap();
        assert_eq!(
            marked.2["metadata"]["labels"],
            json!({TOKEN_INVALID_SINCE: "2026-06-01"})
        );
    }
}
