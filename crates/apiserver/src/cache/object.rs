//! One object as of one revision: a single text that serves GETs, lists and watch events.
use super::line::Line;
use super::skim::{self, skim, skim_and_find};
use super::texts::Texts;
use crate::custom;
use crate::encode;
use crate::resources::{Resource, services};
use bytes::Bytes;
use orlop_api::wire::protobuf;
use serde_json::Value;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) const ADDED: &[u8] = br#"{"type":"ADDED","object":"#;
pub(crate) const MODIFIED: &[u8] = br#"{"type":"MODIFIED","object":"#;
pub(crate) const DELETED: &[u8] = br#"{"type":"DELETED","object":"#;
pub(crate) const EVENT_END: &[u8] = b"}\n";

/// An immutable object version.
///
/// The text is the whole watch line of the change that made this version,
/// `{"type":"MODIFIED","object":{"kind":…,"apiVersion":…,"metadata":{"resourceVersion":"7",…}}\n`;
/// the object alone and the object as a list item are parts of it.
#[derive(Debug)]
pub struct Object {
    line: Line,
    /// Where the object's members after `kind` and `apiVersion` begin.
    item: u32,
    /// Where the members after `resourceVersion` begin.
    tail: u32,
    pub revision: u64,
    /// `namespace/name`, or `name`.
    pub key: Arc<str>,
    texts: Texts,
    /// False when the last write was a create.
    modified: bool,
    /// It is in the form of the resource it was read for; of others than custom ones always.
    exact: bool,
    /// Bytes of its protobuf message, once somebody has asked for that; 0 before.
    protobuf_bytes: AtomicU32,
}

/// Bytes of a stored value could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the stored value of {key} is not an object: {reason}")]
pub struct Unreadable {
    pub key: String,
    pub reason: String,
}

/// Why what is stored under a key cannot be read.
fn unreadable(key: &str, reason: impl fmt::Display) -> Unreadable {
    Unreadable {
        key: key.to_owned(),
        reason: reason.to_string(),
    }
}

impl Object {
    /// Reads a stored value. `created`: this version is the first of its object.
    pub fn from_stored(
        resource: &Resource,
        key: Arc<str>,
        stored: &[u8],
        revision: u64,
        created: bool,
    ) -> Result<Self, Unreadable> {
        let decoded;
        let stored = if stored.starts_with(PROTOBUF) {
            // Upstream's server stores built-in kinds so.
            let mut value = protobuf::decode(stored).map_err(|e| unreadable(&key, e))?;
            if resource.storage == services::STORAGE {
                services::fill_families(&mut value);
            }
            decoded = encode::stored(resource, &value);
            decoded.as_ref()
        } else if let Some(definition) = custom::in_v1(resource, stored).map_err(|e| unreadable(&key, e))? {
            decoded = definition;
            decoded.as_ref()
        } else {
            // Upstream's server ends JSON with a new line, which would end a watch's line too early.
            stored.trim_ascii_end()
        };
        let own = custom::read_stored(resource, stored).map_err(|e| unreadable(&key, e))?;
        let (filled, head, exact) = match own {
            Some(own) => (own.bytes, own.head, own.exact),
            None => (None, encode::head(resource), true),
        };
        let stored = filled.as_deref().unwrap_or(stored);
        Self::in_form(resource, key, stored, &head, exact, revision, created)
    }

