//! Objects as protobuf. The cache holds JSON; protobuf is made when a client asks for it (contract §2.1).
use crate::cache::Object;
use crate::http::{Answer, Body, Call, response};
use crate::request::{Output, Shape};
use crate::resources::Resource;
use crate::status::ApiError;
use bytes::Bytes;
use http::StatusCode;
use orlop_api::wire::protobuf::{self, ListFrame};
use orlop_api::wire::{self, DecodeError};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

use super::present;

/// Bytes of encoded items that a list keeps until it is sent; what exceeds them is encoded once more then.
const LIST_KEPT_BYTES_MAX: usize = 1024 * 1024;
/// Items that are encoded before others get their turn.
const ITEMS_IN_A_ROW: usize = 64;
/// Bytes of a frame of a list.
const FRAME_BYTES: usize = 64 * 1024;
/// Bytes of recent events that are kept for the next watcher, in protobuf …
const RECENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// … and of lines: those are put together quickly.
const RECENT_LINES_BYTES_MAX: usize = 256 * 1024;
/// An event larger than this isn't kept.
const RECENT_EVENT_BYTES_MAX: usize = 128 * 1024;

const METADATA: (&str, &str) = ("meta.k8s.io/v1", "PartialObjectMetadata");

/// What clients get to see of a resource's objects.
#[derive(Clone, Copy)]
pub struct Form {
    resource: &'static Resource,
    /// Metadata only, in this version.
    partial: Option<&'static str>,
}

impl Form {
    pub fn of(resource: &'static Resource, output: &Output) -> Self {
        let partial = matches!(output.shape, Shape::Metadata | Shape::MetadataList);
        Self {
            resource,
            partial: partial.then_some(output.meta),
        }
    }

    /// Whether objects are seen as they are stored.
    fn is_whole(self) -> bool {
        self.partial.is_none() && self.resource.view.is_none()
    }

    fn type_meta(self) -> (Cow<'static, str>, &'static str) {
        match self.partial {
            Some(meta) => (meta.into(), METADATA.1),
            None => (self.resource.api_version().into(), self.resource.kind),
        }
    }

    /// An object's message.
    fn message(self, object: &Object) -> Result<Vec<u8>, ApiError> {
        let (api_version, kind) = match self.partial {
            // Both versions have the same message.
            Some(_) => (METADATA.0.into(), METADATA.1),
            None => self.type_meta(),
        };
        let shown = match self.partial {
            Some(_) => object.value(),
            None => present::shown(self.resource, object),
        };
        let message = protobuf::message(&api_version, kind, &shown).or_else(|_| {
            // Another program may have stored it in a form of its own.
            let normal = wire::normalize(&api_version, kind, shown)?;
            protobuf::message(&api_version, kind, &normal)
        });
        message.map_err(|error: DecodeError| ApiError::internal(format!("{}: {error}", object.key)))
    }

    /// An object in its envelope.
    pub fn object(self, object: &Object) -> Result<Bytes, ApiError> {
        let (api_version, kind) = self.type_meta();
        Ok(protobuf::envelope(&api_version, kind, &self.message(object)?).into())
    }
}

/// Events that one watcher has had encoded, for the others.
pub struct Recent {
    objects: Mutex<Kept<Key>>,
    lines: Mutex<Kept<Same>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            objects: Mutex::new(Kept::of(RECENT_BYTES_MAX)),
            lines: Mutex::new(Kept::of(RECENT_LINES_BYTES_MAX)),
        }
    }
}

