//! What form of answer the client wants (contract §2.2, §11).
use super::Query;
use crate::status::ApiError;
use http::HeaderMap;
use http::header::{ACCEPT, USER_AGENT};

/// The usual apiVersion of tables and of metadata alone, and the one before it.
const META: &str = "meta.k8s.io/v1";
const META_BEFORE: &str = "meta.k8s.io/v1beta1";

/// The shape of the object in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Object,
    Table,
    /// `PartialObjectMetadata`: metadata only, of one object.
    Metadata,
    MetadataList,
}

/// The format of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
    Protobuf,
}

/// How to write the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    pub shape: Shape,
    pub format: Format,
    /// Indented, where the format is JSON.
    pub pretty: bool,
    /// The apiVersion of tables and of metadata alone.
    pub meta: &'static str,
}

/// The forms in which an answer exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Objects of built-in kinds: every form.
    BuiltIn,
    /// Custom objects have no protobuf form; their metadata does.
    Custom,
    /// The changes of built-in kinds: what can be cut into events.
    BuiltInWatch,
    CustomWatch,
    /// A list as a stream: events of whole objects or of their metadata, never rows of a table.
    BuiltInWatchList,
    CustomWatchList,
}

impl Offer {
    /// The same without a watch.
    fn at_once(self) -> Self {
        match self {
            Self::BuiltIn | Self::BuiltInWatch | Self::BuiltInWatchList => Self::BuiltIn,
            Self::Custom | Self::CustomWatch | Self::CustomWatchList => Self::Custom,
        }
    }

    fn has(self, format: Format, shape: Shape) -> bool {
        if shape == Shape::Table && matches!(self, Self::BuiltInWatchList | Self::CustomWatchList) {
            return false;
        }
        match format {
            Format::Json => true,
            Format::Yaml => matches!(self, Self::BuiltIn | Self::Custom),
            // A table is JSON and nothing else.
            Format::Protobuf => match shape {
                Shape::Table => false,
                Shape::Object => matches!(self, Self::BuiltIn | Self::BuiltInWatch | Self::BuiltInWatchList),
                Shape::Metadata | Shape::MetadataList => true,
            },
        }
    }
}

impl Output {
    pub const JSON: Self = Self {
        shape: Shape::Object,
        format: Format::Json,
        pretty: false,
        meta: META,
    };

    pub const PROTOBUF: Self = Self {
        format: Format::Protobuf,
        ..Self::JSON
    };

