//! What waits in the store's watch, taken together: each batch that is applied has readers wait and watches look. etcd sends
//! one for a change or two.
use orlop_store::{StoreError, WatchBatch, WatchStream};

/// Events of a batch to which no more are added: readers wait while it is applied.
const EVENTS_MAX: usize = 256;

/// Adds to a batch those that wait behind it. Answers why the watch is over, if that is what comes next.
pub(super) fn add(batch: &mut WatchBatch, watch: &mut WatchStream) -> Option<StoreError> {
    while batch.events.len() < EVENTS_MAX {
        match watch.try_recv() {
            Ok(Ok(next)) => {
                batch.events.extend(next.events);
                batch.revision = batch.revision.max(next.revision);
            }
            Ok(Err(error)) => return Some(error),
            // Nothing waits. If nothing ever will, who waits for more finds out.
            Err(_) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_store::{Event, EventKind, KeyValue, Revision};
    use tokio::sync::mpsc;

    /// One change in each of so many revisions.
    fn changes(first: u64, count: u64) -> WatchBatch {
        let event = |revision| Event {
            kind: EventKind::Put,
            kv: KeyValue {
                key: "a".into(),
                value: bytes::Bytes::new(),
                create_revision: Revision(1),
                mod_revision: Revision(revision),
                version: revision,
                lease: None,
            },
            previous: None,
        };
        WatchBatch {
            events: (first..first + count).map(event).collect(),
            revision: Revision(first + count - 1),
        }
    }

    #[test]
    fn what_waits_is_applied_together_up_to_a_limit() {
        let (sender, mut watch) = mpsc::channel(8);
        let progress = WatchBatch {
            events: Vec::new(),
            revision: Revision(9),
        };
        for batch in [changes(3, 2), progress, changes(10, 250), changes(260, 300)] {
            sender.try_send(Ok(batch)).unwrap();
        }
        let mut batch = changes(2, 1);
        assert!(add(&mut batch, &mut watch).is_none());
        let revisions: Vec<u64> = batch.events.iter().map(|event| event.kv.mod_revision.0).collect();
        let expected: Vec<u64> = (2..5).chain(10..560).collect();
        assert_eq!((revisions, batch.revision), (expected, Revision(559)));

        // A large one is large enough.
        sender.try_send(Ok(changes(560, 1))).unwrap();
        assert!(add(&mut batch, &mut watch).is_none());
        assert_eq!(batch.revision, Revision(559));
        let mut batch = changes(1, 1);
        sender.try_send(Err(StoreError::Closed)).unwrap();
        let end = add(&mut batch, &mut watch);
        assert!(matches!(end, Some(StoreError::Closed)), "{end:?}");
        assert_eq!(batch.revision, Revision(560));
        drop(sender);
        assert!(add(&mut batch, &mut watch).is_none());
    }
}
