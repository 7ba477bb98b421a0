//! The events of one watch, in the shape and format that its client wants.
use super::outgoing::Written;
use super::present;
use super::protobuf::{Form, Recent};
use crate::cache::{ADDED, ChangeKind, DELETED, MODIFIED, Object};
use crate::encode;
use crate::http::{Call, websocket};
use crate::request::{Format, Output, Shape};
use crate::resources::Resource;
use crate::status::ApiError;
use bytes::Bytes;
use orlop_api::wire::protobuf;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What a client is told of a stream before its first event.
#[derive(Clone, Copy)]
pub struct Opened {
    pub content_type: &'static str,
    pub is_text: bool,
    /// Every event is handed out in one piece of its own.
    pub apart: bool,
}

/// Writes events.
pub struct Encoder {
    resource: &'static Resource,
    output: Output,
    form: Form,
    /// Every event goes out in one piece of its own: to a client that speaks WebSocket.
    pub apart: bool,
    tables: Option<present::Tables>,
    /// Tables name their columns once.
    columns_sent: bool,
}

impl Encoder {
    pub fn new(call: &Call) -> Result<Self, ApiError> {
        Ok(Self {
            form: Form::of(call.resource, &call.output),
            tables: (call.output.shape == Shape::Table)
                .then(|| present::Tables::of(call))
                .transpose()?,
            columns_sent: false,
            resource: call.resource,
            output: call.output,
            apart: websocket::is_wanted(&call.headers),
        })
    }

    pub fn opened(&self) -> Opened {
        match self.is_protobuf() {
            true => Opened {
                content_type: "application/vnd.kubernetes.protobuf;stream=watch",
                is_text: false,
                apart: self.apart,
            },
            false => Opened {
                content_type: "application/json",
                is_text: true,
                apart: self.apart,
            },
        }
    }

    fn is_protobuf(&self) -> bool {
        self.output.format == Format::Protobuf
    }

    /// A version of an object that is in the cache or was.
    pub fn event(&mut self, kind: ChangeKind, object: &Arc<Object>, recent: &Recent, out: &mut Written) {
        self.cached(kind, object, |_| recent.line(object), recent, out);
    }

    /// An object that is there when a watch begins. Few watches begin at the same time.
    pub fn initial(&mut self, object: &Object, recent: &Recent, out: &mut Written) {
        self.cached(ChangeKind::Added, object, Object::line, recent, out);
    }

    fn cached(
        &mut self,
        kind: ChangeKind,
        object: &Object,
        line: impl FnOnce(&Object) -> Bytes,
        recent: &Recent,
        out: &mut Written,
    ) {
        if self.is_protobuf() {
            let bytes = recent.object(self.form, object);
            out.push(self.protobuf(name(kind), bytes));
            return;
        }
        self.json(kind, object, line, out);
    }

    /// The last selected state of an object that is no longer selected, which nobody else sees at this version.
    pub fn departure(&mut self, last: &Object, out: &mut Written) {
        if self.is_protobuf() {
            out.push(self.protobuf(name(ChangeKind::Deleted), self.form.object(last)));
            return;
        }
        self.json(ChangeKind::Deleted, last, Object::line, out);
    }

    fn json(
        &mut self,
        kind: ChangeKind,
        object: &Object,
        line: impl FnOnce(&Object) -> Bytes,
        out: &mut Written,
    ) {
        if self.output.shape == Shape::Object && self.resource.view.is_none() {
            let beginning = match kind {
                ChangeKind::Added => ADDED,
                ChangeKind::Modified => MODIFIED,
                ChangeKind::Deleted => DELETED,
            };
            let frames = object.event(line(object), beginning);
            match self.apart {
                true => out.push(frames.concat().into()),
                false => out.extend(frames.into_iter().filter(|frame| !frame.is_empty())),
            }
            return;
        }
        let value = present::shown(self.resource, object);
        let shaped = match (&self.tables, self.output.shape) {
            (Some(tables), _) => {
                let metadata = at(object.revision);
                let with_columns = !std::mem::replace(&mut self.columns_sent, true);
                tables.table(metadata, vec![tables.row(&value)], with_columns)
            }
            (None, Shape::Metadata) => present::metadata_of(&value, self.output.meta),
            _ => value,
        };
        out.push(self.line(name(kind), &shaped));
    }

    pub fn bookmark(&mut self, revision: u64, initial_end: bool, out: &mut Written) {
        let resource = self.resource;
        let mut object = json!({
            "kind": resource.kind,
            "apiVersion": resource.api_version(),
            "metadata": {"resourceVersion": revision.to_string()},
        });
        if initial_end {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let shaped = match (&self.tables, self.output.shape) {
            (Some(tables), _) => {
                let with_columns = !std::mem::replace(&mut self.columns_sent, true);
                tables.table(at(revision), vec![tables.bookmark(&object)], with_columns)
            }
            (None, Shape::Metadata) => present::metadata_of(&object, self.output.meta),
            _ => object,
        };
        out.push(self.line("BOOKMARK", &shaped));
    }

    pub fn error(&self, error: &ApiError) -> Bytes {
        self.line("ERROR", &error.to_value())
    }

    fn line(&self, kind: &str, object: &Value) -> Bytes {
        if self.is_protobuf() {
            let bytes = protobuf::encode(object).map_err(ApiError::internal);
            return self.protobuf(kind, bytes.map(Bytes::from));
        }
        let mut line = format!(r#"{{"type":"{kind}","object":"#).into_bytes();
        line.extend_from_slice(&encode::object(object));
        line.extend_from_slice(b"}\n");
        line.into()
    }

    /// An event around an object in its envelope. What cannot be encoded is told, so that nobody waits for it.
    fn protobuf(&self, kind: &str, object: Result<Bytes, ApiError>) -> Bytes {
        match object {
            Ok(object) => protobuf::event_frame(kind, &object).into(),
            Err(error) => {
                tracing::error!(%error, "an event has no protobuf form");
                let status = protobuf::encode(&error.to_value()).unwrap_or_default();
                protobuf::event_frame("ERROR", &status).into()
            }
        }
    }
}

fn name(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "ADDED",
        ChangeKind::Modified => "MODIFIED",
        ChangeKind::Deleted => "DELETED",
    }
}

fn at(revision: u64) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".into(), json!(revision.to_string()));
    metadata
}