    pub fn content_type(&self) -> &'static str {
        match self.format {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
            Format::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// Whether cached bytes are the answer.
    pub fn is_compact_json(&self) -> bool {
        self.format == Format::Json && !self.pretty
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
    // Stable: equal wishes keep the client's order, but what is named comes before what anything may be.
    ranges.sort_by(|a, b| {
        let stars = |r: &MediaRange<'_>| r.media.matches('*').count();
        b.quality.total_cmp(&a.quality).then(stars(a).cmp(&stars(b)))
    });
    ranges
}

/// Chooses the form of the answer among those on offer.
pub fn negotiate(headers: &HeaderMap, query: &Query, offer: Offer) -> Result<Output, ApiError> {
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
    let wanted: Vec<(&MediaRange<'_>, Format, Shape)> = ranges
        .iter()
        .filter(|range| range.quality > 0.0)
        .filter_map(|range| form(range).map(|(format, shape)| (range, format, shape)))
        .collect();
    let has = |offer: Offer| {
        wanted
            .iter()
            .find(move |(_, format, shape)| offer.has(*format, *shape))
    };
    if let Some((range, format, shape)) = has(offer) {
        return Ok(Output {
            shape: *shape,
            format: *format,
            pretty,
            meta: match range.parameter("v") {
                Some("v1beta1") => META_BEFORE,
                _ => META,
            },
        });
    }
    // Who would be refused without a watch as well is told what there is without one.
    Err(match offer.at_once() == offer || has(offer.at_once()).is_none() {
        true => ApiError::nothing_acceptable(),
        false => ApiError::no_such_stream(),
    })
}

/// The format and shape that a range names, if there are such.
fn form(range: &MediaRange<'_>) -> Option<(Format, Shape)> {
    let format = match range.media {
        "application/json" | "*/*" | "application/*" => Format::Json,
        "application/yaml" => Format::Yaml,
        "application/vnd.kubernetes.protobuf" => Format::Protobuf,
        _ => return None,
    };
    let meta = range.parameter("g") == Some("meta.k8s.io");
    let known_version = matches!(range.parameter("v"), Some("v1" | "v1beta1"));
    let shape = match range.parameter("as") {
        // A group or version without a kind names no form that there is.
        None if range.parameter("g").is_some() || range.parameter("v").is_some() => return None,
        None => Shape::Object,
        Some("Table") if meta && known_version => Shape::Table,
        Some("PartialObjectMetadata") if meta && known_version => Shape::Metadata,
        Some("PartialObjectMetadataList") if meta && known_version => Shape::MetadataList,
        Some(_) => return None,
    };
    Some((format, shape))
}

/// The form of a refusal: what the client would like, or else JSON.
pub fn negotiate_refusal(headers: &HeaderMap, query: &Query) -> Output {
    let output = negotiate(headers, query, Offer::BuiltIn).unwrap_or(Output::JSON);
    Output {
        shape: Shape::Object,
        ..output
    }
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
        negotiate(&headers, &Query::default(), Offer::BuiltIn)
    }

    #[test]
    fn kubectl_get_wants_a_table() {
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(ask(accept).unwrap().shape, Shape::Table);
        let before = "application/json;as=Table;v=v1beta1;g=meta.k8s.io";
        assert_eq!(ask(before).unwrap().meta, "meta.k8s.io/v1beta1");
    }

    /// T05, T08, T10
    #[test]
    fn formats_are_chosen_by_accept() {
        for (accept, format) in [
            ("application/yaml", Format::Yaml),
            ("application/json;q=0.5,application/yaml", Format::Yaml),
            ("*/*,application/yaml", Format::Yaml),
            ("*/*", Format::Json),
            ("application/*", Format::Json),
            ("text/html,application/json;q=0.9,*/*;q=0.8", Format::Json),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Format::Protobuf,
            ),
            (
                "application/json,application/vnd.kubernetes.protobuf",
                Format::Json,
            ),
            ("application/vnd.kubernetes.protobuf;q=0,*/*", Format::Json),
        ] {
            assert_eq!(ask(accept).unwrap().format, format, "{accept}");
        }
        for nothing in [
            "text/plain",
            "application/cbor",
            "application/yaml;q=0",
            "application/json;g=meta.k8s.io;v=v1",
        ] {
            assert_eq!(ask(nothing).unwrap_err().code, 406, "{nothing}");
        }
        assert_eq!(
            ask("application/json;as=Bogus;g=meta.k8s.io;v=v1")
                .unwrap_err()
                .code,
            406
        );
    }

    #[test]
    fn what_has_no_protobuf_form_is_answered_in_the_next_the_client_takes() {
        let protobuf = "application/vnd.kubernetes.protobuf";
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        let ask = |accept: &str, offer| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            negotiate(&headers, &Query::default(), offer)
        };
        let either = format!("{protobuf},application/json");
        assert_eq!(ask(&either, Offer::Custom).unwrap(), Output::JSON);
        assert_eq!(ask(protobuf, Offer::Custom).unwrap_err().code, 406);
        assert_eq!(ask(protobuf, Offer::CustomWatch).unwrap_err().code, 406);
        for offer in [Offer::Custom, Offer::CustomWatch] {
            assert_eq!(ask(metadata, offer).unwrap().format, Format::Protobuf);
        }
        let table = format!("{protobuf};as=Table;v=v1;g=meta.k8s.io");
        assert_eq!(ask(&table, Offer::BuiltIn).unwrap_err().code, 406);
        let table = format!("{table},application/json;as=Table;v=v1;g=meta.k8s.io");
        assert_eq!(ask(&table, Offer::BuiltIn).unwrap().format, Format::Json);
        assert_eq!(
            ask("application/yaml", Offer::BuiltInWatch).unwrap_err().code,
            406
        );
        let told = |accept: &str, offer| ask(accept, offer).unwrap_err().message;
        assert!(told("application/yaml", Offer::BuiltInWatch).contains("stream=watch"));
        // A table is no protobuf, watched or not.
        let table = format!("{protobuf};as=Table;v=v1;g=meta.k8s.io");
        assert!(!told(&table, Offer::BuiltInWatch).contains("stream=watch"));
        let stream = "application/vnd.kubernetes.protobuf;stream=watch";
        assert_eq!(ask(stream, Offer::BuiltInWatch).unwrap().format, Format::Protobuf);
    }
}
