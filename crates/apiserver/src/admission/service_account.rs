//! Pods run as an account. Mirror pods are copies of what a node runs anyway: they are left untouched
//! and may not name accounts, secrets or tokens. (Token volumes are not injected yet: the server issues
//! no tokens, and a pod must not wait for what nobody makes.)
use super::{Attempt, Operation};
use crate::authz::{Reference, references};
use crate::resources;
use crate::status::ApiError;
use serde_json::{Value, json};

const DEFAULT_ACCOUNT: &str = "default";

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    if !attempt.is("pods", "") || attempt.operation != Operation::Create {
        return Ok(());
    }
    let Some(pod) = attempt.object.as_deref() else {
        return Ok(());
    };
    if resources::is_mirror(pod) {
        return mirror(pod).map_or(Ok(()), |why| Err(attempt.forbidden(why)));
    }
    if pod["spec"]["serviceAccountName"]
        .as_str()
        .unwrap_or_default()
        .is_empty()
        && let Some(pod) = attempt.object.as_deref_mut()
    {
        pod["spec"]["serviceAccountName"] = json!(DEFAULT_ACCOUNT);
        pod["spec"]["serviceAccount"] = json!(DEFAULT_ACCOUNT);
    }
    Ok(())
}

fn mirror(pod: &Value) -> Option<&'static str> {
    let found = references(pod);
    let names = |kind: Reference| found.iter().any(|(k, _)| *k == kind);
    if names(Reference::ServiceAccount) {
        return Some("a mirror pod may not reference service accounts");
    }
    if names(Reference::Secret) {
        return Some("a mirror pod may not reference secrets");
    }
    let tokens = pod["spec"]["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|v| v["projected"]["sources"].as_array().into_iter().flatten())
        .any(|source| source["serviceAccountToken"].is_object());
    tokens.then_some("a mirror pod may not use ServiceAccountToken volume projections")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_pods_name_no_accounts_secrets_or_tokens() {
        assert_eq!(mirror(&json!({"spec": {"containers": []}})), None);
        assert!(mirror(&json!({"spec": {"serviceAccountName": "x"}})).is_some());
        assert!(mirror(&json!({"spec": {"imagePullSecrets": [{"name": "x"}]}})).is_some());
        let token = json!({"spec": {"volumes": [{"projected": {"sources": [{"serviceAccountToken": {}}]}}]}});
        assert_eq!(
            mirror(&token),
            Some("a mirror pod may not use ServiceAccountToken volume projections")
        );
    }
}
