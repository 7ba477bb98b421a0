//! Collections: from the cache now, or from the store's history for exact and continued lists
//! (contract §8.1 to §8.3).
use super::{get, present, protobuf};
use crate::cache::{Object, Snapshot, StorageId};
use crate::custom;
use crate::encryption;
use crate::http::{Answer, Body, Call, ListBody};
use crate::request::{Filter, Format, ListOptions, Shape, VersionMatch};
use crate::resources::ROOT;
use crate::status::ApiError;
use http::StatusCode;
use orlop_api::continue_token::ContinueToken;
use orlop_store::{RangeRequest, Revision, StoreError, prefix_end};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The objects of one answer, and where the next continues.
pub struct Page {
    pub objects: Vec<Arc<Object>>,
    pub revision: u64,
    pub next: Option<String>,
    pub remaining: Option<usize>,
}

pub async fn list(call: &Call) -> Result<Answer, ApiError> {
    if call.output.shape == Shape::Metadata {
        return Err(ApiError::not_acceptable(format!(
            "you requested PartialObjectMetadata, but the requested object is a list ({}List)",
            call.resource.kind
        )));
    }
    let options = ListOptions::parse(&call.query, false)?;
    let filter = Filter::parse(call.resource, namespace(call), &call.query)?;
    let page = page(call, &options, &filter).await?;
    answer(call, page).await
}

/// The namespace a collection request is limited to.
pub fn namespace(call: &Call) -> &str {
    if call.resource.namespaced {
        &call.info.namespace
    } else {
        ""
    }
}

