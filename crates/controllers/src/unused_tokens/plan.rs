//! What becomes of a Secret whose token nobody uses.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orlop_api::annotations::{TOKEN_INVALID_SINCE, TOKEN_LAST_USED, day};
use serde_json::Value;

use crate::account_tokens::ACCOUNT_UID;

/// How long a token is unused before it is taken out of use, and then before it goes, where nobody says; upstream's.
pub const PERIOD: SignedDuration = SignedDuration::from_secs(365 * DAY);
const DAY: i64 = 24 * 60 * 60;

/// What to do about a Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// Take it out of use.
    Mark,
    /// Delete it.
    Delete,
}

fn is_day(text: &str) -> bool {
    text.parse::<Date>().is_ok()
}

/// How long it is until uses have been noted for a `period`, when that began on the day `since`, which is no whole one.
/// For ever if that is no day.
pub fn early(since: &str, period: SignedDuration, now: Timestamp) -> Option<Duration> {
    let begun = since.parse::<Date>().ok();
    let begun = begun.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
    let Some(begun) = begun.map(|begun| begun.timestamp()) else {
        return Some(Duration::MAX);
    };
    let noted = period.saturating_add(SignedDuration::from_secs(DAY));
    let left = noted.saturating_sub(now.duration_since(begun));
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// Judges a Secret by its age and its labels.
pub fn judge(secret: &ObjectMeta, period: SignedDuration, now: Timestamp) -> Verdict {
    let Ok(edge) = now.checked_sub(period) else {
        return Verdict::Keep;
    };
    let created = secret.creation_timestamp.as_ref().map(|time| time.0);
    if secret.deletion_timestamp.is_some() || created.is_none_or(|created| created >= edge) {
        return Verdict::Keep;
    }
    let edge = day(edge);
    let label = |name: &str| secret.labels.as_ref()?.get(name).map(String::as_str);
    // What is no day says nothing of when it was.
    if label(TOKEN_LAST_USED).is_some_and(|used| !is_day(used) || used >= edge.as_str()) {
        return Verdict::Keep;
    }
    match label(TOKEN_INVALID_SINCE).filter(|since| is_day(since)) {
        None => Verdict::Mark,
        Some(since) if since >= edge.as_str() => Verdict::Keep,
        Some(_) => Verdict::Delete,
    }
}

/// Whether the Secret was made for the account without anybody asking for it: then the account names it.
pub fn is_made_for(account: &ServiceAccount, secret: &ObjectMeta) -> bool {
    let annotations = secret.annotations.as_ref();
    let uid = annotations.and_then(|annotations| annotations.get(ACCOUNT_UID));
    let is_its = uid.is_none_or(|uid| uid.is_empty() || Some(uid) == account.metadata.uid.as_ref());
    let mut named = account.secrets.iter().flatten();
    is_its && named.any(|named| named.name.is_some() && named.name == secret.name)
}

/// Whether anything in the pod's spec may mean the Secret of that name.
pub fn mentions(pod: &Pod, name: &str) -> bool {
    match serde_json::to_value(&pod.spec) {
        Ok(spec) => has(&spec, name),
        Err(_) => true,
    }
}

fn has(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|item| has(item, name)),
        Value::Object(fields) => fields.values().any(|field| has(field, name)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_goes_out_of_use_after_a_year_and_goes_a_year_later() {
        let now = at("2026-06-01T12:00:00Z");
        let of = |created: &str, labels: Value| {
            let secret = json!({"name": "s", "creationTimestamp": created, "labels": labels});
            judge(&serde_json::from_value(secret).unwrap(), PERIOD, now)
        };
        let old = "2023-01-01T00:00:00Z";
        let unused: ObjectMeta =
            serde_json::from_value(json!({"name": "s", "creationTimestamp": old})).unwrap();
        for (years, want) in [(3, Verdict::Mark), (4, Verdict::Keep), (i32::MAX, Verdict::Keep)] {
            assert_eq!(judge(&unused, PERIOD * years, now), want, "{years} years");
        }
        assert_eq!(of("2025-07-01T00:00:00Z", json!({})), Verdict::Keep, "too young");
        assert_eq!(of(old, json!({})), Verdict::Mark, "never used");
        for (used, want) in [
            ("2025-05-31", Verdict::Mark),
            ("2025-06-01", Verdict::Keep),
            ("yesterday", Verdict::Keep),
        ] {
            assert_eq!(of(old, json!({TOKEN_LAST_USED: used})), want, "used {used}");
        }
        for (since, want) in [
            ("2025-05-31", Verdict::Delete),
            ("2025-06-01", Verdict::Keep),
            ("", Verdict::Mark),
        ] {
            assert_eq!(
                of(old, json!({TOKEN_INVALID_SINCE: since})),
                want,
                "invalid since {since:?}"
            );
        }
        let used_again = json!({TOKEN_LAST_USED: "2026-01-01", TOKEN_INVALID_SINCE: "2025-01-01"});
        assert_eq!(of(old, used_again), Verdict::Keep);
    }

    #[test]
    fn nothing_is_judged_before_uses_were_noted_for_a_year() {
        let now = at("2026-06-01T12:00:00Z");
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        assert_eq!(early("2025-05-31", PERIOD, now), None);
        assert_eq!(early("2025-06-01", PERIOD, now), hours(12));
        assert_eq!(early("2025-06-01", PERIOD * 2, now), hours(365 * 24 + 12));
        assert_eq!(early("2026-06-01", PERIOD, now), hours(365 * 24 + 12));
        assert_eq!(early("soon", PERIOD, now), Some(Duration::MAX));
    }

    #[test]
    fn what_somebody_asked_for_or_a_pod_has_is_nothing_to_take_away() {
        let secret: ObjectMeta = serde_json::from_value(json!({"name": "s",
            "annotations": {ACCOUNT_UID: "u"}}))
        .unwrap();
        let account = |uid: &str, secrets: Value| -> ServiceAccount {
            serde_json::from_value(json!({"metadata": {"name": "a", "uid": uid}, "secrets": secrets}))
                .unwrap()
        };
        assert!(is_made_for(&account("u", json!([{"name": "s"}])), &secret));
        assert!(!is_made_for(&account("u", json!([])), &secret), "made by hand");
        assert!(!is_made_for(&account("other", json!([{"name": "s"}])), &secret));
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [],
            "volumes": [{"name": "v", "secret": {"secretName": "s"}}]}}))
        .unwrap();
        assert!(mentions(&pod, "s") && !mentions(&pod, "t"));
    }
}
