//! Objects in the shape the client asked for: whole, as a table row, or metadata only (contract §11).
use super::protobuf::Form;
use crate::cache::Object;
use crate::custom::{self, Definition};
use crate::http::{Answer, Body, Call, response};
use crate::request::{Format, Shape};
use crate::resources::Resource;
use crate::status::{ApiError, cause};
use http::StatusCode;
use jiff::Timestamp;
use orlop_api::table::{self, TableSpec};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// An object of the request's resource.
pub async fn object(call: &Call, code: StatusCode, object: Arc<Object>) -> Result<Answer, ApiError> {
    let object = custom::one_in_form(&call.server, call.resource, object).await?;
    if call.output.shape == Shape::Object && call.resource.view.is_none() {
        if call.output.format == Format::Protobuf {
            let bytes = Form::of(call.resource, &call.output).object(&object)?;
            return Ok(Answer::Raw(response(
                code,
                call.output.content_type(),
                Body::frames([bytes]),
            )));
        }
        return Ok(Answer::Object(code, object));
    }
    value(call, code, shown(call.resource, &object))
}

/// A tree of the request's resource that is not (or not as such) in the cache.
pub fn value(call: &Call, code: StatusCode, object: Value) -> Result<Answer, ApiError> {
    shaped(call, code, object, Tables::of)
}

/// A Scale of an object of the request's resource.
pub fn scale(call: &Call, scale: Value) -> Result<Answer, ApiError> {
    shaped(call, StatusCode::OK, scale, Tables::of_scale)
}

fn shaped(
    call: &Call,
    code: StatusCode,
    object: Value,
    tables: fn(&Call) -> Result<Tables, ApiError>,
) -> Result<Answer, ApiError> {
    let shaped = match call.output.shape {
        Shape::Object => object,
        Shape::Metadata => metadata_of(&object, call.output.meta),
        Shape::MetadataList => {
            return Err(ApiError::not_acceptable(format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
                call.resource.kind
            )));
        }
        Shape::Table => {
            let tables = tables(call)?;
            let version = object["metadata"]["resourceVersion"].clone();
            let mut metadata = Map::new();
            if version.is_string() {
                metadata.insert("resourceVersion".into(), version);
            }
            tables.table(metadata, vec![tables.row(&object)], true)
        }
    };
    Ok(Answer::Value(code, shaped))
}

/// A list of trees that are not in the cache, without a version.
pub fn list(call: &Call, items: Vec<Value>) -> Result<Answer, ApiError> {
    let (kind, api_version, items) = match call.output.shape {
        Shape::Table => {
            let tables = Tables::of(call)?;
            let rows = items.iter().map(|item| tables.row(item)).collect();
            return Ok(Answer::Value(
                StatusCode::OK,
                tables.table(Map::new(), rows, true),
            ));
        }
        Shape::MetadataList => (
            "PartialObjectMetadataList".to_owned(),
            call.output.meta.to_owned(),
            items
                .iter()
                .map(|item| metadata_of(item, call.output.meta))
                .collect(),
        ),
        _ => (call.resource.list_kind(), call.resource.api_version(), items),
    };
    let list = json!({"kind": kind, "apiVersion": api_version, "metadata": {}, "items": items});
    Ok(Answer::Value(StatusCode::OK, list))
}

/// A cached object as its resource shows it.
pub fn shown(resource: &Resource, object: &Object) -> Value {
    let mut value = object.value();
    resource.show(&mut value);
    value
}

/// `PartialObjectMetadata` of an object, in the version `meta`.
pub fn metadata_of(object: &Value, meta: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": meta,
        "metadata": object["metadata"],
    })
}

/// What a row carries beside its cells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Include {
    None,
    Metadata,
    Object,
}

/// The columns of a table.
enum Spec {
    BuiltIn(&'static TableSpec),
    Custom(Arc<Definition>),
}

impl Spec {
    fn column_definitions(&self) -> Value {
        match self {
            Self::BuiltIn(spec) => spec.column_definitions(),
            Self::Custom(definition) => definition.columns.definitions(),
        }
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        match self {
            Self::BuiltIn(spec) => spec.row(object, now),
            Self::Custom(definition) => definition.columns.row(object, now),
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Value {
        match self {
            Self::BuiltIn(spec) => spec.row_value(object, now),
            Self::Custom(_) => json!({"cells": self.cells(object, now)}),
        }
    }
}

/// Tables of one request.
pub struct Tables {
    spec: Spec,
    include: Include,
    now: Timestamp,
    meta: &'static str,
}

impl Tables {
    pub fn of(call: &Call) -> Result<Self, ApiError> {
        let spec = match call.resource.custom {
            Some(custom) => Spec::Custom(custom.definition()),
            None => Spec::BuiltIn(
                table::table_for(call.resource.kind, call.resource.group)
                    .unwrap_or_else(table::default_table),
            ),
        };
        Self::with(call, spec)
    }

    fn of_scale(call: &Call) -> Result<Self, ApiError> {
        let spec = table::table_for("Scale", "autoscaling").unwrap_or_else(table::default_table);
        Self::with(call, Spec::BuiltIn(spec))
    }

    fn with(call: &Call, spec: Spec) -> Result<Self, ApiError> {
        let include = match call.query.get("includeObject") {
            None | Some("Metadata") => Include::Metadata,
            Some("Object") => Include::Object,
            Some("None") => Include::None,
            Some(other) => {
                let why = cause::invalid(
                    "includeObject",
                    &json!(other),
                    "must be 'Metadata', 'Object', 'None', or empty",
                );
                return Err(ApiError::bad_request(format!(
                    "Unable to convert to Table as requested: {}: {}",
                    why.field, why.message
                )));
            }
        };
        Ok(Self {
            spec,
            include,
            now: Timestamp::now(),
            meta: call.output.meta,
        })
    }

    /// A whole table; `with_columns` is false for all but the first event of a watch.
    pub fn table(&self, metadata: Map<String, Value>, rows: Vec<Value>, with_columns: bool) -> Value {
        let columns = if with_columns {
            self.spec.column_definitions()
        } else {
            Value::Null
        };
        json!({
            "kind": "Table",
            "apiVersion": self.meta,
            "metadata": metadata,
            "columnDefinitions": columns,
            "rows": rows,
        })
    }

    pub fn row(&self, object: &Value) -> Value {
        let mut row = self.spec.row(object, self.now);
        row["object"] = match self.include {
            Include::None => Value::Null,
            Include::Metadata => metadata_of(object, self.meta),
            Include::Object => object.clone(),
        };
        row
    }

    /// The row of a bookmark: nothing but a version.
    pub fn bookmark(&self, object: &Value) -> Value {
        json!({"cells": self.spec.cells(object, self.now), "object": metadata_of(object, self.meta)})
    }
}
