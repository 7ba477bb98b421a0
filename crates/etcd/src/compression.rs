//! How the messages of a call are compressed, if they are.
use crate::errors;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderValue};
use std::io::Read;
use tonic::Status;

const ENCODING: &str = "grpc-encoding";

/// What a client may do to its messages. Each says for itself whether it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
}

impl Compression {
    /// By what stands in front of a call.
    pub fn of(headers: &HeaderMap) -> Result<Self, Status> {
        match headers.get(ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Ok(Self::None),
            Some(b"gzip") => Ok(Self::Gzip),
            Some(other) => Err(errors::unknown_compression(&String::from_utf8_lossy(other))),
        }
    }

    /// A message that says that it is compressed, as it was before; it may come to so many bytes.
    pub fn undo(self, message: &[u8], bytes_max: usize) -> Result<Bytes, Status> {
        let mut whole = Vec::new();
        let read = match self {
            Self::None => return Err(errors::compressed_by_nothing()),
            // One byte more tells what is too large, however much it would come to.
            Self::Gzip => MultiGzDecoder::new(message)
                .take(bytes_max as u64 + 1)
                .read_to_end(&mut whole),
        };
        match read {
            Err(error) => Err(errors::not_decompressed(&error)),
            Ok(_) if whole.len() > bytes_max => Err(errors::decompressed_too_large(bytes_max)),
            Ok(_) => Ok(whole.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Services;
    use crate::{Face, Member};
    use etcd_client::proto::{PbMemberListRequest, PbPutRequest, PbRangeRequest};
    use flate2::write::GzEncoder;
    use http::Request;
    use http_body_util::{BodyExt, Full};
    use orlop_store::embedded::EmbeddedStore;
    use prost::Message;
    use std::io::Write;
    use tonic::Code;

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// As it goes over the wire.
    fn framed(message: &[u8]) -> Vec<u8> {
        let length = (message.len() as u32).to_be_bytes();
        [&[1], length.as_slice(), message].concat()
    }

    /// How a call ends whose message says that it is compressed.
    async fn called(services: &Services, path: &str, encoding: &str, message: &[u8]) -> (Code, String) {
        let request = Request::builder()
            .method("POST")
            .uri(path)
            .header("content-type", "application/grpc")
            .header(ENCODING, encoding)
            .body(Full::new(Bytes::from(framed(message))))
            .unwrap();
        let (head, body) = services.answer(request).await.into_parts();
        let status = match Status::from_header_map(&head.headers) {
            Some(status) => status,
            None => {
                let body = body.collect().await.unwrap();
                Status::from_header_map(body.trailers().unwrap()).unwrap()
            }
        };
        (status.code(), status.message().to_owned())
    }

    fn services() -> Services {
        let store = EmbeddedStore::in_memory().unwrap();
        Services::new(Face::new(store, Member::named("m")).with_request_limit(100))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn compressed_calls_are_answered_as_others_are() {
        let services = services();
        let put = PbPutRequest {
            key: b"k".to_vec(),
            value: vec![7; 90],
            ..PbPutRequest::default()
        };
        let range = PbRangeRequest {
            key: b"k".to_vec(),
            ..PbRangeRequest::default()
        };
        for (path, message) in [
            ("/etcdserverpb.KV/Put", put.encode_to_vec()),
            ("/etcdserverpb.KV/Range", range.encode_to_vec()),
            (
                "/etcdserverpb.Cluster/MemberList",
                PbMemberListRequest::default().encode_to_vec(),
            ),
            // A lock's name is its first field, as here the key.
            ("/v3lockpb.Lock/Lock", range.encode_to_vec()),
            ("/grpc.health.v1.Health/Check", Vec::new()),
        ] {
            let (code, text) = called(&services, path, "gzip", &gzipped(&message)).await;
            assert_eq!((code, text.as_str()), (Code::Ok, ""), "{path}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_undone_is_refused_with_the_reason() {
        let services = services();
        let huge = gzipped(&vec![0; 64 << 20]);
        let bytes_max = (1 << 19) + 100;
        let too_large = format!("grpc: received message after decompression larger than max {bytes_max}");
        let cases: [(&str, &[u8], Code, &str); 4] = [
            ("gzip", &huge, Code::ResourceExhausted, &too_large),
            (
                "gzip",
                b"no gzip",
                Code::Internal,
                "grpc: failed to decompress the received message: ",
            ),
            (
                "identity",
                &[],
                Code::Internal,
                "grpc: compressed flag set with identity or empty encoding",
            ),
            (
                "snappy",
                &[],
                Code::Unimplemented,
                "grpc: Decompressor is not installed for grpc-encoding \"snappy\"",
            ),
        ];
        for (encoding, message, code, text) in cases {
            let (found, told) = called(&services, "/etcdserverpb.KV/Put", encoding, message).await;
            assert_eq!(found, code, "{encoding}: {told}");
            assert!(told.starts_with(text), "{encoding}: {told}");
        }
    }
}
