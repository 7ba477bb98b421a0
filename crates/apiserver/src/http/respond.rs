//! From what a verb answers to an HTTP response, in the form that was asked for.
use super::Body;
use crate::cache::Object;
use crate::encode;
use crate::request::{Format, Output};
use crate::status::ApiError;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use orlop_api::wire;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// What a verb produced.
pub enum Answer {
    /// One object, still in its shared buffer.
    Object(StatusCode, Arc<Object>),
    /// A tree, to be written as the output asks.
    Value(StatusCode, Value),
    /// Written already.
    Raw(Response<Body>),
}

impl Answer {
    /// Plain text.
    pub fn text(code: StatusCode, text: impl Into<String>) -> Self {
        let body = Body::from(text.into().into_bytes());
        Self::Raw(response(code, "text/plain; charset=utf-8", body))
    }

    /// A document about the server itself.
    pub fn document(content_type: &'static str, value: &Value) -> Self {
        let body = Body::from(value.to_string().into_bytes());
        Self::Raw(response(StatusCode::OK, content_type, body))
    }

    /// What has its own order of fields, as compact JSON.
    pub fn ordered(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        let mut bytes = serde_json::to_vec(value)?;
        bytes.push(b'\n');
        Ok(Self::Raw(response(
            StatusCode::OK,
            "application/json",
            bytes.into(),
        )))
    }

    /// Writes the answer.
    pub fn into_response(self, output: &Output) -> Response<Body> {
        match self {
            Self::Raw(response) => response,
            Self::Object(code, object) if output.is_compact_json() => {
                let frames = [object.json(), Bytes::from_static(b"\n")];
                response(code, "application/json", Body::frames(frames))
            }
            Self::Object(code, object) => write(code, &object.value(), output),
            Self::Value(code, value) => write(code, &value, output),
        }
    }
}

fn write(code: StatusCode, value: &Value, output: &Output) -> Response<Body> {
    let bytes = match output.format {
        Format::Yaml => wire::to_yaml(value).into_bytes(),
        Format::Protobuf => match wire::protobuf::encode(value) {
            Ok(bytes) => bytes,
            Err(error) => {
                // Clients decode by Content-Type.
                tracing::warn!(%error, kind = %value["kind"], "an answer has no protobuf form");
                let output = Output {
                    format: Format::Json,
                    ..*output
                };
                return write(code, value, &output);
            }
        },
        Format::Json => {
            let mut bytes = match output.pretty {
                true => wire::json::encode_pretty(value),
                false => encode::object(value),
            };
            bytes.push(b'\n');
            bytes
        }
    };
    response(code, output.content_type(), bytes.into())
}

/// A response with the headers of an API call.
pub fn response(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An error as the client wants it: a `Status`, or plain text for paths the server does not know.
pub fn error_response(error: &ApiError, output: &Output) -> Response<Body> {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match error.plain {
        true => Answer::text(code, error.message.clone()).into_response(output),
        false => Answer::Value(code, error.to_value()).into_response(output),
    };
    if let Some(seconds) = error.retry_after {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// `Warning: 299 - "text"` (RFC 7234).
pub fn add_warning(response: &mut Response<Body>, text: &str) {
    let quoted: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c => vec![c],
        })
        .collect();
    if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
        response
            .headers_mut()
            .append(HeaderName::from_static("warning"), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// V01: the exact header clients parse.
    #[test]
    fn warnings_are_quoted() {
        let mut response = response(StatusCode::OK, "application/json", Body::Empty);
        add_warning(&mut response, "unknown field \"spec.bogus\"");
        assert_eq!(
            response.headers()["warning"],
            r#"299 - "unknown field \"spec.bogus\"""#
        );
    }
}
