//! The responses that are not simply events: cut ones, and last ones. Pure.
use crate::{convert, errors};
use etcd_client::proto::{PbEvent, PbWatchResponse};
use orlop_store::StoreError;
use prost::Message;

/// Responses of watches that allow fragments are cut at this size, in bytes (etcd's).
const FRAGMENT_BYTES: usize = 2 << 20;

/// Cuts events into parts of a bounded size.
pub fn fragments(events: Vec<PbEvent>) -> Vec<Vec<PbEvent>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for event in events {
        let size = event.encoded_len();
        if bytes + size > FRAGMENT_BYTES && bytes > 0 {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(part) = parts.last_mut() {
            part.push(event);
        }
    }
    parts
}

/// The last response of a watch.
pub fn ended(error: StoreError, response: PbWatchResponse) -> PbWatchResponse {
    match error {
        StoreError::Compacted { oldest, .. } => PbWatchResponse {
            canceled: true,
            compact_revision: convert::number(oldest.0),
            ..response
        },
        error => PbWatchResponse {
            canceled: true,
            cancel_reason: errors::status(error).message().to_owned(),
            ..response
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_client::proto::PbKeyValue;

    #[test]
    fn fragments_hold_every_event_once_and_stay_small() {
        let event = |size: usize| PbEvent {
            kv: Some(PbKeyValue {
                value: vec![1; size],
                ..PbKeyValue::default()
            }),
            ..PbEvent::default()
        };
        let parts = fragments(vec![
            event(10),
            event(3 << 19),
            event(3 << 19),
            event(10),
            event(3 << 20),
        ]);
        let sizes: Vec<usize> = parts.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 2, 1]);
    }
}