/// Reads what a list (or deletecollection) asks for.
pub async fn page(call: &Call, options: &ListOptions, filter: &Filter) -> Result<Page, ApiError> {
    if let Some(token) = &options.continue_token {
        let token = ContinueToken::parse(token).map_err(|why| {
            ApiError::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        })?;
        if options.resource_version.is_some_and(|version| version > 0) {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        if token.revision > 0 {
            return from_history(call, filter, token.revision, &token.start, options.limit).await;
        }
        call.server.reach_now().await?;
        let snapshot = current(call, filter).await?;
        return in_form(call, cut(snapshot, filter, &token.start, options.limit)).await;
    }
    let exact = options.version_match == Some(VersionMatch::Exact)
        || (options.limit > 0 && options.version_match.is_none());
    let mut limit = options.limit;
    match options.resource_version {
        None => call.server.reach_now().await?,
        // Whatever the cache has, all of it.
        Some(0) => limit = 0,
        Some(revision) => {
            call.server
                .cache
                .reach_soon(revision)
                .await
                .map_err(|current| ApiError::future_version(revision, current))?;
            if exact {
                return from_history(call, filter, revision, "", limit).await;
            }
        }
    }
    in_form(call, cut(current(call, filter).await?, filter, "", limit)).await
}

/// The page with its objects as the request asks for them.
async fn in_form(call: &Call, mut page: Page) -> Result<Page, ApiError> {
    page.objects = custom::in_form(&call.server, call.resource, page.objects).await?;
    Ok(page)
}

/// Whether objects have to be converted before a filter can tell which of them are wanted.
fn is_about_versions(call: &Call, filter: &Filter) -> bool {
    !filter.is_plain()
        && call
            .resource
            .custom
            .is_some_and(|custom| custom.definition().has_versions())
}

/// The objects that the filter wants, now.
async fn current(call: &Call, filter: &Filter) -> Result<Snapshot, ApiError> {
    let storage = get::storage(call)?;
    get::whole(call, storage, &filter.namespace)?;
    let cache = &call.server.cache;
    if filter.is_plain() {
        return Ok(cache.snapshot(storage, &filter.namespace));
    }
    if is_about_versions(call, filter) {
        let mut all = cache.snapshot(storage, &filter.namespace);
        all.objects = custom::in_form(&call.server, call.resource, all.objects).await?;
        all.objects.retain(|object| filter.matches(object));
        return Ok(all);
    }
    if let Some(mut found) = indexed(call, filter, storage) {
        found.objects.retain(|object| filter.matches(object));
        return Ok(found);
    }
    Ok(cache.snapshot_where(storage, &filter.namespace, |object| filter.matches(object)))
}

/// The objects among which those are that the filter wants, where few can be told by what it demands.
fn indexed(call: &Call, filter: &Filter, storage: StorageId) -> Option<Snapshot> {
    let cache = &call.server.cache;
    // Selecting one node's pods, or one name, must not cost a walk over all objects.
    if call.resource.plural == "pods"
        && let Some(node) = filter.required(call.resource, "spec.nodeName")
        && !node.is_empty()
    {
        return Some(cache.snapshot_of_node(storage, &filter.namespace, node));
    }
    if let Some(name) = filter.required(call.resource, "metadata.name")
        && (!call.resource.namespaced || !filter.namespace.is_empty())
    {
        return Some(cache.snapshot_of_key(storage, &call.resource.key(&filter.namespace, name)));
    }
    let (label, values) = filter.required_label()?;
    cache.snapshot_labelled(storage, &filter.namespace, label, values)
}

/// Skips to `start` and cuts at `limit`.
fn cut(snapshot: Snapshot, filter: &Filter, start: &str, limit: usize) -> Page {
    let Snapshot {
        mut objects,
        revision,
    } = snapshot;
    if !start.is_empty() {
        objects.retain(|o| &*o.key >= start);
    }
    page_of(objects, revision, filter, limit)
}

fn page_of(mut objects: Vec<Arc<Object>>, revision: u64, filter: &Filter, limit: usize) -> Page {
    let total = objects.len();
    if limit == 0 || total <= limit {
        return Page {
            objects,
            revision,
            next: None,
            remaining: None,
        };
    }
    objects.truncate(limit);
    let last = objects.last().map(|o| o.key.to_string()).unwrap_or_default();
    Page {
        objects,
        revision,
        next: Some(
            ContinueToken {
                revision,
                start: format!("{last}\0"),
            }
            .to_string(),
        ),
        remaining: filter.is_plain().then_some(total - limit),
    }
}

/// The collection as it was at `revision`.
async fn from_history(
    call: &Call,
    filter: &Filter,
    revision: u64,
    start: &str,
    limit: usize,
) -> Result<Page, ApiError> {
    let storage = get::storage(call)?;
    if is_forgotten(call, revision).await? {
        return Err(match start {
            "" => ApiError::expired("The resourceVersion for the provided list is too old."),
            _ => expired_token(revision, start),
        });
    }
    // Nothing changed since: the cache is that past.
    let now = current(call, filter).await?;
    if call.server.cache.last_change([storage]) <= revision && now.revision >= revision {
        return in_form(call, cut(Snapshot { revision, ..now }, filter, start, limit)).await;
    }
    let prefix = format!("{ROOT}{}/", call.resource.storage);
    let within = match filter.namespace.as_str() {
        "" => prefix.clone(),
        namespace => format!("{prefix}{namespace}/"),
    };
    let from = format!("{prefix}{start}").max(within.clone());
    let request = RangeRequest {
        start: from.into(),
        end: Some(prefix_end(&within)),
        revision: Some(Revision(revision)),
        // Where everything is wanted, one more tells that there is more.
        limit: match filter.is_plain() && limit > 0 {
            true => limit + 1,
            false => 0,
        },
        ..RangeRequest::default()
    };
    let past = call
        .server
        .store
        .range(request)
        .await
        .map_err(|error| match error {
            StoreError::Compacted { .. } if !start.is_empty() => expired_token(revision, start),
            other => ApiError::from(other),
        })?;
    for kv in &past.kvs {
        if let Some(reason) = encryption::lost(&kv.value) {
            let key = kv.key.as_str().and_then(|key| key.strip_prefix(&prefix));
            return Err(get::unreadable(call, key.unwrap_or_default(), &reason));
        }
    }
    let count = past.count;
    let resource = call.server.cache.resource(storage);
    let mut objects: Vec<Arc<Object>> = past
        .kvs
        .iter()
        .filter_map(|kv| {
            let key = kv.key.as_str()?.strip_prefix(&prefix)?;
            let created = kv.create_revision == kv.mod_revision;
            Object::from_stored(resource, key.into(), &kv.value, kv.mod_revision.0, created).ok()
        })
        .map(Arc::new)
        .collect();
    if is_about_versions(call, filter) {
        objects = custom::in_form(&call.server, call.resource, objects).await?;
    }
    objects.retain(|object| filter.matches(object));
    let mut page = page_of(objects, revision, filter, limit);
    page.remaining = page.remaining.map(|_| count.saturating_sub(limit));
    // More may lie behind what cannot be read.
    if let (true, None, Some(last)) = (past.more, &page.next, past.kvs.last()) {
        let last = last.key.as_str().and_then(|key| key.strip_prefix(&prefix));
        let start = format!("{}\0", last.unwrap_or_default());
        page.next = Some(ContinueToken { revision, start }.to_string());
    }
    in_form(call, page).await
}

/// Whether the store has forgotten a revision. What is still known of it here is not shown either: a list whose chunks
/// may be read for ever would never be told that it is over.
async fn is_forgotten(call: &Call, revision: u64) -> Result<bool, ApiError> {
    let request = RangeRequest {
        revision: Some(Revision(revision)),
        ..RangeRequest::key(ROOT)
    };
    match call.server.store.range(request).await {
        Ok(_) => Ok(false),
        Err(StoreError::Compacted { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn expired_token(revision: u64, start: &str) -> ApiError {
    let mut error = ApiError::expired(format!(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list. (revision {revision})"
    ));
    let token = ContinueToken {
        revision: 0,
        start: start.to_owned(),
    };
    error.continue_token = Some(token.to_string());
    error
}

/// The page as a list, a table, or metadata.
pub async fn answer(call: &Call, page: Page) -> Result<Answer, ApiError> {
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".into(), json!(page.revision.to_string()));
    if let Some(token) = &page.next {
        metadata.insert("continue".into(), json!(token));
    }
    if let Some(remaining) = page.remaining {
        metadata.insert("remainingItemCount".into(), json!(remaining));
    }
    let resource = call.resource;
    if call.output.shape == Shape::Table {
        let tables = present::Tables::of(call)?;
        let rows = page
            .objects
            .iter()
            .map(|o| tables.row(&present::shown(resource, o)))
            .collect();
        return Ok(Answer::Value(StatusCode::OK, tables.table(metadata, rows, true)));
    }
    if call.output.format == Format::Protobuf {
        return protobuf::list(call, &metadata, page.objects).await;
    }
    let list = |kind: String, api_version: String, items: Vec<Value>| json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items});
    if call.output.shape == Shape::MetadataList {
        let items = page
            .objects
            .iter()
            .map(|o| present::metadata_of(&o.value(), call.output.meta))
            .collect();
        let list = list(
            "PartialObjectMetadataList".to_owned(),
            call.output.meta.to_owned(),
            items,
        );
        return Ok(Answer::Value(StatusCode::OK, list));
    }
    let (kind, api_version) = (resource.list_kind(), resource.api_version());
    if resource.view.is_some() || !call.output.is_compact_json() {
        let items = page
            .objects
            .iter()
            .map(|o| {
                let mut value = present::shown(resource, o);
                if resource.custom.is_none()
                    && let Some(value) = value.as_object_mut()
                {
                    value.remove("kind");
                    value.remove("apiVersion");
                }
                value
            })
            .collect();
        return Ok(Answer::Value(StatusCode::OK, list(kind, api_version, items)));
    }
    let head = format!(
        r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{},"items":["#,
        Value::Object(metadata)
    );
    let body = Body::List(ListBody::new(
        head.into_bytes(),
        page.objects,
        resource.custom.is_some(),
    ));
    Ok(Answer::Raw(crate::http::response(
        StatusCode::OK,
        "application/json",
        body,
    )))
}
