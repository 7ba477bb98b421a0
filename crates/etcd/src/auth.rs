//! The Auth service: authentication of etcd's own kind is off and stays off; certificates are checked
//! by the listener.
use bytes::{BufMut, Bytes, BytesMut};
use etcd_client::proto::PbResponseHeader;
use http_body_util::Full;
use prost::Message;
use tonic::{Code, Status};

/// `AuthStatusResponse`, for which the client crate has no public name.
#[derive(Clone, PartialEq, Message)]
struct AuthStatus {
    #[prost(message, optional, tag = "1")]
    header: Option<PbResponseHeader>,
    #[prost(bool, tag = "2")]
    enabled: bool,
    #[prost(uint64, tag = "3")]
    auth_revision: u64,
}

/// Answers a call of the service by the method's name.
pub fn answer(method: &str, header: PbResponseHeader) -> http::Response<tonic::body::Body> {
    match method {
        "AuthStatus" => unary(&AuthStatus {
            header: Some(header),
            enabled: false,
            auth_revision: 1,
        }),
        // Nobody and nothing: of the lists' messages only the header is filled.
        "UserList" | "RoleList" => unary(&AuthStatus {
            header: Some(header),
            ..AuthStatus::default()
        }),
        "AuthEnable" => {
            Status::new(Code::FailedPrecondition, "etcdserver: root user does not exist").into_http()
        }
        "Authenticate" => Status::new(
            Code::FailedPrecondition,
            "etcdserver: authentication is not enabled",
        )
        .into_http(),
        _ => Status::unimplemented("users and roles are not served; access is by client certificate")
            .into_http(),
    }
}

/// A gRPC answer of one message: its frame, and the status in the trailers.
fn unary(message: &impl Message) -> http::Response<tonic::body::Body> {
    use http_body_util::BodyExt;
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    frame.put_slice(&message.encode_to_vec());
    let trailers = async {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        Some(Ok(trailers))
    };
    let body = Full::<Bytes>::new(frame.freeze()).with_trailers(trailers);
    let mut response = http::Response::new(tonic::body::Body::new(body));
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/grpc"),
    );
    response
}
