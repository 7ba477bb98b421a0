//! Which signatures `cluster-info` should carry.

use std::collections::BTreeMap;

use jiff::Timestamp;
use orlop_pki::detached_signature;

use crate::cache::BootstrapTokenView;

const CONTENT: &str = "kubeconfig";
const SIGNATURE: &str = "jws-kubeconfig-";

/// Whether the token may no longer be used.
pub fn has_ended(token: &BootstrapTokenView, now: Timestamp) -> bool {
    token.expires.is_some_and(|end| end <= now)
}

/// What has to change in the data of `cluster-info`: a signature a token, none of others.
pub fn changes<'a>(
    data: &BTreeMap<String, String>,
    tokens: impl Iterator<Item = &'a BootstrapTokenView>,
    now: Timestamp,
) -> BTreeMap<String, Option<String>> {
    let mut wanted: BTreeMap<String, String> = BTreeMap::new();
    if let Some(content) = data.get(CONTENT) {
        wanted.extend(
            tokens
                .filter(|token| token.signs && !has_ended(token, now))
                .filter(|token| !token.id.is_empty() && !token.secret.is_empty())
                .map(|token| {
                    let signature = detached_signature(content.as_bytes(), &token.id, &token.secret);
                    (format!("{SIGNATURE}{}", token.id), signature)
                }),
        );
    }
    let mut changes: BTreeMap<String, Option<String>> = data
        .keys()
        .filter(|key| key.starts_with(SIGNATURE) && !wanted.contains_key(*key))
        .map(|key| (key.clone(), None))
        .collect();
    changes.extend(
        wanted
            .into_iter()
            .filter(|(key, signature)| data.get(key) != Some(signature))
            .map(|(key, signature)| (key, Some(signature))),
    );
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owned::testing::{ago, now};

    fn token(id: &str, signs: bool, expires: Option<Timestamp>) -> BootstrapTokenView {
        BootstrapTokenView {
            id: id.into(),
            secret: "0123456789abcdef".into(),
            expires,
            signs,
        }
    }

    #[test]
    fn there_is_a_signature_for_each_token_that_signs_and_holds() {
        let tokens = [
            token("signs1", true, None),
            token("other1", false, None),
            token("ended1", true, Some(ago(1))),
        ];
        let mut data: BTreeMap<String, String> = [
            ("kubeconfig", "content"),
            ("jws-kubeconfig-gone01", "x"),
            ("jws-kubeconfig-ended1", "y"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let changes_ = changes(&data, tokens.iter(), now());
        let keys: Vec<(&str, bool)> = changes_
            .iter()
            .map(|(key, value)| (key.as_str(), value.is_some()))
            .collect();
        assert_eq!(
            keys,
            [
                ("jws-kubeconfig-ended1", false),
                ("jws-kubeconfig-gone01", false),
                ("jws-kubeconfig-signs1", true)
            ]
        );
        for (key, value) in changes_ {
            match value {
                Some(value) => data.insert(key, value),
                None => data.remove(&key),
            };
        }
        assert!(changes(&data, tokens.iter(), now()).is_empty());
    }
}
