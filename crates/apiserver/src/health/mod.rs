//! `/livez`, `/readyz`, `/healthz` and their checks (contract §4.4).
use crate::ApiServer;
use crate::http::Answer;
use crate::request::Query;
use crate::status::ApiError;
use http::StatusCode;
use std::time::Duration;

/// In all three.
const ALWAYS: &[&str] = &["ping", "log", "etcd"];
/// Only readiness.
const READY_ONLY: &[&str] = &["etcd-readiness", "informer-sync", "shutdown"];
/// Those that ask the store.
const STORE: &[&str] = &["etcd", "etcd-readiness"];
/// A store that takes longer is taken for one that is away (upstream's limit).
const STORE_TIME_MAX: Duration = Duration::from_secs(2);
/// Upstream's names for steps of the start; all are done when we are ready.
const START_STEPS: &[&str] = &[
    "poststarthook/start-apiserver-admission-initializer",
    // What that and one below are called before 1.31; suites of that time look for them.
    "poststarthook/start-kube-apiserver-admission-initializer",
    "poststarthook/apiservice-status-available-controller",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/aggregator-reload-proxy-client-cert",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/start-legacy-token-tracking-controller",
    "poststarthook/storage-object-count-tracker-hook",
];

/// Whether a GET on this path would be answered.
pub fn knows(path: &str) -> bool {
    split(path).is_some()
}

/// `(endpoint, check)`.
fn split(path: &str) -> Option<(&'static str, &str)> {
    ["livez", "readyz", "healthz"].into_iter().find_map(|endpoint| {
        let rest = path.strip_prefix('/')?.strip_prefix(endpoint)?;
        if rest.is_empty() {
            return Some((endpoint, ""));
        }
        rest.strip_prefix('/').map(|check| (endpoint, check))
    })
}

/// Answers if the path is one of health.
pub async fn answer(server: &ApiServer, path: &str, query: &Query) -> Option<Result<Answer, ApiError>> {
    let (endpoint, check) = split(path)?;
    let keys = server.key_checks();
    let mut names = checks(endpoint);
    names.extend(keys.iter().map(|(name, _)| name.as_str()));
    let excluded: Vec<&str> = query.all("exclude").collect();
    let is_due = |name: &&&str| match check {
        "" => !excluded.contains(*name),
        check => check == **name,
    };
    let asks = names.iter().filter(is_due).any(|name| STORE.contains(name));
    let state = State {
        store: !asks || store_answers(server).await,
        running: !server.leaving.is_cancelled(),
        keys: &keys,
    };
    let passes = |name: &str| {
        let passed = state.passes(name);
        server.metrics.part.checks.checked(endpoint, name, passed);
        passed
    };
    if !check.is_empty() {
        if !names.contains(&check) {
            return Some(Err(ApiError::page_not_found()));
        }
        return Some(Ok(match passes(check) {
            true => Answer::text(StatusCode::OK, "ok"),
            false => Answer::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal server error: reason withheld\n",
            ),
        }));
    }
    let mut text = String::new();
    let mut failed = false;
    for name in &names {
        if excluded.contains(name) {
            text.push_str(&format!("[+]{name} excluded: ok\n"));
        } else if passes(name) {
            text.push_str(&format!("[+]{name} ok\n"));
        } else {
            failed = true;
            text.push_str(&format!("[-]{name} failed: reason withheld\n"));
        }
    }
    let unknown: Vec<String> = excluded
        .iter()
        .filter(|name| !names.contains(name))
        .map(|name| format!("{name:?}"))
        .collect();
    if !unknown.is_empty() {
        text.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {}\n",
            unknown.join(", ")
        ));
    }
    if failed {
        text.push_str(&format!("{endpoint} check failed\n"));
        return Some(Ok(Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)));
    }
    if query.has("verbose") {
        text.push_str(&format!("{endpoint} check passed\n"));
        return Some(Ok(Answer::text(StatusCode::OK, text)));
    }
    Some(Ok(Answer::text(StatusCode::OK, "ok")))
}

fn checks<'n>(endpoint: &str) -> Vec<&'n str> {
    let mut names = ALWAYS.to_vec();
    if endpoint == "readyz" {
        names.extend(READY_ONLY);
    }
    names.extend(START_STEPS);
    names
}

/// What checks are about.
#[derive(Clone, Copy)]
struct State<'k> {
    store: bool,
    running: bool,
    /// Of those who keep keys.
    keys: &'k [(String, bool)],
}

impl State<'_> {
    fn passes(self, check: &str) -> bool {
        match check {
            "shutdown" => self.running,
            check if STORE.contains(&check) => self.store,
            check => self.keys.iter().all(|(name, well)| *well || name != check),
        }
    }
}

/// Whether the cache follows the store, and the store answers.
async fn store_answers(server: &ApiServer) -> bool {
    let status = tokio::time::timeout(STORE_TIME_MAX, server.store.status());
    server.is_fed() && matches!(status.await, Ok(Ok(_)))
}
