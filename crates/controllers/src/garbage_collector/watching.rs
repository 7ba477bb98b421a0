//! Which kinds there are, and a watch for each that the shared cache doesn't watch.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use kube::runtime::watcher;
use orlop_client::informer::Informer;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::controller::GarbageCollector;
use crate::api_error;
use crate::resources::{self, Discovered, Existence, Served};
use crate::workers::Workers;

/// Objects looked at the same time.
const WORKERS: usize = 20;
/// How long the first list of all kinds may take. Objects of one kind that can't be read, such as one whose versions
/// nobody converts, must not keep those of all others for ever; upstream's time.
const FIRST_READ_MAX: Duration = Duration::from_secs(30);
/// Pause before asking again which kinds there are, when the server didn't say.
const DISCOVERY_RETRY: Duration = Duration::from_secs(1);
/// How often is asked which kinds there are though nothing says that they changed: what another server behind this one
/// serves changes with that server's program, which no object here tells of. Two requests each time.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);
/// How long a kind is watched at least that isn't served any more, until kinds are asked for next: its objects go before
/// their definition does, which other watches may tell sooner, and who depends on them would stay for ever if nobody heard
/// of that.
const FAREWELL: Duration = Duration::from_secs(10);

/// The kinds watched by the shared cache already, in the order of the first kind numbers.
const SHARED: [(&str, &str); 17] = [
    ("", "Pod"),
    ("", "Node"),
    ("apps", "DaemonSet"),
    ("apps", "ControllerRevision"),
    ("", "Namespace"),
    ("coordination.k8s.io", "Lease"),
    ("apps", "ReplicaSet"),
    ("", "ReplicationController"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("batch", "Job"),
    ("batch", "CronJob"),
    ("policy", "PodDisruptionBudget"),
    ("certificates.k8s.io", "CertificateSigningRequest"),
    ("", "Service"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("", "Endpoints"),
];

fn shared_number(served: &Served) -> Option<usize> {
    let resource = &served.resource;
    SHARED
        .iter()
        .position(|(group, kind)| *group == resource.group && *kind == resource.kind)
}

fn same(a: &Served, b: &Served) -> bool {
    a.resource.group == b.resource.group && a.resource.kind == b.resource.kind
}

/// The kinds that are `known`, and those that were `found`, as they are served now. Each keeps its number, and what it was
/// while it isn't served.
fn merged(mut known: Vec<Served>, found: &[Served]) -> Vec<Served> {
    for kind in &mut known {
        let plural = |found: &&Served| found.resource.plural == kind.resource.plural;
        let alike = || found.iter().filter(|found| same(kind, found));
        if let Some(now) = alike().find(plural).or_else(|| alike().next()) {
            *kind = now.clone();
        }
    }
    for served in found {
        if !known.iter().any(|known| same(known, served)) {
            known.push(served.clone());
        }
    }
    known
}

/// The watch of one kind.
pub(super) struct Watch {
    /// The same for as long as there are workers: in another version of the kind it goes on from what it knew.
    informer: Arc<Informer<Existence>>,
    /// None while it isn't served.
    task: Option<AbortHandle>,
    /// Since when it hasn't been served.
    unserved: Option<Instant>,
}

impl Watch {
    /// Whether what runs is to end. A kind that was away is listed anew, rather than when its watch tries again.
    fn is_over(&mut self, is_served: bool, moved: bool, now: Instant) -> bool {
        let returned = is_served && self.unserved.take().is_some();
        let left = !is_served && now - *self.unserved.get_or_insert(now) >= FAREWELL;
        moved || returned || left
    }

    fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl GarbageCollector {
    pub(super) async fn run(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let kinds = self.kinds().await.served;
        let mut watches = HashMap::new();
        for (number, served) in kinds.iter().enumerate().skip(SHARED.len()) {
            if !served.watchable {
                continue;
            }
            let informer = self.informer(number, served);
            let (api, running) = (served.api(&self.client, ""), informer.clone());
            let run = async move { running.run(api, watcher::Config::default()).await };
            let task = Some(tasks.spawn(run));
            let watch = Watch {
                informer,
                task,
                unserved: None,
            };
            watches.insert(number, watch);
        }
        self.set_kinds(kinds);
        let all_read = join_all(watches.values().map(|watch| watch.informer.synced()));
        if tokio::time::timeout(FIRST_READ_MAX, all_read).await.is_err() {
            tracing::warn!("not all kinds can be read yet, garbage collection begins without them");
        }
        self.cache.synced().await;
        Workers {
            name: "garbage_collector",
            count: WORKERS,
            of: &self,
            queue: &self.queue,
        }
        .start(
            &mut tasks,
            |this, task| async move { this.look(&task).await },
            // Somebody else changed the object; its next version says how.
            api_error::is_conflict,
        );
        let mut period = tokio::time::interval_at(Instant::now() + DISCOVERY_PERIOD, DISCOVERY_PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    // Ends only by a panic, which must not go unseen, or when a kind went.
                    Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Some(_) => continue,
                    None => return,
                },
                () = self.definitions.notified() => {}
                _ = period.tick() => {}
            }
            self.follow(&mut tasks, &mut watches).await;
        }
    }

    fn informer(&self, number: usize, served: &Served) -> Arc<Informer<Existence>> {
        let informer = Arc::new(Informer::new());
        self.listen(number, &informer);
        if ["CustomResourceDefinition", "APIService"].contains(&&*served.resource.kind) {
            let definitions = self.definitions.clone();
            informer.on_metadata(move |_| definitions.notify_one());
        }
        informer
    }

    /// Watches kinds that have come, or come in another version now, and leaves those that have gone alone.
    async fn follow(self: &Arc<Self>, tasks: &mut JoinSet<()>, watches: &mut HashMap<usize, Watch>) {
        let found = self.kinds().await;
        let before = self.all_kinds();
        let kinds = merged(before.clone(), &found.served);
        self.set_kinds(kinds.clone());
        for (number, served) in kinds.iter().enumerate().skip(SHARED.len()) {
            // What is behind a server that doesn't answer at the moment has not gone.
            let is_served = served.watchable
                && (found.served.iter().any(|found| same(found, served))
                    || found.unknown.contains(&served.resource.api_version));
            let moved = before
                .get(number)
                .is_some_and(|before| before.resource != served.resource);
            if let Some(watch) = watches.get_mut(&number) {
                if watch.is_over(is_served, moved, Instant::now()) {
                    watch.stop();
                }
                if watch.task.is_some() {
                    continue;
                }
            }
            if is_served {
                let watch = watches.entry(number).or_insert_with(|| Watch {
                    informer: self.informer(number, served),
                    task: None,
                    unserved: None,
                });
                watch.task = Some(self.watch(served, watch.informer.clone(), tasks));
            }
        }
    }

    /// Begins a watch after the others have begun.
    fn watch(
        self: &Arc<Self>,
        served: &Served,
        informer: Arc<Informer<Existence>>,
        tasks: &mut JoinSet<()>,
    ) -> AbortHandle {
        let resource = &served.resource;
        tracing::debug!(kind = %resource.kind, api_version = %resource.api_version, "a kind has come");
        let this = self.clone();
        let api = served.api(&self.client, "");
        tasks.spawn(async move {
            let listed = informer.next_list();
            let judge_again = async {
                listed.await;
                // Objects with owners of this kind were left alone until now.
                let waiting = this.graph().unsettled();
                waiting.into_iter().for_each(|task| this.queue.add(task));
            };
            tokio::join!(informer.run(api, watcher::Config::default()), judge_again);
        })
    }

    pub(super) fn all_kinds(&self) -> Vec<Served> {
        self.kinds.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_kinds(&self, kinds: Vec<Served>) {
        *self.kinds.write().unwrap_or_else(PoisonError::into_inner) = kinds;
    }

    /// The kinds, those of the shared cache first.
    async fn kinds(&self) -> Discovered {
        loop {
            match resources::discover(&self.client).await {
                Ok(found) => {
                    let (shared, others): (Vec<Served>, Vec<Served>) = found
                        .served
                        .into_iter()
                        .filter(|served| !resources::is_event(served))
                        .partition(|served| shared_number(served).is_some());
                    if shared.len() == SHARED.len() {
                        let mut kinds = shared;
                        kinds.sort_by_key(shared_number);
                        kinds.extend(others);
                        return Discovered {
                            served: kinds,
                            unknown: found.unknown,
                        };
                    }
                    tracing::warn!("the server doesn't serve all kinds yet, garbage collection waits");
                }
                Err(error) => tracing::debug!(%error, "cannot discover the server's kinds yet"),
            }
            tokio::time::sleep(DISCOVERY_RETRY).await;
        }
    }

    /// Whether the kind is served, though not where we know it, as far as can be told; also there, if that was `denied`.
    pub(super) async fn is_served_all_the_same(
        &self,
        served: &Served,
        denied: bool,
    ) -> Result<bool, kube::Error> {
        let found = resources::discover(&self.client).await?;
        let here = &served.resource.api_version;
        let mut alike = found.served.iter().filter(|found| same(found, served));
        let is_served =
            found.unknown.contains(here) || alike.any(|found| denied || found.resource.api_version != *here);
        if is_served {
            self.definitions.notify_one();
        }
        Ok(is_served)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::ApiResource;

    fn served(group: &str, version: &str, plural: &str) -> Served {
        Served {
            resource: ApiResource {
                group: group.to_owned(),
                version: version.to_owned(),
                api_version: format!("{group}/{version}"),
                kind: plural.trim_end_matches('s').to_owned(),
                plural: plural.to_owned(),
            },
            namespaced: true,
            watchable: true,
            delete_collection: true,
        }
    }

    #[test]
    fn a_kind_that_went_is_watched_a_little_longer_and_anew_when_it_returns() {
        let mut watch = Watch {
            informer: Arc::new(Informer::new()),
            task: None,
            unserved: None,
        };
        let start = Instant::now();
        for (seconds, is_served, moved, over) in [
            (0, true, false, false),
            (1, true, true, true),
            (2, false, false, false),
            (11, false, false, false),
            (12, false, false, true),
            (13, true, false, true),
            (14, true, false, false),
            (30, false, false, false),
            (31, true, false, true),
        ] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(watch.is_over(is_served, moved, now), over, "after {seconds} s");
        }
    }

    #[test]
    fn a_kind_keeps_its_number_and_follows_its_versions() {
        let known = vec![
            served("g", "v1beta1", "things"),
            served("g", "v1", "others"),
            served("h", "v1", "things"),
        ];
        let found = [
            served("g", "v2", "news"),
            served("g", "v1", "things"),
            served("h", "v1", "things"),
        ];
        let want = [
            served("g", "v1", "things"),
            served("g", "v1", "others"),
            served("h", "v1", "things"),
            served("g", "v2", "news"),
        ];
        let merged = merged(known, &found);
        assert_eq!(merged, want);
        assert_eq!(super::merged(merged, &found), want);
    }
}
