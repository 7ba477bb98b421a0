//! A watch on etcd: its responses become batches of whole revisions.
use super::convert;
use crate::{Event, EventKind, Revision, StoreError, WatchBatch, WatchRequest, WatchStream};
use bytes::Bytes;
use etcd_client::proto::{PbEvent, PbWatchResponse};
use etcd_client::{EventType, WatchClient, WatchOptions};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often etcd is asked how far it is: by itself it tells that every ten minutes only.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// Batches that may wait for a slow receiver before etcd's own flow control takes over.
const BATCHES_WAITING_MAX: usize = 64;

/// Starts the watch; returns once etcd has registered it, so that no later change is missed.
pub async fn start(
    mut client: WatchClient,
    request: WatchRequest,
    endpoints: String,
) -> Result<WatchStream, StoreError> {
    let fail = |error| convert::error(&endpoints, error);
    let mut options = WatchOptions::new().with_progress_notify();
    if !request.without_previous {
        options = options.with_prev_key();
    }
    if let Some(end) = &request.end {
        options = options.with_range(&**end);
    }
    if let Some(Revision(from)) = request.from {
        options = options.with_start_revision(i64::try_from(from).unwrap_or(i64::MAX));
    }
    let mut stream = client
        .watch(convert::beginning(&request.start), Some(options))
        .await
        .map_err(fail)?;
    let first = stream.message().await.map_err(fail)?;
    let first = first.ok_or_else(|| ended(&endpoints))?;
    refused(&first.0, request.from, &endpoints)?;
    let (sender, receiver) = mpsc::channel(BATCHES_WAITING_MAX);
    tokio::spawn(async move {
        let mut progress = tokio::time::interval(PROGRESS_INTERVAL);
        progress.reset();
        loop {
            let next = tokio::select! {
                () = sender.closed() => return,
                next = stream.message() => next,
                _ = progress.tick() => match stream.request_progress().await {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            };
            let item = match next {
                Ok(Some(response)) => {
                    refused(&response.0, request.from, &endpoints).and_then(|()| batch(response.0))
                }
                Ok(None) => Err(ended(&endpoints)),
                Err(error) => Err(convert::error(&endpoints, error)),
            };
            let over = item.is_err();
            if sender.send(item).await.is_err() || over {
                return;
            }
        }
    });
    Ok(receiver)
}

/// A stream that is over. The store is not: etcd, or a proxy before it, may have been stopped, and another one is there.
fn ended(endpoints: &str) -> StoreError {
    StoreError::Unreachable {
        endpoints: endpoints.to_owned(),
        reason: "the watch's stream has ended".to_owned(),
    }
}

/// A response that ends the watch.
fn refused(response: &PbWatchResponse, from: Option<Revision>, endpoints: &str) -> Result<(), StoreError> {
    if response.compact_revision > 0 {
        return Err(StoreError::Compacted {
            requested: from.unwrap_or_default(),
            oldest: convert::revision(response.compact_revision),
        });
    }
    match response.canceled {
        true => Err(StoreError::Remote {
            endpoints: endpoints.to_owned(),
            reason: format!("the watch was canceled: {}", response.cancel_reason),
        }),
        false => Ok(()),
    }
}

fn batch(response: PbWatchResponse) -> Result<WatchBatch, StoreError> {
    let events: Vec<Event> = response.events.into_iter().filter_map(event).collect();
    let revision = match events.last() {
        // While a watch catches up, the header is ahead of its events: it tells where etcd is.
        Some(last) => last.kv.mod_revision,
        None => convert::revision(response.header.ok_or(StoreError::Closed)?.revision),
    };
    Ok(WatchBatch { events, revision })
}

/// `None`: there is no key, or nobody knows what happened to it.
fn event(event: PbEvent) -> Option<Event> {
    let kind = match EventType::try_from(event.r#type).ok()? {
        EventType::Put => EventKind::Put,
        EventType::Delete => EventKind::Delete,
    };
    let mut kv = convert::key_value(event.kv?);
    if kind == EventKind::Delete {
        kv.value = Bytes::new();
    }
    Some(Event {
        kind,
        kv,
        previous: event.prev_kv.map(convert::key_value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_etcd_cancels_can_be_opened_again() {
        let from = Some(Revision(3));
        let told = PbWatchResponse::default();
        assert!(refused(&told, from, "e").is_ok());
        let canceled = PbWatchResponse {
            canceled: true,
            cancel_reason: "etcdserver: no leader".to_owned(),
            ..PbWatchResponse::default()
        };
        let error = refused(&canceled, from, "e").unwrap_err();
        // `Closed` would be for good: who follows the store would go.
        assert!(matches!(&error, StoreError::Remote { .. }), "{error}");
        assert!(error.to_string().contains("no leader"), "{error}");
        assert!(matches!(ended("e"), StoreError::Unreachable { .. }));
        let compacted = PbWatchResponse {
            compact_revision: 7,
            ..canceled
        };
        assert!(matches!(
            refused(&compacted, from, "e"),
            Err(StoreError::Compacted {
                requested: Revision(3),
                oldest: Revision(7)
            })
        ));
    }

    #[test]
    fn an_event_of_a_kind_that_nobody_knows_ends_nothing() {
        let put = PbEvent {
            kv: Some(etcd_client::proto::PbKeyValue {
                key: b"a".to_vec(),
                mod_revision: 5,
                ..Default::default()
            }),
            ..PbEvent::default()
        };
        let unknown = PbEvent {
            r#type: 7,
            ..put.clone()
        };
        let batch = batch(PbWatchResponse {
            events: vec![unknown, put],
            ..PbWatchResponse::default()
        });
        let batch = batch.unwrap();
        assert_eq!((batch.events.len(), batch.revision), (1, Revision(5)));
    }
}
