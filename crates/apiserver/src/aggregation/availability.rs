//! Whether the servers behind APIServices answer. They are asked when something about them changes, and every
//! [`RECHECK`] while there are any: a server without remote APIServices asks nobody.
use super::locate::locate;
use super::{GROUP, Remote, is_available, proxy, schemas};
use crate::ApiServer;
use crate::resources;
use crate::upkeep::own_call;
use futures::future::join_all;
use http::Method;
use orlop_api::conditions;
use serde_json::{Value, json};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Upstream's period.
const RECHECK: Duration = Duration::from_secs(30);
/// Between two rounds, however much changes: rollouts of other services are news, too.
const ROUND_PAUSE: Duration = Duration::from_secs(1);
/// A server that takes longer does not answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// The condition `Available`.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    available: bool,
    reason: &'static str,
    message: String,
}

/// Watches until the server shuts down.
pub async fn run(server: Weak<ApiServer>) {
    let Some((mut changed, shutdown)) = server.upgrade().map(|server| {
        let kinds = [
            (GROUP, "apiservices"),
            ("", "services"),
            ("discovery.k8s.io", "endpointslices"),
        ];
        let changed: Vec<watch::Receiver<u64>> = kinds
            .iter()
            .filter_map(|(group, plural)| server.cache.changes_of(group, plural))
            .collect();
        (changed, server.shutdown.clone())
    }) else {
        return;
    };
    loop {
        for receiver in &mut changed {
            receiver.borrow_and_update();
        }
        let Some(server) = server.upgrade() else { return };
        let (remotes, began) = (server.aggregation.remotes(), Instant::now());
        join_all(remotes.iter().map(|remote| check(&server, remote))).await;
        server.aggregation.keep_only(&remotes);
        let (some, only) = (!remotes.is_empty(), changed.len().min(1));
        drop(server);
        // Without remote APIServices only a new one is news.
        let news = if some {
            &mut changed[..]
        } else {
            &mut changed[..only]
        };
        let news = futures::future::select_all(news.iter_mut().map(|receiver| Box::pin(receiver.changed())));
        tokio::select! {
            (ended, ..) = news => if ended.is_err() { return },
            () = tokio::time::sleep(RECHECK), if some => {}
            () = shutdown.cancelled() => return,
        }
        if some {
            tokio::select! {
                () = tokio::time::sleep_until(began + ROUND_PAUSE) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }
}

async fn check(server: &Arc<ApiServer>, remote: &Remote) {
    let (verdict, document) = ask(server, remote).await;
    server.aggregation.keep(&remote.name, document);
    let hash = match verdict.available {
        true => schemas::hash(&server.aggregation, remote).await,
        false => None,
    };
    server.aggregation.keep_hash(&remote.name, hash);
    let path = format!("/apis/{GROUP}/v1/apiservices/{}", remote.name);
    let stored = resources::find(GROUP, "v1", "apiservices")
        .and_then(|kind| server.cache.object(kind, "", &remote.name))
        .map(|object| object.value());
    let Some(stored) = stored else { return };
    let Some(status) = changed_status(&stored, &verdict, &crate::registry::now()) else {
        return;
    };
    if !verdict.available {
        tracing::info!(
            api_service = remote.name,
            verdict.reason,
            verdict.message,
            "an aggregated API is not available"
        );
    }
    let code = own_call(
        server,
        Method::PATCH,
        &format!("{path}/status"),
        json!({"status": status}),
    )
    .await;
    if code.is_success() && is_lost(&stored, &verdict) {
        server.metrics.became_unavailable(&remote.name, verdict.reason);
    }
}

/// Whether what was available no longer is. What never was is not lost: it is still being installed.
fn is_lost(stored: &Value, verdict: &Verdict) -> bool {
    is_available(stored) && !verdict.available
}

/// The status that says so; `None` if it is said already.
fn changed_status(stored: &Value, verdict: &Verdict, now: &str) -> Option<Value> {
    let status = if verdict.available { "True" } else { "False" };
    let before = conditions::condition(stored, "Available");
    let same = |before: &Value| {
        before["status"] == status
            && before["reason"] == verdict.reason
            && before["message"] == verdict.message
    };
    if before.is_some_and(same) {
        return None;
    }
    let since = match before {
        Some(before) if before["status"] == status => before["lastTransitionTime"].clone(),
        _ => json!(now),
    };
    let condition = json!({"type": "Available", "status": status, "lastTransitionTime": since,
        "reason": verdict.reason, "message": verdict.message});
    Some(json!({"conditions": conditions::with(stored, condition)}))
}

/// Asks for what a server serves.
async fn ask(server: &ApiServer, remote: &Remote) -> (Verdict, Option<Value>) {
    let unavailable = |reason, message| {
        let verdict = Verdict {
            available: false,
            reason,
            message,
        };
        (verdict, None)
    };
    let places = match locate(&server.cache, remote) {
        Ok(places) => places,
        Err(nowhere) => return unavailable(nowhere.reason, nowhere.message),
    };
    let failed = |error: &dyn std::fmt::Display| {
        let place = places.endpoints.first().or(places.cluster.as_ref());
        let place = place.map(|(host, port)| format!("{host}:{port}"));
        let place = place.unwrap_or_default();
        let path = format!("https://{place}/apis/{}/{}", remote.group, remote.version);
        let message = format!("failing or missing response from {path}: {error}");
        unavailable("FailedDiscoveryCheck", message)
    };
    let path = format!("/apis/{}/{}", remote.group, remote.version);
    let asked = proxy::read(&server.aggregation, remote, &path);
    let answer = tokio::time::timeout(ANSWER_TIME_MAX, asked).await;
    match answer.unwrap_or_else(|_| Err(format!("no answer within {ANSWER_TIME_MAX:?}"))) {
        Ok((code, body)) if code.is_success() => {
            let verdict = Verdict {
                available: true,
                reason: "Passed",
                message: "all checks passed".to_owned(),
            };
            (verdict, serde_json::from_slice(&body).ok())
        }
        Ok((code, _)) => failed(&format!("bad status: {}", code.as_u16())),
        Err(error) => failed(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_changes_when_its_word_does_and_its_time_when_its_status_does() {
        let verdict = |available, reason| Verdict {
            available,
            reason,
            message: String::new(),
        };
        let stored = json!({"status": {}});
        let first = changed_status(&stored, &verdict(false, "ServiceNotFound"), "t1").unwrap();
        assert_eq!(first["conditions"][0]["status"], "False");
        let stored = json!({"status": first});
        assert!(changed_status(&stored, &verdict(false, "ServiceNotFound"), "t2").is_none());
        let other = changed_status(&stored, &verdict(false, "MissingEndpoints"), "t2").unwrap();
        assert_eq!(other["conditions"][0]["lastTransitionTime"], "t1");
        let passed = changed_status(&stored, &verdict(true, "Passed"), "t3").unwrap();
        assert_eq!(passed["conditions"][0]["lastTransitionTime"], "t3");
    }

    #[test]
    fn only_what_was_available_is_lost() {
        let verdict = |available| Verdict {
            available,
            reason: "",
            message: String::new(),
        };
        let stored = |status| json!({"status": {"conditions": [{"type": "Available", "status": status}]}});
        assert!(is_lost(&stored("True"), &verdict(false)));
        assert!(!is_lost(&stored("True"), &verdict(true)));
        assert!(!is_lost(&stored("False"), &verdict(false)));
        assert!(!is_lost(&json!({"status": {}}), &verdict(false)));
    }
}
