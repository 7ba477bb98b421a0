//! Tokens of service accounts, bound to a pod of theirs.
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use orlop_api::pod::{name, namespace, uid};
use std::time::Duration;

/// Seconds that a token lives where nobody says how long, as the API server has it.
const LIFETIME_DEFAULT: i64 = 3600;
/// A request that takes longer counts as failed.
const REQUEST_MAX: Duration = Duration::from_secs(10);

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
    let answer = api.create_token_request(account, &parameters, &request);
    let answer = tokio::time::timeout(REQUEST_MAX, answer)
        .await
        .map_err(|_| format!("no answer within {} s", REQUEST_MAX.as_secs()))?
        .map_err(|error| error.to_string())?;
    let status = answer.status.unwrap_or_default();
    let token = status
        .token
        .ok_or_else(|| "the answer holds no token".to_owned())?;
    let until = status.expiration_timestamp.map(|time| time.0);
    let lifetime = SignedDuration::from_secs(lifetime.unwrap_or(LIFETIME_DEFAULT));
    Ok((token, until.unwrap_or_else(|| Timestamp::now() + lifetime)))
}
