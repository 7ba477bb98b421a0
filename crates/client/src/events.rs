//! Events: what happened to an object, told to whoever looks at it.
//!
//! [`Recorder`] is a handle; recording never waits and never fails. Its task folds repeats
//! ([`correlate`]) and writes the rest ([`sink`]). [`ActionRecorder`] is the same for the
//! `events.k8s.io/v1` form that the scheduler uses.

mod action;
mod correlate;
mod recent;
mod sink;

pub use action::ActionRecorder;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use tokio::sync::{mpsc, oneshot};

use crate::informer::ObjectKey;

/// Events waiting to be written. Beyond it new ones are dropped and counted: an event storm must
/// not grow the process, and the correlator would fold most of them anyway.
pub const QUEUE_MAX: usize = 1000;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Something that was meant to happen.
    Normal,
    /// Something a person may want to look at.
    Warning,
}

impl EventType {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// One thing to tell, as it was recorded.
#[derive(Debug, Clone)]
struct Occurrence {
    object: ObjectReference,
    event_type: EventType,
    reason: String,
    message: String,
    /// What it is about, if there is to be one Event for it whose message changes.
    topic: Option<String>,
    /// What its Event has as annotations: for programs, which don't read messages.
    annotations: BTreeMap<String, String>,
    at: Timestamp,
}

#[derive(Debug)]
enum Message {
    Record(Box<Occurrence>),
    Flush(oneshot::Sender<()>),
}

/// Records core/v1 Events. Cheap to clone; the last clone's drop ends its task once all is written.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: Option<mpsc::Sender<Message>>,
    dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// A recorder that writes through `client` as `component` (on `host`, for node agents).
    ///
    /// Starts a task, so it must be called within a tokio runtime.
    pub fn new(client: kube::Client, component: &str, host: Option<&str>) -> Self {
        Self::patient(client, component, host, || futures::future::ready(()).boxed())
    }

    /// The same for one that has better to do at times: `patience` ends when the next Event may be written. It isn't asked
    /// while so many wait that some might be lost.
    pub fn patient(
        client: kube::Client,
        component: &str,
        host: Option<&str>,
        patience: impl Fn() -> BoxFuture<'static, ()> + Send + 'static,
    ) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let source = correlate::Source {
            component: component.to_owned(),
            host: host.map(str::to_owned),
        };
        tokio::spawn(sink::run(client, source, messages, patience));
        Self {
            queue: Some(queue),
            dropped: Arc::default(),
        }
    }

    /// A recorder without an API server: events only reach the log.
    pub fn disabled() -> Self {
        Self {
            queue: None,
            dropped: Arc::default(),
        }
    }

    /// Tells that `reason` happened to `object`. Never waits; drops the event when [`QUEUE_MAX`]
    /// others are waiting.
    pub fn event(&self, object: &ObjectReference, event_type: EventType, reason: &str, message: String) {
        self.event_with(object, event_type, reason, message, BTreeMap::new());
    }

    /// The same, with annotations on the Event.
    pub fn event_with(
        &self,
        object: &ObjectReference,
        event_type: EventType,
        reason: &str,
        message: String,
        annotations: BTreeMap<String, String>,
    ) {
        self.record(Occurrence {
            object: object.clone(),
            event_type,
            reason: reason.to_owned(),
            message,
            topic: None,
            annotations,
            at: Timestamp::now(),
        });
    }

    /// The same, where all that is told of `topic` is one Event with the newest message. It isn't limited: tell seldom.
    pub fn event_about(
        &self,
        object: &ObjectReference,
        event_type: EventType,
        reason: &str,
        topic: &str,
        message: String,
    ) {
        self.record(Occurrence {
            object: object.clone(),
            event_type,
            reason: reason.to_owned(),
            message,
            topic: Some(topic.to_owned()),
            annotations: BTreeMap::new(),
            at: Timestamp::now(),
        });
    }

    fn record(&self, occurrence: Occurrence) {
        let object = &occurrence.object;
        let name = object.name.clone().unwrap_or_default();
        let reason = occurrence.reason.clone();
        let Some(queue) = &self.queue else {
            let kind = object.kind.as_deref().unwrap_or_default();
            let message = &occurrence.message;
            tracing::info!(kind, name, namespace = object.namespace, reason, "{message}");
            return;
        };
        if queue.try_send(Message::Record(Box::new(occurrence))).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            // The first of a storm is worth a line, the rest a line now and then.
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, reason, name, "event queue is full, events are lost");
            }
        }
    }

    /// Waits until everything recorded so far was written, at most `limit`.
    pub async fn flush(&self, limit: Duration) {
        let Some(queue) = &self.queue else { return };
        let (done, written) = oneshot::channel();
        let flushed = async {
            if queue.send(Message::Flush(done)).await.is_ok() {
                // An error means the task is gone; then there is nothing to wait for.
                let _ = written.await;
            }
        };
        if tokio::time::timeout(limit, flushed).await.is_err() {
            tracing::warn!("some events could not be written before shutdown");
        }
    }
}

/// A reference to `object` as events carry it.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// A reference to a Pod of which no more is known.
pub fn pod_reference(pod: &ObjectKey, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(pod.name.to_string()),
        namespace: Some(pod.namespace.to_string()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

/// A reference to a Node. Its uid is the node's **name**: that is what `kubectl describe node`
/// looks for besides the real one, and what node agents know before they registered.
pub fn node_reference(name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

/// Events about cluster-scoped objects live in `default`.
fn namespace_of(object: &ObjectReference) -> String {
    object
        .namespace
        .clone()
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or_else(|| "default".to_owned())
}

/// `<object>.<hex nanoseconds>`: unique enough, and sorts by time within an object.
fn event_name(object: &ObjectReference, at: Timestamp) -> String {
    format!(
        "{}.{:x}",
        object.name.as_deref().unwrap_or_default(),
        at.as_nanosecond()
    )
}
