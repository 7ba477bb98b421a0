//! A watch on etcd: its responses become batches of whole revisions.
use super::convert;
use crate::{Event, EventKind, Revision, StoreError, WatchBatch, WatchRequest, WatchStream};
use bytes::Bytes;
use etcd_client::{EventType, WatchClient, WatchOptions, WatchResponse};
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
    let mut options = WatchOptions::new().with_prev_key().with_progress_notify();
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
    let first = stream.message().await.map_err(fail)?.ok_or(StoreError::Closed)?;
    refused(&first, request.from)?;
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
                Ok(Some(response)) => refused(&response, request.from).and_then(|()| batch(&response)),
                Ok(None) => Err(StoreError::Closed),
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

/// A response that ends the watch.
fn refused(response: &WatchResponse, from: Option<Revision>) -> Result<(), StoreError> {
    if response.compact_revision() > 0 {
        return Err(StoreError::Compacted {
            requested: from.unwrap_or_default(),
            oldest: convert::revision(response.compact_revision()),
        });
    }
    if response.canceled() {
        Err(StoreError::Closed)
    } else {
        Ok(())
    }
}

fn batch(response: &WatchResponse) -> Result<WatchBatch, StoreError> {
    let event = |event: &etcd_client::Event| {
        let kv = convert::key_value(event.kv()?);
        let previous = event.prev_kv().map(convert::key_value);
        Some(match event.event_type() {
            EventType::Put => Event {
                kind: EventKind::Put,
                kv,
                previous,
            },
            EventType::Delete => Event {
                kind: EventKind::Delete,
                kv: crate::KeyValue {
                    value: Bytes::new(),
                    ..kv
                },
                previous,
            },
        })
    };
    let events: Vec<Event> = response.events().iter().filter_map(event).collect();
    let revision = match events.last() {
        // While a watch catches up, the header is ahead of its events: it tells where etcd is.
        Some(last) => last.kv.mod_revision,
        None => convert::revision(response.header().ok_or(StoreError::Closed)?.revision()),
    };
    Ok(WatchBatch { events, revision })
}
