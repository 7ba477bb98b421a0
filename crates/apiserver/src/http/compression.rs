//! Answers compressed for clients that take it: large ones only, and piece by piece as they are sent, so that a
//! compressed list takes no more memory than a plain one (contract §2).
use super::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, VARY};
use http::{HeaderMap, Response};
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Smaller answers go as they are.
const COMPRESSED_BYTES_MIN: u64 = 128 * 1024;
/// Bytes that are compressed between two looks at the result.
const STEP_BYTES: usize = 32 * 1024;
/// Compressed bytes that make a frame.
const FRAME_BYTES: usize = 16 * 1024;
/// Little time for most of the gain.
const LEVEL: u32 = 1;

/// Compresses the answer if the client takes it and its size is worth it.
pub fn compress(takes_gzip: bool, response: Response<Body>) -> Response<Body> {
    let large = response.body().bytes().is_some_and(|n| n >= COMPRESSED_BYTES_MIN);
    if !large || !takes_gzip || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts
        .headers
        .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts
        .headers
        .append(VARY, HeaderValue::from_static("Accept-Encoding"));
    Response::from_parts(parts, Body::Gzip(Box::new(GzipBody::new(body))))
}

/// Whether `Accept-Encoding` names gzip without refusing it.
pub fn accepts_gzip(request: &HeaderMap) -> bool {
    request
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = parameters
                .trim()
                .strip_prefix("q=")
                .is_some_and(|q| q.parse() == Ok(0.0));
            name.trim() == "gzip" && !refused
        })
}

/// A body that is compressed while it is sent.
pub struct GzipBody {
    plain: Body,
    /// Of the plain body, taken but not yet compressed.
    rest: Bytes,
    /// `None` when all is compressed.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl GzipBody {
    fn new(plain: Body) -> Self {
        Self {
            plain,
            rest: Bytes::new(),
            encoder: Some(GzEncoder::new(Vec::new(), Compression::new(LEVEL))),
        }
    }

    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        while let Some(encoder) = &mut self.encoder {
            if encoder.get_ref().len() >= FRAME_BYTES {
                let frame = std::mem::take(encoder.get_mut());
                return Poll::Ready(Some(Ok(frame.into())));
            }
            if !self.rest.is_empty() {
                let step = self.rest.split_to(self.rest.len().min(STEP_BYTES));
                encoder.write_all(&step)?;
                continue;
            }
            match ready!(http_body::Body::poll_frame(Pin::new(&mut self.plain), cx)) {
                Some(frame) => self.rest = frame?.into_data().unwrap_or_default(),
                None => {
                    let last = self.encoder.take().map(GzEncoder::finish);
                    return Poll::Ready(last.map(|bytes| bytes.map(Bytes::from)));
                }
            }
        }
        Poll::Ready(None)
    }

    pub fn is_done(&self) -> bool {
        self.encoder.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use http_body_util::BodyExt;
    use std::io::Read;

    fn asking(value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn gzip_is_taken_unless_it_is_refused() {
        assert!(accepts_gzip(&asking("gzip")));
        assert!(accepts_gzip(&asking("deflate, gzip;q=1.0, *;q=0.5")));
        assert!(!accepts_gzip(&asking("gzip;q=0")));
        assert!(!accepts_gzip(&asking("identity")));
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn what_is_compressed_comes_back_whole() {
        let plain: Vec<u8> = (0..400_000u32)
            .flat_map(|n| (n % 251).to_string().into_bytes())
            .collect();
        let body = Body::frames([
            Bytes::from(plain[..300_000].to_vec()),
            Bytes::from(plain[300_000..].to_vec()),
        ]);
        let answer = compress(true, Response::new(body));
        assert_eq!(answer.headers()[CONTENT_ENCODING], "gzip");
        let packed = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(packed.len() < plain.len() / 2, "{}", packed.len());
        let mut back = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, plain);
    }
}
