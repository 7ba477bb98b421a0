//! Where an informer's objects come from: a list, then watches that go on from it, for ever.
//!
//! It never goes back in time. Behind one address there may be several servers, and the one that answers after a lost
//! watch may be behind the one that answered before; acting on what it shows would undo and do again what was done
//! since. So a new list is asked for nothing older than what was seen, and an older one isn't taken. A server that is
//! not that far is asked for the newest there is, which it has to find out.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{ListParams, VersionMatch, WatchParams};
use kube::core::{Status, WatchEvent};
use kube::runtime::watcher;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

/// Objects asked for at once: what a list holds in memory besides what is kept.
const PAGE: u32 = 500;
/// After so long the server ends a watch.
const WATCH_SECONDS: u32 = 290;
/// A watch that says nothing for so long, not even that it ended, is dead.
const SILENCE_MAX: Duration = Duration::from_secs(295);
/// A watch that ends sooner, having said nothing, counts as a failure.
const WATCH_MIN: Duration = Duration::from_secs(1);
/// Pause after the first failure, doubling; up to as much again is added by chance.
const RETRY_MIN: Duration = Duration::from_millis(800);
/// Longest pause, without the chance.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A server that has been behind for so long has lost what was seen, as after a restored backup: then its present counts.
const BEHIND_MAX: Duration = Duration::from_secs(120);

/// Where the kinds are that every API server serves.
const CORE: &str = "/api/v1";

/// What a source tells, in this order: perhaps `Unserved`, then `Listing`, `Listed` objects, `ListEnd`; then changes.
#[derive(Debug)]
pub enum Told<K> {
    /// The server has no such kind, for now: there is nothing to wait for. What was known of it before has not gone.
    Unserved,
    /// A list begins.
    Listing,
    /// The list has this object.
    Listed(K),
    /// The list is complete; it was made at this version.
    ListEnd(u64),
    /// The object came or changed.
    Applied(K),
    /// The object is gone.
    Deleted(K),
    /// Nothing happened up to this version but what was told.
    Reached(u64),
}

/// Why a list or watch has to be tried again.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("{}", .0.message)]
    Ended(Box<Status>),
    #[error("the watch ended at once")]
    Short,
    #[error("the server is at version {listed}, {seen} was seen already")]
    Behind { listed: u64, seen: u64 },
}

impl Failure {
    fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(kube::Error::Api(status)) | Self::Ended(status) => Some(status),
            _ => None,
        }
    }

    fn is_unserved(&self) -> bool {
        self.status().is_some_and(crate::is_unserved)
    }

    /// The version to go on from is no longer known.
    fn is_expired(&self) -> bool {
        self.status().is_some_and(|status| status.code == 410)
    }

    /// The version to go on from isn't known yet.
    fn is_behind(&self) -> bool {
        matches!(self, Self::Behind { .. }) || self.status().is_some_and(is_too_large)
    }
}

/// The version that was asked for isn't known yet.
fn is_too_large(status: &Status) -> bool {
    status.message.starts_with("Too large resource version")
}

struct Source<K> {
    api: Api<K>,
    list: ListParams,
    watch: WatchParams,
    /// The version of the last list or change, as a number and as the server writes it.
    seen: u64,
    version: String,
    /// Since when the server has been behind what was seen.
    behind_since: Option<Instant>,
    failures: u32,
    /// A list was told, or that there is none.
    is_told: bool,
}

/// Lists and watches for ever, telling `tell` about it.
pub async fn follow<K>(api: Api<K>, config: &watcher::Config, mut tell: impl FnMut(Told<K>))
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    let mut source = Source {
        api,
        list: ListParams {
            label_selector: config.label_selector.clone(),
            field_selector: config.field_selector.clone(),
            limit: Some(PAGE),
            ..ListParams::default()
        },
        watch: WatchParams {
            label_selector: config.label_selector.clone(),
            field_selector: config.field_selector.clone(),
            ..WatchParams::default()
        }
        .timeout(WATCH_SECONDS),
        seen: 0,
        version: String::new(),
        behind_since: None,
        failures: 0,
        is_told: false,
    };
    loop {
        if let Err(failure) = source.take_list(&mut tell).await {
            // A kind that an older server does not know need not be waited for.
            let may_be_unknown = !source.api.resource_url().starts_with(CORE);
            if failure.is_unserved() && may_be_unknown && !source.is_told {
                source.is_told = true;
                tell(Told::Unserved);
            }
            source.failed(&failure).await;
            continue;
        }
        let listed = Instant::now();
        loop {
            // A watch that ended in its time is followed by the next one.
            let Err(failure) = source.take_watch(&mut tell).await else {
                continue;
            };
            // What happened meanwhile is listed at once, unless lists themselves come too late.
            let is_expired = failure.is_expired();
            if !is_expired || listed.elapsed() < WATCH_MIN {
                source.failed(&failure).await;
            }
            if is_expired || failure.is_behind() {
                break;
            }
        }
    }
}

