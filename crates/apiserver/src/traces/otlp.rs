//! Spans in the protobuf of OTLP (`opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`): the few fields
//! that are used of it.
use crate::discovery::GIT_VERSION;
use std::time::{SystemTime, UNIX_EPOCH};

/// Wire types of protobuf.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
/// `SPAN_KIND_SERVER`.
const SERVER: u64 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;
/// Upstream's name of the service.
const SERVICE: &str = "apiserver";

/// A request that was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub trace: [u8; 16],
    pub id: [u8; 8],
    pub parent: Option<[u8; 8]>,
    pub name: String,
    pub began: SystemTime,
    pub ended: SystemTime,
    /// Status code of the answer.
    pub code: u16,
    pub attributes: Vec<(&'static str, String)>,
}

/// The request to take these spans.
pub fn export(spans: &[Span]) -> Vec<u8> {
    let resource = [
        field(1, &text_attribute("service.name", SERVICE)),
        field(1, &text_attribute("service.version", GIT_VERSION)),
    ]
    .concat();
    let mut scope = field(1, &field(1, b"orlop"));
    for span in spans {
        scope.extend(field(2, &message(span)));
    }
    field(1, &[field(1, &resource), field(2, &scope)].concat())
}

fn message(span: &Span) -> Vec<u8> {
    let mut out = field(1, &span.trace);
    out.extend(field(2, &span.id));
    if let Some(parent) = &span.parent {
        out.extend(field(4, parent));
    }
    out.extend(field(5, span.name.as_bytes()));
    number(&mut out, 6, SERVER);
    time(&mut out, 7, span.began);
    time(&mut out, 8, span.ended);
    for (key, value) in &span.attributes {
        out.extend(field(9, &text_attribute(key, value)));
    }
    let mut code = Vec::new();
    number(&mut code, 3, u64::from(span.code));
    out.extend(field(9, &attribute("http.response.status_code", &code)));
    if span.code >= 500 {
        let mut status = Vec::new();
        number(&mut status, 3, ERROR);
        out.extend(field(15, &status));
    }
    out
}

fn text_attribute(key: &str, value: &str) -> Vec<u8> {
    attribute(key, &field(1, value.as_bytes()))
}

fn attribute(key: &str, value: &[u8]) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, value)].concat()
}

fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 4);
    varint(&mut out, number << 3 | BYTES);
    varint(&mut out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out
}

fn number(out: &mut Vec<u8>, number: u64, value: u64) {
    varint(out, number << 3 | VARINT);
    varint(out, value);
}

fn time(out: &mut Vec<u8>, number: u64, at: SystemTime) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanoseconds = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    varint(out, number << 3 | FIXED64);
    out.extend_from_slice(&nanoseconds.to_le_bytes());
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Byte for byte what the definition of the format makes of it.
    #[test]
    fn a_span_is_written_as_the_format_has_it() {
        let at = UNIX_EPOCH + Duration::from_nanos(0x0102);
        let span = Span {
            trace: [7; 16],
            id: [8; 8],
            parent: Some([9; 8]),
            name: "n".to_owned(),
            began: at,
            ended: at,
            code: 503,
            attributes: vec![("k", "v".to_owned())],
        };
        let mut expected = vec![0x0a, 16];
        expected.extend([7; 16]);
        expected.extend([0x12, 8]);
        expected.extend([8; 8]);
        expected.extend([0x22, 8]);
        expected.extend([9; 8]);
        expected.extend([0x2a, 1, b'n', 0x30, 2]);
        expected.extend([0x39, 2, 1, 0, 0, 0, 0, 0, 0]);
        expected.extend([0x41, 2, 1, 0, 0, 0, 0, 0, 0]);
        expected.extend([0x4a, 8, 0x0a, 1, b'k', 0x12, 3, 0x0a, 1, b'v']);
        expected.extend([0x4a, 32, 0x0a, 25]);
        expected.extend(b"http.response.status_code");
        expected.extend([0x12, 3, 0x18, 0xf7, 3]);
        expected.extend([0x7a, 2, 0x18, 2]);
        assert_eq!(message(&span), expected);
        let whole = export(&[span]);
        assert!(whole.windows(9).any(|w| w == b"apiserver"));
        assert!(whole.windows(expected.len()).any(|w| w == expected));
    }
}
