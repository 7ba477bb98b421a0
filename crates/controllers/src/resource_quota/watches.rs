//! Watches of the kinds that quotas bound, beside pods: one each, for as long as some quota bounds it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::watcher;
use orlop_api::quota::kind_of_count;
use orlop_client::informer::{Change, Informer};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::controller::Wake;
use super::view::QuotaView;
use crate::resources::{self, Existence, Served};

/// Pause before asking again for a kind that isn't served (yet).
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Group and plural.
pub type Name = (String, String);

/// The kinds that have to be watched, of those that quotas bound. Pods are watched by others.
fn wanted<'q>(quotas: impl IntoIterator<Item = &'q QuotaView>) -> BTreeSet<Name> {
    let names = quotas.into_iter().flat_map(QuotaView::bounds);
    names
        .filter_map(kind_of_count)
        .map(|kind| (kind.group.to_owned(), kind.plural.to_owned()))
        .filter(|(group, plural)| !(group.is_empty() && plural == "pods"))
        .collect()
}

/// Follows what quotas bound, for ever.
pub async fn follow(
    client: kube::Client,
    quotas: Arc<Informer<QuotaView>>,
    changed: Arc<Notify>,
    wake: Wake,
) {
    let mut tasks = JoinSet::new();
    let mut running: HashMap<Name, AbortHandle> = HashMap::new();
    loop {
        let all = quotas.store().all();
        let wanted = wanted(all.iter().map(|quota| &quota.object));
        running.retain(|name, task| {
            let keep = wanted.contains(name);
            if !keep {
                task.abort();
            }
            keep
        });
        let missing: Vec<&Name> = wanted
            .iter()
            .filter(|name| !running.contains_key(*name))
            .collect();
        let mut complete = true;
        if !missing.is_empty() {
            let served = resources::discover(&client).await.unwrap_or_default().served;
            for name in missing {
                let found = served.iter().find(|kind| {
                    (kind.resource.group.as_str(), kind.resource.plural.as_str()) == (&*name.0, &*name.1)
                });
                match found {
                    Some(kind) => {
                        let task = watch(&client, kind, name.clone(), wake.clone(), &mut tasks);
                        running.insert(name.clone(), task);
                    }
                    None => complete = false,
                }
            }
        }
        tokio::select! {
            () = changed.notified() => {}
            // A kind that a definition is going to bring.
            () = tokio::time::sleep(LOOK_AGAIN), if !complete => {}
            Some(ended) = tasks.join_next() => {
                // Ends only by a panic, which must not go unseen, or when it was aborted.
                if let Err(error) = ended && error.is_panic() {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }
    }
}

fn watch(
    client: &kube::Client,
    kind: &Served,
    name: Name,
    wake: Wake,
    tasks: &mut JoinSet<()>,
) -> AbortHandle {
    let informer: Informer<Existence> = Informer::new();
    informer.on_change(move |change: &Change<Existence>| {
        // What is new was charged when it was created; of what changed, something may have been given back.
        if change.old.is_some() {
            wake.namespace(&change.latest().key.namespace, &name);
        }
    });
    let api = kind.api(client, "");
    tasks.spawn(async move { informer.run(api, watcher::Config::default()).await })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_bounded_kind_but_pods_is_watched() {
        let quota = |hard: serde_json::Value| QuotaView {
            spec: serde_json::from_value(json!({"hard": hard})).unwrap(),
            counted: true,
        };
        let quotas = [
            quota(json!({"pods": "1", "limits.cpu": "1", "services.nodeports": "1"})),
            quota(json!({"count/deployments.apps": "1", "requests.storage": "1", "bogus": "1"})),
        ];
        let name = |group: &str, plural: &str| (group.to_owned(), plural.to_owned());
        assert_eq!(
            wanted(&quotas),
            [
                name("", "services"),
                name("apps", "deployments"),
                name("", "persistentvolumeclaims"),
            ]
            .into()
        );
    }
}
