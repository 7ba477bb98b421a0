//! Bootstrap tokens: Secrets by which new nodes join (contract §15.6).
use super::UserInfo;
use super::recent::digest;
use crate::cache::Cache;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use orlop_api::names::is_bootstrap_group;
use serde_json::Value;

const NAMESPACE: &str = "kube-system";
const NAME_PREFIX: &str = "bootstrap-token-";
const TYPE: &str = "bootstrap.kubernetes.io/token";
/// Everybody who comes with such a token; further groups begin with it.
const GROUP: &str = "system:bootstrappers";

/// `id.secret`, each of so many lower-case letters and digits.
fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    (plain(id, 6) && plain(secret, 16)).then_some((id, secret))
}

/// Whom a token speaks for, if there is a Secret that says so.
pub fn user(token: &str, cache: &Cache, now: Timestamp) -> Option<UserInfo> {
    let (id, secret) = parse(token)?;
    let stored = cache.core_object("secrets", NAMESPACE, &format!("{NAME_PREFIX}{id}"))?;
    judge(&stored.value(), id, secret, now)
}

fn judge(stored: &Value, id: &str, secret: &str, now: Timestamp) -> Option<UserInfo> {
    let data = |key: &str| -> Option<String> {
        let bytes = STANDARD.decode(stored["data"][key].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    let leaving = stored["metadata"]["deletionTimestamp"].is_string();
    if leaving || stored["type"] != TYPE || data("token-id")? != id {
        return None;
    }
    // Digests, so that the time a comparison takes tells nothing.
    if digest(&data("token-secret")?) != digest(secret) {
        return None;
    }
    if let Some(end) = data("expiration").filter(|end| !end.is_empty())
        // An end that cannot be read has come.
        && end.parse::<Timestamp>().map_or(true, |end| end <= now)
    {
        return None;
    }
    if data("usage-bootstrap-authentication")? != "true" {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    for group in data("auth-extra-groups").unwrap_or_default().split(',') {
        if group.is_empty() {
            continue;
        }
        // One group too many would be a way to any right.
        if !is_bootstrap_group(group) {
            return None;
        }
        groups.push(group.to_owned());
    }
    Some(UserInfo::new(format!("system:bootstrap:{id}"), groups))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(change: &[(&str, &str)]) -> Value {
        let mut data = vec![
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("expiration", "2030-01-01T00:00:00Z"),
            ("usage-bootstrap-authentication", "true"),
            (
                "auth-extra-groups",
                "system:bootstrappers:kubeadm:default-node-token",
            ),
        ];
        for (key, value) in change {
            data.retain(|(k, _)| k != key);
            data.push((key, value));
        }
        let data: serde_json::Map<String, Value> = data
            .into_iter()
            .map(|(key, value)| (key.to_owned(), json!(STANDARD.encode(value))))
            .collect();
        json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": TYPE, "data": data})
    }

    #[test]
    fn a_token_is_its_secrets_word_for_word() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let judged = |stored: Value, token: &str| {
            let (id, secret) = parse(token)?;
            judge(&stored, id, secret, now)
        };
        let token = "abcdef.0123456789abcdef";
        let user = judged(secret(&[]), token).unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(
            user.groups,
            [
                "system:bootstrappers",
                "system:bootstrappers:kubeadm:default-node-token",
                "system:authenticated"
            ]
        );
        assert!(judged(secret(&[("expiration", "")]), token).is_some());
        for refused in [
            [("token-secret", "0123456789abcdee")],
            [("token-id", "abcdee")],
            [("expiration", "2025-01-01T00:00:00Z")],
            [("expiration", "soon")],
            [("usage-bootstrap-authentication", "false")],
            [("auth-extra-groups", "system:masters")],
            [("auth-extra-groups", "system:bootstrappers:")],
        ] {
            assert!(judged(secret(&refused), token).is_none(), "{refused:?}");
        }
        let mut other = secret(&[]);
        other["type"] = json!("Opaque");
        assert!(judged(other, token).is_none());
        for malformed in [
            "abcdef",
            "abcdef.",
            "ABCDEF.0123456789abcdef",
            "abcdef.0123456789abcdef.x",
        ] {
            assert!(judged(secret(&[]), malformed).is_none(), "{malformed}");
        }
    }
}
