//! Lists, and watches that follow the history at their own pace.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use futures::stream::unfold;
use http_body::Frame;
use orlop_api::selector::LabelSelector;
use serde_json::{Value, json};
use tokio::time::sleep_until;

use super::kinds::Kind;
use super::store::{Commit, Store};
use crate::faults::WatchFaults;

/// Which objects of a kind.
#[derive(Debug, Clone)]
pub struct Selection {
    pub kind: &'static Kind,
    /// Empty for all.
    pub namespace: String,
    pub labels: Option<LabelSelector>,
    /// Field paths and values.
    pub fields: Vec<(String, String)>,
}

impl Selection {
    pub fn new(kind: &'static Kind, namespace: &str, query: &BTreeMap<String, String>) -> Self {
        let labels = query
            .get("labelSelector")
            .map(|text| LabelSelector::parse(text).unwrap());
        let fields = query.get("fieldSelector").map_or("", String::as_str);
        Self {
            kind,
            namespace: namespace.to_owned(),
            labels,
            fields: fields
                .split(',')
                .filter_map(|field| field.split_once('='))
                .map(|(path, value)| (format!("/{}", path.replace('.', "/")), value.to_owned()))
                .collect(),
        }
    }

    fn has(&self, object: &Value) -> bool {
        let labels = || -> BTreeMap<String, String> {
            serde_json::from_value(object["metadata"]["labels"].clone()).unwrap_or_default()
        };
        self.fields
            .iter()
            .all(|(path, value)| object.pointer(path).and_then(Value::as_str).unwrap_or("") == value)
            && self
                .labels
                .as_ref()
                .is_none_or(|selector| selector.matches(&labels()))
    }

    fn concerns(&self, commit: &Commit) -> bool {
        commit.key.kind == self.kind
            && (self.namespace.is_empty() || commit.key.namespace == self.namespace)
            && self.has(&commit.shown)
    }

    /// The line that a watch carries for `commit`.
    fn line(&self, commit: &Commit) -> Option<Bytes> {
        if !self.concerns(commit) {
            return None;
        }
        let what = match (&commit.old, &commit.new) {
            (_, None) => "DELETED",
            (None, Some(_)) => "ADDED",
            (Some(old), Some(_)) if !self.has(old) => "ADDED",
            (Some(_), Some(_)) => "MODIFIED",
        };
        let mut line = serde_json::to_vec(&json!({"type": what, "object": *commit.shown})).unwrap();
        line.push(b'\n');
        Some(line.into())
    }
}

impl Store {
    /// The list as of `version`, or as of now.
    pub fn list(&self, selection: &Selection, version: Option<u64>) -> Value {
        let contents = self.lock();
        let at = version.unwrap_or(contents.version).min(contents.version);
        let mut objects: BTreeMap<_, Arc<Value>> = contents
            .of_kind(selection.kind)
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        // An older one is the present with what came after it undone.
        for commit in contents.log.iter().rev().take_while(|commit| commit.version > at) {
            if commit.key.kind == selection.kind {
                match &commit.old {
                    Some(old) => drop(objects.insert(commit.key.clone(), old.clone())),
                    None => drop(objects.remove(&commit.key)),
                }
            }
        }
        let items: Vec<&Value> = objects
            .iter()
            .filter(|(key, object)| {
                (selection.namespace.is_empty() || key.namespace == selection.namespace)
                    && selection.has(object)
            })
            .map(|(_, object)| &**object)
            .collect();
        json!({"kind": format!("{}List", selection.kind.kind), "apiVersion": selection.kind.api_version(),
            "metadata": {"resourceVersion": at.to_string()}, "items": items})
    }
}

struct Following {
    store: Arc<Store>,
    selection: Selection,
    faults: WatchFaults,
    /// How much of the log was told.
    at: usize,
    ended: bool,
}

/// The frames of a watch from `version` on; ends when its faults say so.
pub fn follow(
    store: Arc<Store>,
    selection: Selection,
    version: u64,
    faults: WatchFaults,
) -> impl Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send {
    let at = store
        .lock()
        .log
        .partition_point(|commit| commit.version <= version);
    let following = Following {
        store,
        selection,
        faults,
        at,
        ended: false,
    };
    unfold(following, |mut following| async move {
        let frame = following.next().await?;
        Some((frame, following))
    })
}

impl Following {
    async fn next(&mut self) -> Option<Result<Frame<Bytes>, std::io::Error>> {
        if self.ended {
            return None;
        }
        let mut changed = self.store.changed.subscribe();
        while !self.is_behind() {
            tokio::select! {
                biased;
                () = self.faults.end() => return self.end(),
                changed = changed.changed() => changed.ok()?,
            }
        }
        let arrival = self.faults.delay();
        tokio::select! {
            biased;
            () = self.faults.end() => return self.end(),
            () = sleep_until(arrival) => {}
        }
        let contents = self.store.lock();
        let mut lines = Vec::new();
        for commit in &contents.log[self.at..] {
            if let Some(line) = self.selection.line(commit) {
                lines.extend_from_slice(&line);
            }
        }
        self.at = contents.log.len();
        Some(Ok(Frame::data(lines.into())))
    }

    /// Whether there is something to tell.
    fn is_behind(&mut self) -> bool {
        let contents = self.store.lock();
        let behind = contents.log[self.at..]
            .iter()
            .any(|commit| self.selection.concerns(commit));
        if !behind {
            self.at = contents.log.len();
        }
        behind
    }

    fn end(&mut self) -> Option<Result<Frame<Bytes>, std::io::Error>> {
        self.ended = true;
        self.faults.last_word().map(Err)
    }
}
