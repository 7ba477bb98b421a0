//! The task behind [`Recorder`](super::Recorder): takes occurrences, writes Events.

use std::time::Duration;

use futures::future::BoxFuture;

use k8s_openapi::api::core::v1::{Event, EventSource};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;

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
    while let Some(message) = messages.recv().await {
        match message {
            Message::Record(occurrence) => {
                let Some(telling) = correlator.correlate(*occurrence) else {
                    continue;
                };
                if messages.len() < HURRY_FROM {
                    patience().await;
                }
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

/// Whether the server didn't answer, rather than refused.
pub(super) fn is_transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || status.code == 429,
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
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
