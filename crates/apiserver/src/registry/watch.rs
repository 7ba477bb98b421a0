//! Endless answers: changes as they happen (contract §8.4, §8.5).
//!
//! A watcher pulls from the cache's ring when woken. It holds no queue of its own: falling behind the
//! ring ends it with 410, and nobody else notices.
use super::{get, list, present};
use crate::cache::{Change, ChangeKind, Object, StorageId};
use crate::http::{Answer, Body, Call, response};
use crate::request::{Filter, ListOptions, Shape};
use crate::status::ApiError;
use crate::{ApiServer, encode};
use bytes::Bytes;
use futures::stream;
use http::StatusCode;
use rand::Rng;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How often a watcher that allows it is told how far the server is.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// A last bookmark comes this long before the end.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Without `timeoutSeconds`, a watch lasts this long and up to twice as long.
const DURATION_MIN: Duration = Duration::from_secs(30 * 60);
/// Largest `timeoutSeconds` that is taken as is.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

pub async fn watch(call: &Arc<Call>) -> Result<Answer, ApiError> {
    let options = ListOptions::parse(&call.query, true)?;
    let filter = Filter::parse(call.resource, list::namespace(call), &call.query)?;
    if call.output.shape == Shape::MetadataList {
        return Err(ApiError::nothing_acceptable());
    }
    let encoder = Encoder::new(call)?;
    let storage = get::storage(call)?;
    let initial = match options.send_initial_events {
        Some(wanted) => wanted,
        // Without a version, and with 0, the present state comes first.
        None => matches!(options.resource_version, None | Some(0)),
    };
    let version = options.resource_version.unwrap_or(0);
    let server = &call.server;
    if options.resource_version.is_none() {
        server.reach_now().await?;
    } else if initial
        && version > 0
        && let Err(current) = server.cache.reach_soon(version).await
    {
        let error = ApiError::future_version(version, current);
        return Ok(stream_answer(encoder.content_type, one_error(&encoder, &error)));
    }
    let signal = server.cache.subscribe(storage);
    let now = Instant::now();
    let lifetime = options.timeout_seconds.map_or_else(
        || DURATION_MIN + rand::rng().random_range(Duration::ZERO..DURATION_MIN),
        |seconds| Duration::from_secs(seconds).min(DURATION_MAX),
    );
    let mut watcher = Watcher {
        server: server.clone(),
        storage,
        filter,
        encoder,
        signal,
        position: 0,
        after: 0,
        end: now + lifetime,
        next_bookmark: options
            .allow_bookmarks
            .then(|| first_bookmark(now, now + lifetime)),
        out: VecDeque::new(),
        finished: false,
    };
    if initial {
        let (snapshot, position) = server
            .cache
            .snapshot_and_position(storage, &watcher.filter.namespace);
        watcher.position = position;
        watcher.after = snapshot.revision;
        for object in &snapshot.objects {
            if watcher.filter.matches(object) {
                watcher.encoder.event(ADDED, object, &mut watcher.out);
            }
        }
        if options.send_initial_events == Some(true) && options.allow_bookmarks {
            watcher
                .encoder
                .bookmark(snapshot.revision, true, &mut watcher.out);
        }
    } else if version == 0 {
        // sendInitialEvents=false without a version: from now on.
        let (snapshot, position) = server.cache.snapshot_and_position(storage, "\0");
        watcher.position = position;
        watcher.after = snapshot.revision;
    } else {
        watcher.after = version;
        match server.cache.position_after(storage, version) {
            Ok(position) => watcher.position = position,
            Err(expired) => watcher.expire(version, expired.oldest),
        }
    }
    let content_type = watcher.encoder.content_type;
    let frames = stream::unfold(watcher, |mut watcher| async move {
        let frame = watcher.next().await?;
        Some((Ok(frame), watcher))
    });
    Ok(stream_answer(content_type, Body::from_stream(frames)))
}

fn stream_answer(content_type: &'static str, body: Body) -> Answer {
    Answer::Raw(response(StatusCode::OK, content_type, body))
}

fn one_error(encoder: &Encoder, error: &ApiError) -> Body {
    Body::from(encoder.error(error))
}

fn first_bookmark(now: Instant, end: Instant) -> Instant {
    let last = end.checked_sub(BOOKMARK_BEFORE_END).unwrap_or(end);
    (now + BOOKMARK_PERIOD).min(last.max(now))
}

const ADDED: ChangeKind = ChangeKind::Added;

struct Watcher {
    server: Arc<ApiServer>,
    storage: StorageId,
    filter: Filter,
    encoder: Encoder,
    signal: watch::Receiver<u64>,
    /// Position in the ring of the next change.
    position: u64,
    /// Changes up to this revision are not wanted.
    after: u64,
    end: Instant,
    next_bookmark: Option<Instant>,
    out: VecDeque<Bytes>,
    finished: bool,
}