impl<K> Source<K>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    async fn take_list(&mut self, tell: &mut impl FnMut(Told<K>)) -> Result<(), Failure> {
        let mut params = self.list.clone();
        if self.seen > 0 {
            params = params.at(&self.version).matching(VersionMatch::NotOlderThan);
        }
        let mut version = None;
        loop {
            let page = match self.api.list(&params).await {
                Err(kube::Error::Api(status))
                    if params.resource_version.is_some() && is_too_large(&status) =>
                {
                    params = self.list.clone();
                    continue;
                }
                answer => answer?,
            };
            if version.is_none() {
                let text = page.metadata.resource_version.clone().unwrap_or_default();
                let listed = text.parse().unwrap_or(0);
                if listed < self.seen {
                    let seen = self.seen;
                    return Err(Failure::Behind { listed, seen });
                }
                version = Some((listed, text));
                tell(Told::Listing);
            }
            page.items
                .into_iter()
                .for_each(|object| tell(Told::Listed(object)));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => {
                    params = ListParams {
                        resource_version: None,
                        version_match: None,
                        ..self.list.clone().continue_token(&token)
                    };
                }
                None => break,
            }
        }
        (self.seen, self.version) = version.unwrap_or_default();
        self.went_well();
        self.is_told = true;
        tell(Told::ListEnd(self.seen));
        Ok(())
    }

    /// Ends well when the server ends the watch after its time.
    async fn take_watch(&mut self, tell: &mut impl FnMut(Told<K>)) -> Result<(), Failure> {
        let began = Instant::now();
        let mut told = false;
        let mut events = pin!(self.api.watch(&self.watch, &self.version).await?);
        loop {
            let event = match timeout(SILENCE_MAX, events.next()).await {
                Ok(Some(event)) => event?,
                Ok(None) if !told && began.elapsed() < WATCH_MIN => return Err(Failure::Short),
                Ok(None) | Err(_) => {
                    self.went_well();
                    return Ok(());
                }
            };
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    self.reached(object.meta().resource_version.as_deref());
                    tell(Told::Applied(object));
                }
                WatchEvent::Deleted(object) => {
                    self.reached(object.meta().resource_version.as_deref());
                    tell(Told::Deleted(object));
                }
                WatchEvent::Bookmark(mark) => {
                    self.reached(Some(&mark.metadata.resource_version));
                    tell(Told::Reached(self.seen));
                }
                WatchEvent::Error(status) => return Err(Failure::Ended(status)),
            }
            told = true;
            self.went_well();
        }
    }

    fn reached(&mut self, version: Option<&str>) {
        self.version.clear();
        self.version.push_str(version.unwrap_or_default());
        self.seen = self.version.parse().unwrap_or(0);
    }

    fn went_well(&mut self) {
        self.failures = 0;
        self.behind_since = None;
    }

    /// Waits before the next attempt.
    async fn failed(&mut self, failure: &Failure) {
        // One line when it starts failing, not one a retry.
        if self.failures == 0 {
            let kind = std::any::type_name::<K>();
            // Kinds come and go with their definitions.
            match failure.is_unserved() && self.is_told {
                true => tracing::debug!(kind, error = %failure, "no longer served, asking again"),
                false => tracing::warn!(kind, error = %failure, "watch failed, retrying"),
            }
        }
        if failure.is_behind() {
            let since = *self.behind_since.get_or_insert_with(Instant::now);
            if since.elapsed() > BEHIND_MAX {
                tracing::warn!(
                    kind = std::any::type_name::<K>(),
                    seen = self.seen,
                    "the server has lost what was seen of it, taking what it has now"
                );
                self.seen = 0;
            }
        }
        let pause = RETRY_MIN
            .saturating_mul(2u32.saturating_pow(self.failures.min(16)))
            .min(RETRY_MAX);
        self.failures += 1;
        sleep(pause.mul_f64(1.0 + rand::random::<f64>())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::api::policy::v1::PodDisruptionBudget;
    use kube::client::Body;
    use serde_json::{Value, json};
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    const UNSERVED: &str = "404 page not found";

    /// Answers the requests with these bodies, in order, and then not at all; notes what was asked.
    fn scripted<K>(answers: Vec<(u16, Vec<Value>)>) -> (Api<K>, Arc<Mutex<Vec<String>>>)
    where
        K: Resource<DynamicType = ()>,
    {
        let (answers, asked) = (Arc::new(Mutex::new(VecDeque::from(answers))), Arc::default());
        let notes: Arc<Mutex<Vec<String>>> = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            notes
                .lock()
                .unwrap()
                .push(request.uri().query().unwrap_or_default().to_owned());
            let answer = answers.lock().unwrap().pop_front();
            async move {
                let Some((code, lines)) = answer else {
                    return std::future::pending().await;
                };
                let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
                let mut response = Response::new(Body::from(lines.join("\n").into_bytes()));
                *response.status_mut() = code.try_into().unwrap();
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        (Api::all(crate::in_process(service)), asked)
    }

    fn list(version: u64, pods: &[&str]) -> (u16, Vec<Value>) {
        let items: Vec<Value> = pods.iter().map(|name| pod(name, version)).collect();
        (
            200,
            vec![json!({"metadata": {"resourceVersion": version.to_string()}, "items": items})],
        )
    }

    fn pod(name: &str, version: u64) -> Value {
        json!({"metadata": {"name": name, "resourceVersion": version.to_string()}})
    }

    /// What is told until the script has run out.
    async fn told<K>(api: Api<K>) -> Vec<String>
    where
        K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
    {
        let mut lines = Vec::new();
        let name = |object: K| object.meta().name.clone().unwrap();
        let config = watcher::Config::default();
        let follow = follow(api, &config, |told| {
            lines.push(match told {
                Told::Unserved => "unserved".to_owned(),
                Told::Listing => "list".to_owned(),
                Told::Listed(pod) => format!("has {}", name(pod)),
                Told::ListEnd(version) => format!("at {version}"),
                Told::Applied(pod) => format!("+{}", name(pod)),
                Told::Deleted(pod) => format!("-{}", name(pod)),
                Told::Reached(version) => format!("reached {version}"),
            });
        });
        let _ = timeout(Duration::from_secs(900), follow).await;
        lines
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_list_is_asked_for_nothing_older_than_what_was_seen_and_an_older_one_not_taken() {
        let gone =
            json!({"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}});
        let (api, asked) = scripted::<Pod>(vec![
            list(7, &["a"]),
            (200, vec![json!({"type": "ADDED", "object": pod("b", 9)}), gone]),
            list(8, &["a"]),
            list(10, &["a", "b"]),
        ]);
        assert_eq!(
            told(api).await,
            ["list", "has a", "at 7", "+b", "list", "has a", "has b", "at 10"]
        );
        let asked = asked.lock().unwrap();
        assert!(
            !asked[0].contains("resourceVersion"),
            "the first list is the newest: {}",
            asked[0]
        );
        assert!(asked[1].contains("resourceVersion=7"), "{}", asked[1]);
        for relist in &asked[2..4] {
            assert!(
                relist.contains("resourceVersion=9&resourceVersionMatch=NotOlderThan"),
                "{relist}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_ends_goes_on_from_the_last_change_or_bookmark() {
        let mark = json!({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"resourceVersion": "12"}}});
        let (api, asked) = scripted::<Pod>(vec![
            list(7, &[]),
            (200, vec![json!({"type": "DELETED", "object": pod("b", 9)}), mark]),
            (
                500,
                vec![json!({"code": 500, "message": "no", "reason": "InternalError", "status": "Failure"})],
            ),
            (200, vec![json!({"type": "MODIFIED", "object": pod("c", 13)})]),
        ]);
        assert_eq!(told(api).await, ["list", "at 7", "-b", "reached 12", "+c"]);
        let asked = asked.lock().unwrap();
        assert!(asked[2].contains("resourceVersion=12") && asked[3].contains("resourceVersion=12"));
        assert!(asked[4].contains("resourceVersion=13"));
        assert_eq!(asked.len(), 5);
        assert!(
            asked[1..].iter().all(|query| query.contains("watch=true")),
            "nothing is listed again: {asked:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn lists_that_come_too_late_for_a_watch_are_not_repeated_without_pause() {
        let expired = || {
            let status = json!({"code": 410, "message": "gone", "reason": "Expired", "status": "Failure"});
            (410, vec![status])
        };
        let script = (0..100).flat_map(|_| [list(7, &[]), expired()]).collect();
        let (api, asked) = scripted::<Pod>(script);
        let config = watcher::Config::default();
        let _ = timeout(Duration::from_secs(10), follow::<Pod>(api, &config, |_| {})).await;
        let asked = asked.lock().unwrap().len();
        assert!((12..=28).contains(&asked), "{asked} in ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stays_behind_has_lost_the_rest() {
        let expired = (
            410,
            vec![json!({"code": 410, "message": "gone", "reason": "Expired", "status": "Failure"})],
        );
        let mut script = vec![list(90, &["a"]), expired];
        script.extend((0..40).map(|_| list(3, &["b"])));
        let (api, asked) = scripted::<Pod>(script);
        assert_eq!(
            told(api).await[..6],
            ["list", "has a", "at 90", "list", "has b", "at 3"]
        );
        assert!(asked.lock().unwrap().len() > 5, "it was given some time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_not_as_far_is_asked_for_the_newest_at_once() {
        let refusal = |code: u16, message: &str| {
            let status = json!({"code": code, "message": message, "reason": "Timeout", "status": "Failure"});
            (code, vec![status])
        };
        let (api, asked) = scripted::<Pod>(vec![
            list(7, &["a"]),
            refusal(410, "too old"),
            refusal(504, "Too large resource version: 7, current: 5"),
            list(9, &["b"]),
        ]);
        let config = watcher::Config::default();
        let mut at = Vec::new();
        let follow = follow::<Pod>(api, &config, |told| {
            if let Told::ListEnd(version) = told {
                at.push(version);
            }
        });
        let at_once = RETRY_MIN.mul_f64(3.0);
        let _ = timeout(at_once, follow).await;
        let asked = asked.lock().unwrap();
        assert_eq!(at, [7, 9], "{asked:?}");
        assert!(asked[2].contains("resourceVersion=7"), "{asked:?}");
        assert!(!asked[3].contains("resourceVersion"), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_is_not_served_is_not_waited_for() {
        let unserved = |message: &str| {
            let status = json!({"code": 404, "message": message, "reason": "NotFound", "status": "Failure"});
            (404, vec![status])
        };
        let expired = json!({"code": 410, "message": "gone", "reason": "Expired", "status": "Failure"});
        let budgets = list(5, &["a"]);
        let (api, _) = scripted::<PodDisruptionBudget>(vec![
            unserved(UNSERVED),
            unserved(UNSERVED),
            budgets.clone(),
            (410, vec![expired]),
            unserved(UNSERVED),
        ]);
        let want = ["unserved", "list", "has a", "at 5"];
        assert_eq!(told(api).await, want, "what was seen is not forgotten");
        let (api, _) = scripted::<PodDisruptionBudget>(vec![unserved("nobody here"), budgets]);
        assert_eq!(told(api).await, ["list", "has a", "at 5"], "somebody else's word");
        let (api, _) = scripted::<Pod>(vec![unserved(UNSERVED), list(5, &["a"])]);
        assert_eq!(
            told(api).await,
            ["list", "has a", "at 5"],
            "there are always pods"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_comes_in_pages() {
        let page = json!({"metadata": {"resourceVersion": "5", "continue": "more"}, "items": [pod("a", 2)]});
        let (api, asked) = scripted::<Pod>(vec![(200, vec![page]), list(5, &["b"])]);
        assert_eq!(told(api).await, ["list", "has a", "has b", "at 5"]);
        assert!(asked.lock().unwrap()[1].contains("continue=more"));
    }
}
