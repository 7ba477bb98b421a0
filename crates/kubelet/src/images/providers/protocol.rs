//! What a provider is asked and what it answers, `credentialprovider.kubelet.k8s.io`. Pure.
use crate::config::GoDuration;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What an answer is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Scope {
    Image,
    Registry,
    Global,
}

/// What one registry is told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Entry {
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub password: String,
}

/// A provider's answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Answer {
    kind: String,
    api_version: String,
    #[serde(rename = "cacheKeyType")]
    pub scope: Scope,
    /// How long it counts; zero: it is not kept.
    pub cache_duration: Option<GoDuration>,
    /// By registry or the beginning of a repository, with globs.
    #[serde(default)]
    pub auth: Option<BTreeMap<String, Entry>>,
}

/// An account on whose behalf a provider is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub token: String,
    pub annotations: BTreeMap<String, String>,
}

/// The request about a repository.
pub fn request(version: &str, repository: &str, account: Option<&Account>) -> Value {
    let mut request =
        json!({"kind": "CredentialProviderRequest", "apiVersion": version, "image": repository});
    if let Some(account) = account {
        request["serviceAccountToken"] = account.token.clone().into();
        if !account.annotations.is_empty() {
            request["serviceAccountAnnotations"] = json!(account.annotations);
        }
    }
    request
}

/// Reads an answer. What is wrong is told without a word of it: it may hold passwords.
pub fn answer(version: &str, output: &[u8]) -> Result<Answer, String> {
    let head: Value = serde_json::from_slice(output).map_err(|_| "the answer is not JSON".to_owned())?;
    let given = head["apiVersion"].as_str().unwrap_or_default();
    if given != version {
        return Err(format!("the answer's apiVersion is {given:?}, not {version:?}"));
    }
    let answer: Answer = serde_json::from_value(head)
        .map_err(|_| "the answer is no CredentialProviderResponse with a cacheKeyType".to_owned())?;
    if answer.kind != "CredentialProviderResponse" {
        return Err(format!("the answer is a {:?}", answer.kind));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "credentialprovider.kubelet.k8s.io/v1";

    #[test]
    fn answers_are_read_strictly_and_never_told() {
        let good = json!({"kind": "CredentialProviderResponse", "apiVersion": V1, "cacheKeyType": "Registry",
            "cacheDuration": "5m0s", "auth": {"*.example.com": {"username": "u", "password": "secret"}}});
        let read = |object: &Value| answer(V1, object.to_string().as_bytes());
        let found = read(&good).unwrap();
        assert_eq!(found.scope, Scope::Registry);
        assert_eq!(found.cache_duration.unwrap().0.as_secs(), 300);
        assert_eq!(found.auth.unwrap()["*.example.com"].password, "secret");
        for (field, value) in [
            ("apiVersion", json!("credentialprovider.kubelet.k8s.io/v1beta1")),
            ("kind", json!("Secret")),
            ("cacheKeyType", json!("Node")),
            ("cacheDuration", json!("soon")),
            ("colour", json!("secret")),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            let error = read(&bad).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(answer(V1, b"secret").is_err_and(|error| !error.contains("secret")));
    }

    #[test]
    fn requests_name_the_account_where_there_is_one() {
        assert_eq!(
            request(V1, "r.io/x", None),
            json!({"kind": "CredentialProviderRequest", "apiVersion": V1, "image": "r.io/x"})
        );
        let account = Account {
            token: "t".into(),
            annotations: [("a".to_owned(), "b".to_owned())].into(),
        };
        let with = request(V1, "r.io/x", Some(&account));
        assert_eq!(with["serviceAccountToken"], "t");
        assert_eq!(with["serviceAccountAnnotations"], json!({"a": "b"}));
    }
}
