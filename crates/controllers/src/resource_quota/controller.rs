//! Takes quotas from a queue and counts.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroup;
use kube::Api;
use kube::api::PostParams;
use orlop_api::quota::{Kind, kind_of_count};
use orlop_client::informer::{Change, Informer, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::count::{self, Found, Look};
use super::view::{BY_NAMESPACE, QuotaView};
use super::watches::{self, Name};
use crate::api_error;
use crate::cache::{Cache, PodView};
use crate::run::watch_all;
use crate::workers::Workers;

/// Quotas counted at the same time; upstream's number.
const WORKERS: usize = 5;
/// Things go in crowds: what goes within this time is counted together.
const SETTLE: Duration = Duration::from_millis(100);
/// Every quota is counted so often, whatever was seen; upstream's number.
const RESYNC: Duration = Duration::from_secs(300);

/// The quota controller.
pub struct ResourceQuotas {
    client: kube::Client,
    quotas: Arc<Informer<QuotaView>>,
    queue: Arc<WorkQueue<ObjectKey>>,
    /// What quotas bound may have changed.
    bounds: Arc<Notify>,
}

/// Says that something has gone or changed which quotas may count.
#[derive(Clone)]
pub struct Wake {
    quotas: Arc<Informer<QuotaView>>,
    queue: Arc<WorkQueue<ObjectKey>>,
}

impl Wake {
    /// In that namespace, of that kind.
    pub fn namespace(&self, namespace: &str, (group, plural): &Name) {
        let kind = Kind { group, plural };
        for quota in self.quotas.store().by_index(BY_NAMESPACE, namespace) {
            if quota.bounds().any(|name| kind_of_count(name) == Some(kind)) {
                self.queue.add_after(quota.key.clone(), SETTLE);
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Uncounted {
    #[error("{}", orlop_client::message(.0))]
    Api(#[from] kube::Error),
    #[error("cannot build a request: {0}")]
    Request(#[from] http::Error),
}

impl ResourceQuotas {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let quotas: Arc<Informer<QuotaView>> = Arc::new(Informer::new());
        let queue = cache.queue("resourcequota_primary");
        let bounds = Arc::new(Notify::new());
        let (on, notify) = (queue.clone(), bounds.clone());
        quotas.on_change(move |change: &Change<QuotaView>| {
            let changed =
                change.old.as_ref().map(|old| &old.spec) != change.new.as_ref().map(|new| &new.spec);
            if changed {
                notify.notify_one();
            }
            if let Some(new) = &change.new
                && (changed || !new.counted)
            {
                on.add(new.key.clone());
            }
        });
        let wake = Wake {
            quotas: quotas.clone(),
            queue: queue.clone(),
        };
        let pods: Name = (String::new(), "pods".to_owned());
        cache.pods.on_change(move |change: &Change<PodView>| {
            let Some(old) = &change.old else { return };
            // What goes or ends gives back, and what is resized or given a deadline counts otherwise.
            let counts_otherwise = change
                .new
                .as_ref()
                .is_none_or(|new| new.is_terminal() != old.is_terminal() || new.generation != old.generation);
            if counts_otherwise {
                wake.namespace(&old.key.namespace, &pods);
            }
        });
        Arc::new(Self {
            client,
            quotas,
            queue,
            bounds,
        })
    }

    /// Starts the watches and the workers.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        watch_all(&self.quotas, &self.client, tasks);
        let wake = Wake {
            quotas: self.quotas.clone(),
            queue: self.queue.clone(),
        };
        tasks.spawn(watches::follow(
            self.client.clone(),
            self.quotas.clone(),
            self.bounds.clone(),
            wake,
        ));
        Workers {
            name: "resource_quota",
            count: WORKERS,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.sync(&key).await },
            // The API server charged something meanwhile: count again.
            |error: &Uncounted| matches!(error, Uncounted::Api(error) if api_error::is_conflict(error)),
        );
    }

    async fn sync(&self, key: &ObjectKey) -> Result<(), Uncounted> {
        let api: Api<ResourceQuota> = Api::namespaced(self.client.clone(), &key.namespace);
        // Read before what it counts: what is charged from now on makes the write fail.
        let Some(mut quota) = api.get_opt(&key.name).await? else {
            return Ok(());
        };
        let spec = quota.spec.clone().unwrap_or_default();
        let mut found = Vec::new();
        for (kind, look) in count::kinds(&spec) {
            found.push((kind, self.find(&key.namespace, kind, look).await?));
        }
        let status = count::status(&spec, &found, Timestamp::now());
        if quota.status.as_ref() != Some(&status) {
            quota.status = Some(status);
            match api
                .replace_status(&key.name, &PostParams::default(), &quota)
                .await
            {
                Err(error) if !api_error::is_not_found(&error) => return Err(error.into()),
                _ => {}
            }
        }
        self.queue.add_after(key.clone(), RESYNC);
        Ok(())
    }

    async fn find(&self, namespace: &str, kind: Kind<'_>, look: Look) -> Result<Found, Uncounted> {
        let limit = match look {
            Look::Number => "?limit=1",
            Look::Each => "",
        };
        for base in self.bases(kind.group).await? {
            let uri = format!("{base}/namespaces/{namespace}/{}{limit}", kind.plural);
            let Some(mut list) = self.get::<Value>(uri).await? else {
                continue;
            };
            let items = match list["items"].take() {
                Value::Array(items) => items,
                _ => Vec::new(),
            };
            return Ok(match look {
                Look::Each => Found::Objects(items),
                Look::Number => {
                    let more = list["metadata"]["remainingItemCount"]
                        .as_i64()
                        .unwrap_or_default();
                    Found::Number(more + i64::try_from(items.len()).unwrap_or(i64::MAX))
                }
            });
        }
        Ok(Found::Unserved)
    }

    /// Where the versions of a group are served, the preferred one first.
    async fn bases(&self, group: &str) -> Result<Vec<String>, Uncounted> {
        if group.is_empty() {
            return Ok(vec!["/api/v1".to_owned()]);
        }
        let Some(group) = self.get::<APIGroup>(format!("/apis/{group}")).await? else {
            return Ok(Vec::new());
        };
        let versions = group.preferred_version.into_iter().chain(group.versions);
        let mut bases: Vec<String> = versions
            .map(|version| format!("/apis/{}", version.group_version))
            .collect();
        // The preferred one is among all of them, too, usually as the first.
        bases.dedup();
        Ok(bases)
    }

    /// `None` if there is no such thing.
    async fn get<T: DeserializeOwned>(&self, uri: String) -> Result<Option<T>, Uncounted> {
        let request = http::Request::get(uri).body(Vec::new())?;
        match self.client.request::<T>(request).await {
            Err(error) if api_error::is_not_found(&error) => Ok(None),
            answer => Ok(Some(answer?)),
        }
    }
}
