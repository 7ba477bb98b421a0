//! Endless answers: changes as they happen (contract §8.4, §8.5).
//!
//! A watcher pulls from the cache's ring when woken. It holds no queue of its own but the batch that it has pulled and a
//! frame of what it has written: falling behind the ring ends it with 410, and nobody else notices.
use super::event::{Encoder, Opened};
use super::outgoing::{Outgoing, Waiting};
use super::{get, list};
use crate::ApiServer;
use crate::cache::{Change, ChangeKind, Object, StorageId, Subscription};
use crate::custom;
use crate::http::{Answer, Body, Call, response, websocket};
use crate::request::{Filter, ListOptions, Shape};
use crate::resources::Resource;
use crate::status::ApiError;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{Stream, stream};
use http::StatusCode;
use rand::Rng;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// How often a watcher that allows it is told how far the server is.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// A last bookmark comes this long before the end.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Largest `timeoutSeconds` that is taken as is.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

pub async fn watch(call: &Call) -> Result<Answer, ApiError> {
    let options = ListOptions::parse(&call.query, true)?;
    let filter = Filter::parse(call.resource, list::namespace(call), &call.query)?;
    if call.output.shape == Shape::MetadataList {
        return Err(ApiError::nothing_acceptable());
    }
    let encoder = Encoder::new(call)?;
    let opened = encoder.opened();
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
        let event = encoder.error(&error);
        return deliver(call, opened, stream::iter([Ok(event)]));
    }
    if initial {
        get::whole(call, storage, &filter.namespace)?;
    }
    let definition = call.resource.custom.map(|custom| custom.definition());
    let interest = match definition {
        Some(definition) if definition.has_versions() => filter.wide_interest(),
        _ => filter.interest(),
    };
    let subscription = server.cache.watch(storage, interest);
    if is_superseded(call) {
        return deliver(call, opened, stream::empty());
    }
    let now = Instant::now();
    let lifetime = options.timeout_seconds.map_or_else(
        || server.request_times.watch(rand::rng().random()),
        |seconds| Duration::from_secs(seconds).min(DURATION_MAX),
    );
    let end = now + lifetime;
    let next_bookmark = options.allow_bookmarks.then(|| first_bookmark(now, end));
    let mut watcher = Watcher {
        server: server.clone(),
        resource: call.resource,
        storage,
        filter,
        converting: None,
        encoder,
        subscription,
        after: 0,
        end,
        next_bookmark,
        timer: Box::pin(sleep_until(next_bookmark.unwrap_or(end).min(end))),
        outgoing: Outgoing::default(),
        finished: false,
    };
    if initial {
        let (snapshot, position) = server
            .cache
            .snapshot_and_position(storage, &watcher.filter.namespace);
        watcher.subscription.look_from(position);
        watcher.after = snapshot.revision;
        let mut objects = custom::in_form(server, call.resource, snapshot.objects).await?;
        objects.retain(|object| watcher.filter.matches(object));
        watcher.outgoing.wait(objects.into_iter().map(Waiting::Present));
        if options.send_initial_events == Some(true) && options.allow_bookmarks {
            watcher.outgoing.wait([Waiting::Whole(snapshot.revision)]);
        }
    } else if version == 0 {
        // sendInitialEvents=false without a version: from now on.
        let (snapshot, position) = server.cache.snapshot_and_position(storage, "\0");
        watcher.subscription.look_from(position);
        watcher.after = snapshot.revision;
    } else {
        watcher.after = version;
        match server.cache.position_after(storage, version).await {
            Ok(position) => watcher.subscription.look_from(position),
            Err(expired) => watcher.expire(version, expired.oldest),
        }
    }
    deliver(call, opened, watcher)
}

/// Whether the definition of a custom resource has changed since the call was routed: the watches of before have been
/// ended without this one.
fn is_superseded(call: &Call) -> bool {
    let (resource, server) = (call.resource, &call.server);
    let served = || server.resource(resource.group, resource.version, resource.plural);
    resource.custom.is_some() && !served().is_some_and(|served| std::ptr::eq(served, resource))
}

