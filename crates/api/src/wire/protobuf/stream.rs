//! Answers that are written piece by piece: lists from their items, and the events of a watch.

use serde_json::{Map, Value};

use super::encode::{ENVELOPE_END, delimited, envelope_begin, varint_bytes};
use super::{DecodeError, list_meta};

/// A list around items that are encoded elsewhere. Protobuf says how long a list is before it begins, so the lengths of
/// all items must be known beforehand; the items themselves may come one by one.
pub struct ListFrame {
    /// The envelope up to the first item.
    pub head: Vec<u8>,
    /// What follows the last item.
    pub tail: &'static [u8],
}

impl ListFrame {
    /// `kind`: of the list. `items_bytes`: the sum of [`ListFrame::item_bytes`].
    pub fn new(
        api_version: &str,
        kind: &str,
        metadata: &Map<String, Value>,
        items_bytes: usize,
    ) -> Result<Self, DecodeError> {
        let mut own = Vec::new();
        list_meta(&mut own, metadata).map_err(|cause| DecodeError::Protobuf {
            message: kind.to_owned(),
            cause,
        })?;
        let mut head = envelope_begin(api_version, kind, own.len() + items_bytes);
        head.extend_from_slice(&own);
        Ok(Self {
            head,
            tail: ENVELOPE_END,
        })
    }

    /// Bytes an item of that length takes in the list.
    pub fn item_bytes(length: usize) -> usize {
        1 + varint_bytes(length) + length
    }

    /// Appends an item.
    pub fn item(out: &mut Vec<u8>, message: &[u8]) {
        delimited(out, 2, message);
    }
}

/// One event of a watch: its length in four bytes, then the event around an object in its envelope.
pub fn event_frame(kind: &str, object: &[u8]) -> Vec<u8> {
    let embedded = 1 + varint_bytes(object.len()) + object.len();
    let length = 1 + varint_bytes(kind.len()) + kind.len() + 1 + varint_bytes(embedded) + embedded;
    let mut out = Vec::with_capacity(4 + length);
    // Nothing near four gigabytes is ever stored.
    out.extend_from_slice(&(length as u32).to_be_bytes());
    delimited(&mut out, 1, kind.as_bytes());
    event_object(&mut out, object, embedded);
    out
}

/// Field 2, a message with field 1.
fn event_object(out: &mut Vec<u8>, object: &[u8], embedded: usize) {
    out.push(2 << 3 | 2);
    super::encode::varint(out, embedded as u64);
    delimited(out, 1, object);
}