impl Watcher {
    /// The next bytes to send; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.out.pop_front() {
                return Some(frame);
            }
            if self.finished {
                return None;
            }
            // Marked as seen before reading, so that a change in between wakes us again.
            self.signal.borrow_and_update();
            let (changes, revision) = match self.server.cache.changes(self.storage, self.position) {
                Ok(read) => read,
                Err(expired) => {
                    self.expire(self.after, expired.oldest);
                    continue;
                }
            };
            if !changes.is_empty() {
                for change in &changes {
                    self.take(change);
                }
                self.position += changes.len() as u64;
                continue;
            }
            let bookmark = self.next_bookmark;
            tokio::select! {
                changed = self.signal.changed() => if changed.is_err() {
                    return None;
                },
                () = sleep_until(self.end) => return None,
                () = self.server.shutdown.cancelled() => return None,
                () = sleep_until(bookmark.unwrap_or(self.end)), if bookmark.is_some() => {
                    let now = Instant::now();
                    self.encoder.bookmark(revision.max(self.after), false, &mut self.out);
                    let last = self.end.checked_sub(BOOKMARK_BEFORE_END).unwrap_or(self.end);
                    self.next_bookmark = (now < last).then(|| first_bookmark(now, self.end));
                },
            }
        }
    }

    /// Sends what a change means under this watch's selectors.
    fn take(&mut self, change: &Change) {
        let object = &change.object;
        if object.revision <= self.after {
            return;
        }
        let matched = change.previous.as_ref().is_some_and(|p| self.filter.matches(p));
        let matches = change.kind != ChangeKind::Deleted && self.filter.matches(object);
        match (matched, matches) {
            (false, true) => self.encoder.event(ChangeKind::Added, object, &mut self.out),
            (true, true) => self.encoder.event(ChangeKind::Modified, object, &mut self.out),
            (true, false) if change.kind == ChangeKind::Deleted => {
                self.encoder.event(ChangeKind::Deleted, object, &mut self.out);
            }
            (true, false) => {
                // It left the selection: its last selected state, at the version of the change.
                if let Some(previous) = &change.previous {
                    let resource = self.server.cache.resource(self.storage);
                    let last = previous.at_revision(resource, object.revision);
                    self.encoder.event(ChangeKind::Deleted, &last, &mut self.out);
                }
            }
            (false, false) => {}
        }
    }

    fn expire(&mut self, asked: u64, oldest: u64) {
        let error = ApiError::expired(format!("too old resource version: {asked} ({oldest})"));
        self.out.push_back(self.encoder.error(&error).into());
        self.finished = true;
    }
}

/// Writes events in the shape and format of one watch.
struct Encoder {
    call: Arc<Call>,
    tables: Option<present::Tables>,
    /// Tables name their columns once.
    columns_sent: bool,
    content_type: &'static str,
}

impl Encoder {
    fn new(call: &Arc<Call>) -> Result<Self, ApiError> {
        Ok(Self {
            tables: (call.output.shape == Shape::Table)
                .then(|| present::Tables::of(call))
                .transpose()?,
            columns_sent: false,
            content_type: if call.output.yaml {
                "application/yaml;stream=watch"
            } else {
                "application/json"
            },
            call: call.clone(),
        })
    }

    fn event(&mut self, kind: ChangeKind, object: &Object, out: &mut VecDeque<Bytes>) {
        use crate::cache::{ADDED, DELETED, MODIFIED};
        let plain = self.call.output.shape == Shape::Object
            && self.call.resource.view.is_none()
            && !self.call.output.yaml;
        if plain {
            let kind = match kind {
                ChangeKind::Added => ADDED,
                ChangeKind::Modified => MODIFIED,
                ChangeKind::Deleted => DELETED,
            };
            out.extend(object.event(kind).into_iter().filter(|f| !f.is_empty()));
            return;
        }
        let name = match kind {
            ChangeKind::Added => "ADDED",
            ChangeKind::Modified => "MODIFIED",
            ChangeKind::Deleted => "DELETED",
        };
        let value = present::shown(self.call.resource, object);
        let shaped = match (&self.tables, self.call.output.shape) {
            (Some(tables), _) => {
                let mut metadata = Map::new();
                metadata.insert("resourceVersion".into(), json!(object.revision.to_string()));
                let with_columns = !std::mem::replace(&mut self.columns_sent, true);
                tables.table(metadata, vec![tables.row(&value)], with_columns)
            }
            (None, Shape::Metadata) => present::metadata_of(&value),
            _ => value,
        };
        out.push_back(self.line(name, &shaped).into());
    }

    fn bookmark(&mut self, revision: u64, initial_end: bool, out: &mut VecDeque<Bytes>) {
        let resource = self.call.resource;
        let mut object = json!({
            "kind": resource.kind,
            "apiVersion": resource.api_version(),
            "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null},
        });
        if initial_end {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let shaped = match (&self.tables, self.call.output.shape) {
            (Some(tables), _) => {
                let mut metadata = Map::new();
                metadata.insert("resourceVersion".into(), json!(revision.to_string()));
                let with_columns = !std::mem::replace(&mut self.columns_sent, true);
                tables.table(metadata, vec![tables.bookmark(&object)], with_columns)
            }
            (None, Shape::Metadata) => present::metadata_of(&object),
            _ => object,
        };
        out.push_back(self.line("BOOKMARK", &shaped).into());
    }

    fn error(&self, error: &ApiError) -> Vec<u8> {
        self.line("ERROR", &error.to_value())
    }

    fn line(&self, kind: &str, object: &Value) -> Vec<u8> {
        if self.call.output.yaml {
            let event = json!({"type": kind, "object": object});
            let yaml = serde_saphyr::to_string(&event).unwrap_or_default();
            return format!("---\n{yaml}").into_bytes();
        }
        let mut line = format!(r#"{{"type":"{kind}","object":"#).into_bytes();
        line.extend_from_slice(&encode::object(object));
        line.extend_from_slice(b"}\n");
        line
    }
}
