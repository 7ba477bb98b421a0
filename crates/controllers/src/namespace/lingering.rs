//! Watches what a namespace doesn't get rid of: what goes in the end, such as when somebody takes the last finalizer off, is
//! no matter of the next look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::core::ApiResource;
use kube::runtime::watcher;
use orlop_client::informer::{Change, Informer};
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;

use super::pace::LOOK_AGAIN;
use crate::resources::{Existence, Served};

/// Namespaces watched at the same time; others are looked at now and then. Each costs a watch for each kind that is left.
const WATCHED_MAX: usize = 100;

/// What is left of one kind.
#[derive(Debug, Clone)]
pub struct Left {
    /// The kind.
    pub served: Served,
    /// How many objects.
    pub objects: usize,
}

struct Watched {
    kinds: Vec<ApiResource>,
    /// Aborted when they are dropped.
    _tasks: JoinSet<()>,
}

/// The watches, by namespace.
pub struct Lingering {
    client: kube::Client,
    queue: Arc<WorkQueue<Arc<str>>>,
    namespaces: Mutex<HashMap<Arc<str>, Watched>>,
}

impl Lingering {
    /// No watches; what goes brings its namespace into `queue`.
    pub fn new(client: kube::Client, queue: Arc<WorkQueue<Arc<str>>>) -> Self {
        Self {
            client,
            queue,
            namespaces: Mutex::default(),
        }
    }

    /// That is left in the namespace.
    pub fn watch(&self, namespace: &Arc<str>, left: &[Left]) {
        let watchable = left.iter().filter(|left| left.served.watchable);
        let kinds: Vec<ApiResource> = watchable
            .clone()
            .map(|left| left.served.resource.clone())
            .collect();
        if kinds.is_empty() {
            return self.forget(namespace);
        }
        let mut namespaces = self.lock();
        let known = namespaces.get(namespace).map(|watched| &watched.kinds);
        if known == Some(&kinds) || (known.is_none() && namespaces.len() >= WATCHED_MAX) {
            return;
        }
        let mut tasks = JoinSet::new();
        for left in watchable {
            tasks.spawn(self.follow(namespace.clone(), left));
        }
        let watched = Watched { kinds, _tasks: tasks };
        namespaces.insert(namespace.clone(), watched);
    }

    /// The namespace is empty, or gone.
    pub fn forget(&self, namespace: &str) {
        self.lock().remove(namespace);
    }

    /// Watches one kind for as long as it is polled.
    fn follow(&self, namespace: Arc<str>, left: &Left) -> impl Future<Output = ()> + use<> {
        let informer: Informer<Existence> = Informer::new();
        let (on, goes) = (self.queue.clone(), namespace.clone());
        informer.on_change(move |change: &Change<Existence>| {
            if change.new.is_none() {
                // One look for all that goes meanwhile: each lists every kind there is.
                on.add_after(goes.clone(), LOOK_AGAIN);
            }
        });
        let (queue, objects) = (self.queue.clone(), left.objects);
        let api = left.served.api(&self.client, &namespace);
        async move {
            let gone_already = async {
                informer.next_list().await;
                if informer.store().len() < objects {
                    queue.add(namespace);
                }
            };
            tokio::join!(gone_already, informer.run(api, watcher::Config::default()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Watched>> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use std::time::Duration;
    use tokio::sync::Notify;
    use tokio::time::timeout;

    fn maps(objects: usize) -> Left {
        let resource = ApiResource {
            group: String::new(),
            version: "v1".to_owned(),
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            plural: "configmaps".to_owned(),
        };
        let served = Served {
            resource,
            namespaced: true,
            watchable: true,
            delete_collection: true,
        };
        Left { served, objects }
    }

    /// A server with one ConfigMap, which goes when it is told so.
    fn server(goes: &Arc<Notify>) -> kube::Client {
        let goes = goes.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let goes = goes.clone();
            async move {
                assert_eq!(request.uri().path(), "/api/v1/namespaces/ns/configmaps");
                let map = |version: &str| json!({"metadata": {"name": "m", "namespace": "ns", "uid": "u", "resourceVersion": version}});
                let answer: Value = match request.uri().query().unwrap_or_default().contains("watch=true") {
                    false => json!({"metadata": {"resourceVersion": "7"}, "items": [map("5")]}),
                    true => {
                        goes.notified().await;
                        json!({"type": "DELETED", "object": map("8")})
                    }
                };
                let body = Body::from(answer.to_string().into_bytes());
                Ok::<_, std::convert::Infallible>(Response::new(body))
            }
        });
        orlop_client::in_process(service)
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_in_the_end_brings_its_namespace_back_at_once() {
        let (goes, queue) = (Arc::new(Notify::new()), Arc::new(WorkQueue::new()));
        let lingering = Lingering::new(server(&goes), queue.clone());
        let ns: Arc<str> = "ns".into();
        let minute = Duration::from_secs(60);
        lingering.watch(&ns, &[maps(1)]);
        assert!(timeout(minute, queue.next()).await.is_err(), "nothing has gone");
        goes.notify_one();
        assert_eq!(timeout(minute, queue.next()).await, Ok(Some(ns.clone())));
        queue.done(&ns);
        lingering.watch(&ns, &[maps(1)]);
        assert!(
            timeout(minute, queue.next()).await.is_err(),
            "it is watched already"
        );
        lingering.forget(&ns);
        lingering.watch(&ns, &[maps(2)]);
        let gone = timeout(minute, queue.next()).await;
        assert_eq!(gone, Ok(Some(ns)), "one had gone before it was watched");
    }
}