/// Sends events over the connection: as the body of the answer, or as messages to a client that speaks WebSocket.
fn deliver(
    call: &Call,
    stream: Opened,
    events: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Result<Answer, ApiError> {
    if stream.apart {
        let carries = match stream.is_text {
            true => websocket::Carries::Lines,
            false => websocket::Carries::Frames,
        };
        return websocket::serve(call, carries, events);
    }
    let body = Body::from_stream(events);
    Ok(Answer::Raw(response(StatusCode::OK, stream.content_type, body)))
}

type Converting = BoxFuture<'static, Result<Vec<Arc<Change>>, ApiError>>;

/// Changes with their objects in the form of a resource. One at a time of all who watch it, so that the others find
/// what the first has had converted.
async fn converted(
    server: Arc<ApiServer>,
    resource: &'static Resource,
    changes: Vec<Arc<Change>>,
) -> Result<Vec<Arc<Change>>, ApiError> {
    let _turn = server.converted.turn(resource).await;
    let mut objects: Vec<Arc<Object>> = changes.iter().map(|change| change.object.clone()).collect();
    objects.extend(changes.iter().filter_map(|change| change.previous.clone()));
    let objects = custom::in_form(&server, resource, objects).await?;
    let mut previous = objects[changes.len()..].iter();
    let pairs = changes.iter().zip(&objects);
    let converted = pairs.map(|(change, object)| Change {
        kind: change.kind,
        object: object.clone(),
        previous: change.previous.as_ref().and_then(|_| previous.next().cloned()),
    });
    Ok(converted.map(Arc::new).collect())
}

fn first_bookmark(now: Instant, end: Instant) -> Instant {
    let last = end.checked_sub(BOOKMARK_BEFORE_END).unwrap_or(end);
    (now + BOOKMARK_PERIOD).min(last.max(now))
}

/// One watch. Thousands of these wait at a time: it keeps nothing of its request but what it needs.
struct Watcher {
    server: Arc<ApiServer>,
    resource: &'static Resource,
    storage: StorageId,
    filter: Filter,
    /// Changes on their way into the form of the resource.
    converting: Option<Converting>,
    encoder: Encoder,
    subscription: Subscription,
    /// Changes up to this revision are not wanted.
    after: u64,
    end: Instant,
    next_bookmark: Option<Instant>,
    /// Until the next bookmark, or the end.
    timer: Pin<Box<Sleep>>,
    outgoing: Outgoing,
    finished: bool,
}

impl Stream for Watcher {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(frame) = self.next_frame() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if let Some(converting) = &mut self.converting {
                let converted = ready!(converting.as_mut().poll(cx));
                self.converting = None;
                match converted {
                    Ok(changes) => self.wait(changes),
                    Err(error) => {
                        let event = self.encoder.error(&error);
                        self.outgoing.written.push(event);
                        self.finished = true;
                    }
                }
                continue;
            }
            if self.finished {
                return Poll::Ready(None);
            }
            match self.subscription.poll_changed(cx) {
                Poll::Ready(true) => {
                    self.look();
                }
                // What happened until then is told.
                Poll::Ready(false) => self.finished |= !self.look(),
                Poll::Pending => {
                    ready!(self.timer.as_mut().poll(cx));
                    self.on_time();
                }
            }
        }
    }
}

impl Watcher {
    /// The next bytes to send.
    fn next_frame(&mut self) -> Option<Bytes> {
        while let Some(waiting) = self.outgoing.next_to_write() {
            let written = &mut self.outgoing.written;
            match waiting {
                Waiting::Present(object) => self.encoder.initial(&object, &self.server.recent, written),
                Waiting::Whole(revision) => self.encoder.bookmark(revision, true, written),
                Waiting::Change(change) => self.tell(&change),
            }
        }
        self.outgoing.frame(self.encoder.apart)
    }

    /// Looks at a batch of changes; whether there were any.
    fn look(&mut self) -> bool {
        match self.server.cache.changes(self.storage, &self.subscription) {
            Ok((changes, _)) => {
                let some = !changes.is_empty();
                self.receive(changes);
                some
            }
            Err(expired) => {
                self.expire(self.after, expired.oldest);
                false
            }
        }
    }

    /// Takes changes, at once if clients see their objects as they are.
    fn receive(&mut self, changes: Vec<Arc<Change>>) {
        let seen = |object: &Object| object.is_seen_as(self.resource);
        let at_once =
            |change: &Arc<Change>| seen(&change.object) && change.previous.as_ref().is_none_or(|p| seen(p));
        if changes.iter().all(at_once) {
            return self.wait(changes);
        }
        let (server, resource) = (self.server.clone(), self.resource);
        self.converting = Some(Box::pin(converted(server, resource, changes)));
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if now >= self.end {
            self.finished = true;
            return;
        }
        if self.next_bookmark.is_some_and(|due| due <= now) {
            // What a bookmark skips over must have been looked at.
            match self.server.cache.changes(self.storage, &self.subscription) {
                Ok((changes, _)) if !changes.is_empty() => self.receive(changes),
                Ok((_, revision)) => {
                    let written = &mut self.outgoing.written;
                    self.encoder.bookmark(revision.max(self.after), false, written);
                    let last = self.end.checked_sub(BOOKMARK_BEFORE_END).unwrap_or(self.end);
                    self.next_bookmark = (now < last).then(|| first_bookmark(now, self.end));
                }
                Err(expired) => self.expire(self.after, expired.oldest),
            }
        }
        let next = self.next_bookmark.unwrap_or(self.end).min(self.end);
        self.timer.as_mut().reset(next);
    }

    /// Takes changes, to tell them once there is room.
    fn wait(&mut self, changes: Vec<Arc<Change>>) {
        self.outgoing.wait(changes.into_iter().map(Waiting::Change));
    }

    fn event(&mut self, kind: ChangeKind, object: &Arc<Object>) {
        let written = &mut self.outgoing.written;
        self.encoder.event(kind, object, &self.server.recent, written);
    }

    /// Writes what a change means under this watch's selectors.
    fn tell(&mut self, change: &Change) {
        let object = &change.object;
        if object.revision <= self.after {
            return;
        }
        let matched = change.previous.as_ref().is_some_and(|p| self.filter.matches(p));
        let matches = change.kind != ChangeKind::Deleted && self.filter.matches(object);
        match (matched, matches) {
            (false, true) => self.event(ChangeKind::Added, object),
            (true, true) => self.event(ChangeKind::Modified, object),
            (true, false) if change.kind == ChangeKind::Deleted => {
                self.event(ChangeKind::Deleted, object);
            }
            (true, false) => {
                // It left the selection: its last selected state, at the version of the change.
                if let Some(previous) = &change.previous {
                    let last = previous.at_revision(object.revision);
                    self.encoder.departure(&last, &mut self.outgoing.written);
                }
            }
            (false, false) => {}
        }
    }

    fn expire(&mut self, asked: u64, oldest: u64) {
        let error = ApiError::expired(format!("too old resource version: {asked} ({oldest})"));
        self.outgoing.written.push(self.encoder.error(&error));
        self.finished = true;
    }
}
