//! The responses that are not simply events: cut ones, and last ones. Pure.
use crate::{convert, errors};
use etcd_client::proto::{PbEvent, PbResponseHeader, PbWatchResponse};
use orlop_store::StoreError;
use prost::Message;

/// Of an event's field in a response, in bytes.
const TAG_BYTES: usize = 1;

/// Cuts events into parts, so that a response with one of them, which has so many bytes around it, stays below `bytes_max`
/// unless it is a single event that is larger: etcd's own way to cut.
pub fn fragments(events: Vec<PbEvent>, bytes_around: usize, bytes_max: usize) -> Vec<Vec<PbEvent>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = bytes_around;
    for event in events {
        let len = event.encoded_len();
        let size = TAG_BYTES + prost::length_delimiter_len(len) + len;
        if bytes + size >= bytes_max && bytes > bytes_around {
            parts.push(Vec::new());
            bytes = bytes_around;
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
            // As with etcd, which does not tell there how far it is.
            header: response.header.map(|header| PbResponseHeader {
                revision: 0,
                ..header
            }),
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
    use orlop_store::Revision;

    #[test]
    fn fragments_hold_every_event_once_and_stay_small() {
        let event = |size: usize| PbEvent {
            kv: Some(PbKeyValue {
                value: vec![1; size],
                ..PbKeyValue::default()
            }),
            ..PbEvent::default()
        };
        let cut = |sizes: &[usize], around, bytes_max| -> Vec<usize> {
            let events = sizes.iter().map(|size| event(*size)).collect();
            let parts = fragments(events, around, bytes_max);
            parts.iter().map(Vec::len).collect()
        };
        let sizes = [10, 3 << 19, 3 << 19, 10, 3 << 20];
        assert_eq!(cut(&sizes, 40, 2 << 20), [2, 2, 1]);
        assert_eq!(cut(&sizes, 40, 4 << 20), [4, 1]);
        // What is around them counts, and so do tags and lengths.
        let field = TAG_BYTES + 1 + event(10).encoded_len();
        assert_eq!(cut(&[10, 10], 40, 40 + 2 * field + 1), [2]);
        assert_eq!(cut(&[10, 10], 40, 40 + 2 * field), [1, 1]);
        assert_eq!(cut(&[10], 40, 1), [1]);
    }

    #[test]
    fn a_watch_of_what_is_compacted_ends_without_a_word_of_now() {
        let header = PbResponseHeader {
            member_id: 7,
            revision: 9,
            ..PbResponseHeader::default()
        };
        let response = PbWatchResponse {
            header: Some(header),
            ..PbWatchResponse::default()
        };
        let compacted = StoreError::Compacted {
            requested: Revision(2),
            oldest: Revision(4),
        };
        let end = ended(compacted, response.clone());
        assert_eq!((end.canceled, end.compact_revision), (true, 4));
        let told = end.header.unwrap();
        assert_eq!((told.member_id, told.revision), (7, 0));
        assert_eq!(ended(StoreError::Closed, response).header, Some(header));
    }
}
