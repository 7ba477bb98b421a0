//! What a Secret lacks of being an account's.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use serde_json::{Value, json};

/// Annotation: name of the account.
pub const ACCOUNT: &str = "kubernetes.io/service-account.name";
/// Annotation: uid of the account.
pub const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// Who issues tokens that are kept in Secrets.
const ISSUER: &str = "kubernetes/serviceaccount";

/// An annotation of a Secret; empty if it isn't there.
pub fn account_of<'s>(secret: &'s Secret, annotation: &str) -> &'s str {
    let annotations = secret.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(annotation))
        .map_or("", String::as_str)
}

/// Whether the Secret is this account's, not that of one of the same name before it.
pub fn is_of(secret: &Secret, account: &ServiceAccount) -> bool {
    let uid = account_of(secret, ACCOUNT_UID);
    uid.is_empty() || Some(uid) == account.metadata.uid.as_deref()
}

/// The Secret with all that it should have; `None` if it has that.
pub fn completed<E>(
    secret: &Secret,
    account: &ServiceAccount,
    root_ca: Option<&str>,
    sign: impl FnOnce(&Value) -> Result<String, E>,
) -> Result<Option<Secret>, E> {
    let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
    let mut new = secret.clone();
    let data = new.data.get_or_insert_default();
    let is_empty = |value: Option<&ByteString>| value.is_none_or(|value| value.0.is_empty());
    if let Some(root_ca) = root_ca
        && data
            .get("ca.crt")
            .is_none_or(|known| known.0 != root_ca.as_bytes())
    {
        data.insert("ca.crt".to_owned(), ByteString(root_ca.into()));
    }
    if is_empty(data.get("namespace")) {
        data.insert("namespace".to_owned(), ByteString(namespace.into()));
    }
    if is_empty(data.get("token")) {
        let token = sign(&claims(secret, account))?;
        data.insert("token".to_owned(), ByteString(token.into()));
    }
    let annotations = new.metadata.annotations.get_or_insert_default();
    for (key, value) in [
        (ACCOUNT, &account.metadata.name),
        (ACCOUNT_UID, &account.metadata.uid),
    ] {
        annotations.insert(key.to_owned(), value.clone().unwrap_or_default());
    }
    Ok((new != *secret).then_some(new))
}

/// The account without the Secret of that name in its list; `None` if that isn't there.
pub fn without(mut account: ServiceAccount, secret: &str) -> Option<ServiceAccount> {
    let mut named = account.secrets.take()?;
    let before = named.len();
    named.retain(|named| named.name.as_deref() != Some(secret));
    let changed = named.len() != before;
    account.secrets = (!named.is_empty()).then_some(named);
    changed.then_some(account)
}

fn claims(secret: &Secret, account: &ServiceAccount) -> Value {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (namespace, name) = (text(&secret.metadata.namespace), text(&account.metadata.name));
    json!({
        "iss": ISSUER,
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": text(&secret.metadata.name),
        "kubernetes.io/serviceaccount/service-account.name": name,
        "kubernetes.io/serviceaccount/service-account.uid": text(&account.metadata.uid),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn secret(value: Value) -> Secret {
        serde_json::from_value(value).unwrap()
    }

    fn account() -> ServiceAccount {
        serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "n", "uid": "u"}})).unwrap()
    }

    fn signed(claims: &Value) -> Result<String, Infallible> {
        Ok(format!("token of {}", claims["sub"].as_str().unwrap()))
    }

    #[test]
    fn an_empty_secret_gets_token_namespace_and_authority() {
        let bare =
            secret(json!({"metadata": {"name": "s", "namespace": "n", "annotations": {ACCOUNT: "a"}}}));
        let full = completed(&bare, &account(), Some("CA"), signed).unwrap().unwrap();
        let text = |key: &str| String::from_utf8(full.data.as_ref().unwrap()[key].0.clone()).unwrap();
        assert_eq!(
            ["ca.crt", "namespace", "token"].map(text),
            ["CA", "n", "token of system:serviceaccount:n:a"]
        );
        assert_eq!(account_of(&full, ACCOUNT_UID), "u");
        assert!(
            completed(&full, &account(), Some("CA"), signed)
                .unwrap()
                .is_none()
        );
        let renewed = completed(
            &full,
            &account(),
            Some("other CA"),
            |_| -> Result<String, Infallible> { unreachable!("it has a token") },
        );
        assert!(renewed.unwrap().is_some(), "the authority is kept up to date");
    }

    #[test]
    fn a_secret_that_went_is_taken_out_of_the_list() {
        let of = |secrets: Value| -> ServiceAccount {
            serde_json::from_value(json!({"metadata": {"name": "a"}, "secrets": secrets})).unwrap()
        };
        let left = |secrets: Value| {
            let left = without(of(secrets), "s")?;
            Some(serde_json::to_value(left.secrets).unwrap())
        };
        assert_eq!(
            left(json!([{"name": "r"}, {"name": "s"}])),
            Some(json!([{"name": "r"}]))
        );
        assert_eq!(left(json!([{"name": "s"}])), Some(json!(null)));
        assert_eq!(left(json!([{"name": "r"}])), None);
        assert_eq!(left(json!(null)), None);
    }

    #[test]
    fn a_secret_of_an_account_before_is_nobodys() {
        let of = |uid: &str| secret(json!({"metadata": {"annotations": {ACCOUNT: "a", ACCOUNT_UID: uid}}}));
        assert!(is_of(&of("u"), &account()) && is_of(&of(""), &account()));
        assert!(!is_of(&of("before"), &account()));
    }
}
