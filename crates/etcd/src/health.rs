//! gRPC's own health service: a member that answers is well.
use crate::unary::{self, Answer};
use futures::StreamExt;
use http::Response;
use prost::Message;
use tonic::Status;

pub const SERVICE: &str = "/grpc.health.v1.Health/";
/// `SERVING`.
const SERVING: i32 = 1;
/// Longer than any service's name, in bytes.
const REQUEST_BYTES_MAX: usize = 4096;

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Answers a call by the method's name.
pub async fn answer<B>(method: &str, request: http::Request<B>) -> Response<Answer>
where
    B: hyper::body::Body<Data = bytes::Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let watches = match method {
        "Check" => false,
        "Watch" => true,
        _ => {
            let text = format!("unknown method {method} for service grpc.health.v1.Health");
            return Status::unimplemented(text).into_http().map(Answer::other);
        }
    };
    let asked: HealthCheckRequest = match unary::message(request, REQUEST_BYTES_MAX).await {
        Ok(asked) => asked,
        Err(status) => return status.into_http().map(Answer::other),
    };
    if !asked.service.is_empty() {
        return Status::not_found("unknown service")
            .into_http()
            .map(Answer::other);
    }
    let serving = unary::encoded(HealthCheckResponse { status: SERVING });
    if !watches {
        return unary::response(serving);
    }
    // Nothing else is to be told until the connection ends.
    unary::stream(futures::stream::once(async { Ok(serving) }).chain(futures::stream::pending()))
}