    /// `head`: what it begins with, if it is in canonical form.
    fn in_form(
        resource: &Resource,
        key: Arc<str>,
        stored: &[u8],
        head: &str,
        exact: bool,
        revision: u64,
        created: bool,
    ) -> Result<Self, Unreadable> {
        let canonical;
        let stored = if stored.starts_with(head.as_bytes()) && stored.get(head.len()) == Some(&b'"') {
            stored
        } else {
            let value: Value = serde_json::from_slice(stored).map_err(|e| unreadable(&key, e))?;
            if value.pointer("/metadata/name").is_none() {
                return Err(unreadable(&key, "it has no metadata.name"));
            }
            canonical = encode::stored_with(head, &value);
            canonical.as_ref()
        };
        let fields = resource.fields.iter().flat_map(|field| field.read.pointers());
        let places: Vec<&str> = std::iter::once(LABELS).chain(fields.copied()).collect();
        let (found, common) = skim_and_find(stored, &places, &OWNED).map_err(|e| unreadable(&key, e))?;
        let at = |pointer: &str| {
            let place = places.iter().position(|place| *place == pointer)?;
            found[place].as_ref()
        };
        let labels = at(LABELS).and_then(Value::as_object).into_iter().flatten();
        let texts = Texts::new(
            labels.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())),
            resource.read_fields(at),
        );
        let kind = if created { ADDED } else { MODIFIED };
        let (beginning, tail) = beginning(kind, head.as_bytes(), revision);
        let behind = |part: Range<usize>| Some(part.start.checked_sub(head.len())?..part.end - head.len());
        let common: Vec<_> = common.into_iter().filter_map(behind).collect();
        Ok(Self {
            line: Line::new(&beginning, &stored[head.len()..], &common, EVENT_END),
            item: (kind.len() + head.len() - METADATA.len()) as u32,
            tail,
            revision,
            key,
            texts,
            modified: !created,
            exact,
            protobuf_bytes: AtomicU32::new(0),
        })
    }

    /// The same object as of another revision: what a deletion shows.
    pub fn at_revision(&self, revision: u64) -> Self {
        let head = self.head();
        let (beginning, tail) = beginning(MODIFIED, head, revision);
        Self {
            line: self.line.beginning_with(&beginning, self.tail as usize),
            item: (MODIFIED.len() + head.len() - METADATA.len()) as u32,
            tail,
            revision,
            key: self.key.clone(),
            texts: self.texts.clone(),
            modified: true,
            exact: self.exact,
            protobuf_bytes: AtomicU32::new(0),
        }
    }

    /// The same version of the object, read for its resource as that is now.
    ///
    /// # Errors
    /// It cannot be read; it was before.
    pub fn read_again(&self, resource: &Resource) -> Result<Self, Unreadable> {
        let rest = self.line.joined(self.tail as usize, EVENT_END.len());
        self.as_another(resource, &[self.head(), &rest].concat())
    }

    /// The same version of the object in another form, as it would be stored in that.
    ///
    /// # Errors
    /// It cannot be read in that form.
    pub fn as_another(&self, resource: &Resource, stored: &[u8]) -> Result<Self, Unreadable> {
        Self::from_stored(resource, self.key.clone(), stored, self.revision, !self.modified)
    }

    /// The same for readers of a version that is not stored: it gets no defaults there, since those of the stored version are
    /// the only ones that readers see.
    ///
    /// # Errors
    /// It cannot be read in that form.
    pub fn as_shown(&self, resource: &Resource, stored: &[u8]) -> Result<Self, Unreadable> {
        let (key, head) = (self.key.clone(), encode::head(resource));
        Self::in_form(resource, key, stored, &head, true, self.revision, !self.modified)
    }

    /// Whether clients that ask for this resource see the object as it is here.
    pub fn is_seen_as(&self, resource: &Resource) -> bool {
        resource.custom.is_none()
            || self.exact && encode::has_head(&self.line.beginning()[self.start()..], resource)
    }

    /// What it begins with when it is stored.
    fn head(&self) -> &[u8] {
        &self.line.beginning()[self.start()..self.item as usize + METADATA.len()]
    }

    /// Where the object begins in the line.
    fn start(&self) -> usize {
        if self.modified {
            MODIFIED.len()
        } else {
            ADDED.len()
        }
    }

    /// The length of its protobuf message, if it has been encoded before.
    pub fn protobuf_bytes(&self) -> Option<usize> {
        match self.protobuf_bytes.load(Ordering::Relaxed) {
            0 => None,
            bytes => Some(bytes as usize),
        }
    }

    /// Remembers that length: a list needs those of all its items before it begins.
    pub fn set_protobuf_bytes(&self, bytes: usize) {
        self.protobuf_bytes
            .store(u32::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
    }

    /// The object as JSON, with kind, apiVersion and resourceVersion. Put together, unless it is in one piece.
    pub fn json(&self) -> Bytes {
        self.line.joined(self.start(), EVENT_END.len())
    }

    /// What is at these JSON pointers.
    pub fn at<const N: usize>(&self, pointers: [&str; N]) -> [Option<Value>; N] {
        // Written by this server: it can be read.
        let mut found = skim(&self.json(), &pointers).unwrap_or_default().into_iter();
        std::array::from_fn(|_| found.next().flatten())
    }

    /// Whether it is being deleted.
    pub fn is_marked(&self) -> bool {
        matches!(self.at(["/metadata/deletionTimestamp"]), [Some(_)])
    }

    /// Whether a text may stand in it outside of who owns which field: to look before the whole is parsed.
    pub fn may_name(&self, text: &str) -> bool {
        self.line.contains(text.as_bytes())
    }

    /// How many pieces it is in as an item of a list.
    pub fn pieces(&self) -> usize {
        self.line.pieces()
    }

    /// A piece of it as an item of a list. Unless it is to be `named`, without `kind` and `apiVersion`: put `{` before it.
    pub fn piece(&self, piece: usize, named: bool) -> &[u8] {
        self.line.piece(piece, self.item_at(named), EVENT_END.len())
    }

    /// Bytes of it as an item of a list.
    pub fn item_len(&self, named: bool) -> usize {
        self.line.len() - self.item_at(named) - EVENT_END.len()
    }

    fn item_at(&self, named: bool) -> usize {
        match named {
            true => self.start(),
            false => self.item as usize,
        }
    }

    /// Whether its line is in one piece, and need not be put together for every watch.
    pub fn is_whole(&self) -> bool {
        self.line.is_whole()
    }

    /// The line of the change that made this version.
    pub fn line(&self) -> Bytes {
        self.line.joined(0, 0)
    }

    /// The frames of a watch event, of its `line`; one shared buffer when the event is the change that made this version.
    pub fn event(&self, line: Bytes, kind: &'static [u8]) -> [Bytes; 2] {
        let own = if self.modified { MODIFIED } else { ADDED };
        if std::ptr::eq(kind, own) || kind == own {
            return [line, Bytes::new()];
        }
        [Bytes::from_static(kind), line.slice(self.start()..)]
    }

    /// True when storing `stored` would change nothing.
    pub fn is_stored_as(&self, stored: &[u8]) -> bool {
        let rest = stored.strip_prefix(self.head());
        rest.is_some_and(|rest| self.line.is(self.tail as usize, EVENT_END.len(), rest))
    }

    /// The object as a tree.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json()).unwrap_or_else(|error| {
            // The text was made from a parsed value; this cannot happen.
            tracing::error!(key = %self.key, %error, "a cached object is not JSON");
            Value::Null
        })
    }

    /// The object as a tree without what manages its fields, and that as it is written: about half of a pod, of which
    /// most writes need nothing. `None`: there is none.
    pub fn value_and_managed(&self) -> (Value, Option<Bytes>) {
        let json = self.json();
        let apart = skim::find_one(&json, MANAGED_FIELDS).and_then(|managed| {
            // The version comes before it.
            let before = json[..managed.start].strip_suffix(MANAGED_MEMBER.as_bytes())?;
            let rest = [before, &json[managed.end..]].concat();
            Some((serde_json::from_slice(&rest).ok()?, json.slice(managed)))
        });
        if let Some((value, managed)) = apart {
            return (value, Some(managed));
        }
        let mut value = self.value();
        let metadata = value.get_mut("metadata").and_then(Value::as_object_mut);
        let managed = metadata.and_then(|metadata| metadata.remove("managedFields"));
        (value, managed.map(|managed| managed.to_string().into()))
    }

    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&self.key, |(_, name)| name)
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.labels()
    }

    /// Values of the resource's field selectors, in the order it declares them.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.texts.fields()
    }

    pub fn field(&self, index: usize) -> Option<&str> {
        self.texts.field(index)
    }

    /// Bytes that there are because of this version.
    pub fn size(&self) -> usize {
        self.line.own_len() + 128
    }
}

/// What values in protobuf begin with.
const PROTOBUF: &[u8] = b"k8s\0";
const LABELS: &str = "/metadata/labels";
const MANAGED_FIELDS: &str = "/metadata/managedFields";
/// Which fields are whose, of as many managers as most objects have: in the same words with every object that was made from
/// the same template.
const OWNED: [&str; 4] = [
    "/metadata/managedFields/0/fieldsV1",
    "/metadata/managedFields/1/fieldsV1",
    "/metadata/managedFields/2/fieldsV1",
    "/metadata/managedFields/3/fieldsV1",
];
const MANAGED_MEMBER: &str = r#","managedFields":"#;
const METADATA: &str = r#""metadata":{"#;

/// What the line of a version begins with; answers it and the offset just behind the resourceVersion member.
fn beginning(kind: &[u8], head: &[u8], revision: u64) -> (Vec<u8>, u32) {
    let version = format!(r#""resourceVersion":"{revision}","#);
    let beginning = [kind, head, version.as_bytes()].concat();
    let tail = beginning.len() as u32;
    (beginning, tail)
}

#[cfg(test)]
mod tests;