type Key = (&'static str, Arc<str>, u64);

/// An object as all watchers share it: of one version there may be others, in the form of another resource, or read by another
/// schema. As long as this is kept no other object has its address.
#[derive(Clone)]
struct Same(Weak<Object>);

impl PartialEq for Same {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl Eq for Same {}

impl Hash for Same {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.as_ptr().hash(hasher);
    }
}

struct Kept<K> {
    objects: HashMap<K, Bytes>,
    order: VecDeque<K>,
    bytes: usize,
    bytes_max: usize,
}

impl Recent {
    /// A version of an object in its envelope, which many watchers want at about the same time.
    pub fn object(&self, form: Form, object: &Object) -> Result<Bytes, ApiError> {
        if !form.is_whole() {
            return form.object(object);
        }
        let key = (form.resource.storage, object.key.clone(), object.revision);
        if let Some(bytes) = self.objects.lock().objects.get(&key) {
            return Ok(bytes.clone());
        }
        let bytes = form.object(object)?;
        self.objects.lock().keep(key, bytes.clone());
        Ok(bytes)
    }

    /// The line of the change that made a version of an object.
    pub fn line(&self, object: &Arc<Object>) -> Bytes {
        if object.is_whole() {
            return object.line();
        }
        let key = Same(Arc::downgrade(object));
        if let Some(line) = self.lines.lock().objects.get(&key) {
            return line.clone();
        }
        let line = object.line();
        self.lines.lock().keep(key, line.clone());
        line
    }
}

impl<K: Clone + Eq + Hash> Kept<K> {
    fn of(bytes_max: usize) -> Self {
        Self {
            objects: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    fn keep(&mut self, key: K, bytes: Bytes) {
        if bytes.len() > RECENT_EVENT_BYTES_MAX {
            return;
        }
        self.bytes += bytes.len();
        match self.objects.insert(key.clone(), bytes) {
            // Two had it encoded at the same time.
            Some(same) => self.bytes -= same.len(),
            None => self.order.push_back(key),
        }
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(gone) = self.objects.remove(&oldest) {
                self.bytes -= gone.len();
            }
        }
    }
}

/// An item of a list that is being sent.
enum Item {
    Encoded(Vec<u8>),
    Later(Arc<Object>),
}

/// A list of objects. All lengths must be known before the first byte, so every item whose length nobody has asked for
/// yet is encoded first; only some of them are kept until they are sent.
pub async fn list(
    call: &Call,
    metadata: &Map<String, Value>,
    objects: Vec<Arc<Object>>,
) -> Result<Answer, ApiError> {
    let form = Form::of(call.resource, &call.output);
    let mut items = Vec::with_capacity(objects.len());
    let (mut items_bytes, mut kept) = (0, 0);
    for (n, object) in objects.into_iter().enumerate() {
        if n % ITEMS_IN_A_ROW == ITEMS_IN_A_ROW - 1 {
            tokio::task::yield_now().await;
        }
        let known = object.protobuf_bytes().filter(|_| form.is_whole());
        let bytes = match known {
            Some(bytes) => {
                items.push(Item::Later(object));
                bytes
            }
            None => {
                let message = form.message(&object)?;
                let bytes = message.len();
                if form.is_whole() {
                    object.set_protobuf_bytes(bytes);
                }
                if kept + bytes <= LIST_KEPT_BYTES_MAX {
                    kept += bytes;
                    items.push(Item::Encoded(message));
                } else {
                    items.push(Item::Later(object));
                }
                bytes
            }
        };
        items_bytes += ListFrame::item_bytes(bytes);
    }
    let (api_version, kind) = form.type_meta();
    let frame = ListFrame::new(&api_version, &format!("{kind}List"), metadata, items_bytes)
        .map_err(ApiError::internal)?;
    let total = frame.head.len() + items_bytes + frame.tail.len();
    let pieces = Sending {
        form,
        frame: frame.head,
        items: items.into_iter(),
        tail: Some(frame.tail),
    };
    Ok(Answer::Raw(response(
        StatusCode::OK,
        Output::PROTOBUF.content_type(),
        Body::pieces(total as u64, pieces),
    )))
}

struct Sending {
    form: Form,
    /// What goes out next.
    frame: Vec<u8>,
    items: std::vec::IntoIter<Item>,
    tail: Option<&'static [u8]>,
}

impl Iterator for Sending {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while self.frame.len() < FRAME_BYTES {
            match self.items.next() {
                Some(Item::Encoded(message)) => ListFrame::item(&mut self.frame, &message),
                // It has been encoded before; a list that breaks off is no list.
                Some(Item::Later(object)) => match self.form.message(&object) {
                    Ok(message) => ListFrame::item(&mut self.frame, &message),
                    Err(error) => {
                        tracing::error!(%error, "an object can no longer be encoded");
                        return None;
                    }
                },
                None => {
                    self.frame.extend_from_slice(self.tail.take().unwrap_or_default());
                    break;
                }
            }
        }
        let frame = std::mem::take(&mut self.frame);
        (!frame.is_empty()).then(|| frame.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_have_encoded_at_the_same_time_counts_once() {
        let mut kept = Kept::of(10);
        for _ in 0..3 {
            kept.keep(("pods", 7), Bytes::from_static(b"message"));
        }
        assert_eq!((kept.bytes, kept.order.len()), (7, 1));
        kept.keep(("pods", 8), Bytes::from_static(b"another"));
        assert_eq!((kept.bytes, kept.objects.len()), (7, 1));
    }

    #[test]
    fn a_line_is_put_together_once_for_all_who_share_the_object() {
        let resource = crate::resources::find("", "v1", "configmaps").unwrap();
        let object = |data: &str| {
            let stored = format!(
                r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"managedFields":[{{"fieldsV1":{{"f:{}":{{}}}}}}],"name":"c"}},"data":{{"a":"{data}"}}}}"#,
                "shared".repeat(100)
            );
            Arc::new(Object::from_stored(resource, "d/c".into(), stored.as_bytes(), 7, false).unwrap())
        };
        let (one, other) = (object("one"), object("other"));
        let recent = Recent::default();
        let [first, second] = [0, 1].map(|_| recent.line(&one));
        assert_eq!(first, one.line());
        assert_eq!(first.as_ptr(), second.as_ptr());
        // Of the same version, and read otherwise.
        assert_eq!(recent.line(&other), other.line());
    }
}
