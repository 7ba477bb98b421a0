//! The task behind [`Recorder`](super::Recorder): takes occurrences, writes Events.

use std::collections::VecDeque;
use std::time::Duration;

use futures::future::BoxFuture;

use k8s_openapi::api::core::v1::{Event, EventSource};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;

use crate::is_transient;

use super::correlate::{Correlator, Source, Telling};
use super::{Message, QUEUE_MAX, namespace_of};

/// With so many waiting there is no patience: more might be lost.
const HURRY_FROM: usize = QUEUE_MAX / 2;
/// Attempts to write one event while the server can't be reached.
const TRIES_MAX: u32 = 12;
/// Pause before the second attempt, doubling.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
/// Longest pause between attempts.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);

pub(super) async fn run(
    client: kube::Client,
    source: Source,
    mut messages: mpsc::Receiver<Message>,
    patience: impl Fn() -> BoxFuture<'static, ()> + Send,
) {
    let mut correlator = Correlator::new();
    let mut held = VecDeque::new();
    loop {
        let next = match held.pop_front() {
            None => messages.recv().await,
            held => held,
        };
        let Some(message) = next else { return };
        match message {
            Message::Record(occurrence) => {
                let Some(telling) = correlator.correlate(*occurrence) else {
                    continue;
                };
                wait(patience(), &mut messages, &mut held).await;
                if let Err(error) = tell(&client, &source, &telling).await {
                    correlator.forget(&telling.key);
                    // A namespace on its way out refuses events; that is no news.
                    tracing::debug!(reason = telling.reason, name = telling.name, %error, "event not written");
                }
            }
            // Whoever asked may have given up waiting.
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

/// Waits for `patience`, taking what else is to be told meanwhile; not while so many are held that more might be lost, nor
/// while somebody waits until all is written.
async fn wait(
    mut patience: BoxFuture<'static, ()>,
    messages: &mut mpsc::Receiver<Message>,
    held: &mut VecDeque<Message>,
) {
    let mut flushing = held.iter().any(|message| matches!(message, Message::Flush(_)));
    while !flushing && held.len() + messages.len() < HURRY_FROM {
        tokio::select! {
            biased;
            () = &mut patience => return,
            message = messages.recv() => match message {
                Some(message) => {
                    flushing = matches!(message, Message::Flush(_));
                    held.push_back(message);
                }
                // Nobody tells more: what is left is written at once.
                None => return,
            },
        }
    }
}

async fn tell(client: &kube::Client, source: &Source, telling: &Telling) -> Result<(), kube::Error> {
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace_of(&telling.object));
    let mut delay = RETRY_DELAY_MIN;
    for attempt in 1.. {
        let result = write(&api, source, telling).await;
        match result {
            Err(error) if attempt < TRIES_MAX && is_transient(&error) => {
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(RETRY_DELAY_MAX);
            }
            result => return result,
        }
    }
    Ok(())
}

async fn write(api: &Api<Event>, source: &Source, telling: &Telling) -> Result<(), kube::Error> {
    if telling.count > 1 {
        let patch = json!({
            "count": telling.count,
            "lastTimestamp": Time(telling.last),
            "message": telling.message,
        });
        match api
            .patch(&telling.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
        {
            // It expired meanwhile: write it anew under its old name.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            result => return result.map(drop),
        }
    }
    match api.create(&PostParams::default(), &event(source, telling)).await {
        // The answer to an earlier attempt got lost.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        result => result.map(drop),
    }
}

fn event(source: &Source, telling: &Telling) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(telling.name.clone()),
            namespace: Some(namespace_of(&telling.object)),
            annotations: (!telling.annotations.is_empty()).then(|| telling.annotations.clone()),
            ..ObjectMeta::default()
        },
        involved_object: telling.object.clone(),
        type_: Some(telling.event_type.as_str().to_owned()),
        reason: Some(telling.reason.clone()),
        message: Some(telling.message.clone()),
        count: Some(telling.count),
        first_timestamp: Some(Time(telling.first)),
        last_timestamp: Some(Time(telling.last)),
        source: Some(EventSource {
            component: Some(source.component.clone()),
            host: source.host.clone(),
        }),
        reporting_component: Some(source.component.clone()),
        reporting_instance: source.host.clone(),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{EventType, Recorder};
    use futures::FutureExt;
    use k8s_openapi::api::core::v1::ObjectReference;
    use kube::client::Body;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A recorder whose patience never ends, and how many Events it has written.
    fn for_ever_patient() -> (Recorder, Arc<AtomicUsize>) {
        let written = Arc::new(AtomicUsize::new(0));
        let count = written.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            async move { Ok::<_, std::convert::Infallible>(http::Response::new(request.into_body())) }
        });
        let client = crate::in_process(service);
        let recorder = Recorder::patient(client, "test", None, || futures::future::pending().boxed());
        (recorder, written)
    }

    /// Tells of so many objects, and lets the recorder take each.
    async fn tell_of(recorder: &Recorder, objects: std::ops::Range<usize>) {
        for number in objects {
            let object = ObjectReference {
                name: Some(format!("p{number}")),
                uid: Some(number.to_string()),
                ..ObjectReference::default()
            };
            recorder.event(&object, EventType::Normal, "Started", String::new());
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_when_so_many_came_meanwhile_that_some_might_be_lost() {
        let (recorder, written) = for_ever_patient();
        tell_of(&recorder, 0..HURRY_FROM).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(written.load(Ordering::Relaxed), 0, "it is patient");
        tell_of(&recorder, HURRY_FROM..QUEUE_MAX + HURRY_FROM).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let told = written.load(Ordering::Relaxed);
        assert_eq!(told, QUEUE_MAX, "the rest waits");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_until_all_is_written_ends_the_patience() {
        let (recorder, written) = for_ever_patient();
        tell_of(&recorder, 0..3).await;
        recorder.flush(Duration::from_secs(60)).await;
        assert_eq!(written.load(Ordering::Relaxed), 3);
    }
}
