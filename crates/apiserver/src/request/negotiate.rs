//! What form of answer the client wants (contract §2.2, §11).
use super::Query;
use crate::status::ApiError;
use http::HeaderMap;
use http::header::{ACCEPT, USER_AGENT};

/// The shape of the object in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Object,
    Table,
    /// `PartialObjectMetadata`: metadata only, of one object.
    Metadata,
    MetadataList,
}

/// How to write the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    pub shape: Shape,
    pub yaml: bool,
    pub pretty: bool,
}

impl Output {
    pub const JSON: Self = Self {
        shape: Shape::Object,
        yaml: false,
        pretty: false,
    };

    pub fn content_type(&self) -> &'static str {
        if self.yaml {
            "application/yaml"
        } else {
            "application/json"
        }
    }
}

/// One range of an `Accept` header.
#[derive(Debug)]
pub(crate) struct MediaRange<'h> {
    pub media: &'h str,
    pub quality: f32,
    parameters: Vec<(&'h str, &'h str)>,
}

impl MediaRange<'_> {
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }
}

/// The ranges of `Accept`, most wanted first.
pub(crate) fn accepted(headers: &HeaderMap) -> Vec<MediaRange<'_>> {
    let mut ranges: Vec<MediaRange<'_>> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|h| h.to_str().ok())
        .flat_map(|h| h.split(','))
        .map(str::trim)
        .filter(|r| !r.is_empty())
        .map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let mut quality = 1.0;
            let mut parameters = Vec::new();
            for part in parts {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                if name == "q" {
                    quality = value.parse().unwrap_or(0.0);
                } else {
                    parameters.push((name, value));
                }
            }
            MediaRange {
                media,
                quality,
                parameters,
            }
        })
        .collect();
    // Stable: equal wishes keep the client's order.
    ranges.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    ranges
}

/// Chooses the form of the answer.
pub fn negotiate(headers: &HeaderMap, query: &Query) -> Result<Output, ApiError> {
    let pretty = match query.get("pretty") {
        Some(value) => matches!(value, "true" | "1"),
        None => is_for_reading(headers),
    };
    let ranges = accepted(headers);
    if ranges.is_empty() {
        return Ok(Output {
            pretty,
            ..Output::JSON
        });
    }
    for range in ranges.iter().filter(|r| r.quality > 0.0) {
        let yaml = match range.media {
            "application/json" | "*/*" | "application/*" => false,
            "application/yaml" => true,
            // Every client that asks for protobuf decodes by the answer's Content-Type.
            "application/vnd.kubernetes.protobuf" => false,
            _ => continue,
        };
        let meta = range.parameter("g") == Some("meta.k8s.io");
        let known_version = matches!(range.parameter("v"), Some("v1" | "v1beta1"));
        let shape = match range.parameter("as") {
            None => Shape::Object,
            Some("Table") if meta && known_version => Shape::Table,
            Some("PartialObjectMetadata") if meta && known_version => Shape::Metadata,
            Some("PartialObjectMetadataList") if meta && known_version => Shape::MetadataList,
            Some(_) => continue,
        };
        return Ok(Output { shape, yaml, pretty });
    }
    Err(ApiError::nothing_acceptable())
}

/// Browsers and curl get indented JSON.
fn is_for_reading(headers: &HeaderMap) -> bool {
    let agent = headers
        .get(USER_AGENT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"]
        .iter()
        .any(|p| agent.starts_with(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(accept: &str) -> Result<Output, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        negotiate(&headers, &Query::default())
    }

    #[test]
    fn kubectl_get_wants_a_table() {
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(ask(accept).unwrap().shape, Shape::Table);
    }

    /// T05, T08, T10
    #[test]
    fn formats_are_chosen_by_accept() {
        assert!(ask("application/yaml").unwrap().yaml);
        assert_eq!(
            ask("application/vnd.kubernetes.protobuf,application/json").unwrap(),
            Output::JSON
        );
        assert_eq!(ask("text/plain").unwrap_err().code, 406);
        assert!(ask("application/json;q=0.5,application/yaml").unwrap().yaml);
        assert_eq!(
            ask("application/json;as=Bogus;g=meta.k8s.io;v=v1")
                .unwrap_err()
                .code,
            406
        );
    }
}
