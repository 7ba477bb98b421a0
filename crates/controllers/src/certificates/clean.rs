//! When a request is no longer of use.

use jiff::{SignedDuration, Timestamp};

use crate::cache::CertificateRequestView;

const PENDING: SignedDuration = SignedDuration::from_hours(24);
const SETTLED: SignedDuration = SignedDuration::from_hours(1);

/// When the request is deleted: an hour after it was approved, denied or failed, a day after it was
/// made if nobody cared.
pub fn due(request: &CertificateRequestView) -> Option<Timestamp> {
    let conditions = request.status.conditions.as_deref().unwrap_or_default();
    let settled = conditions
        .iter()
        .filter(|condition| matches!(condition.type_.as_str(), "Approved" | "Denied" | "Failed"))
        .filter_map(|condition| {
            let at = condition.last_update_time.as_ref();
            at.or(condition.last_transition_time.as_ref()).map(|time| time.0)
        })
        .min();
    match settled {
        Some(at) => at.checked_add(SETTLED).ok(),
        None => request.created?.checked_add(PENDING).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_client::informer::Projection;
    use serde_json::{Value, json};

    #[test]
    fn settled_requests_stay_an_hour_and_others_a_day() {
        let of = |conditions: Value| {
            let request = json!({"metadata": {"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"request": "", "signerName": "s"}, "status": {"conditions": conditions}});
            let due = due(&CertificateRequestView::project(
                serde_json::from_value(request).unwrap(),
            ));
            due.unwrap().to_string()
        };
        assert_eq!(of(json!([])), "2026-01-02T00:00:00Z");
        let approved =
            json!([{"type": "Approved", "status": "True", "lastUpdateTime": "2026-01-01T05:00:00Z"}]);
        assert_eq!(of(approved), "2026-01-01T06:00:00Z");
    }
}
