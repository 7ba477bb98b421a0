//! Locks and elections as services, for clients that have no library for them: in both, who wants something puts a
//! key of its own under a common prefix, and it is the turn of the oldest ([`queue`]).
mod election;
mod lock;
mod queue;
mod session;

use crate::unary::{self, Answer};
use crate::{Face, errors};
use bytes::Bytes;
use http::{Request, Response};
use tonic::Status;

/// No request is larger, in bytes.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Whether a path is one of these services'.
pub fn serves(path: &str) -> bool {
    path.starts_with("/v3lockpb.Lock/") || path.starts_with("/v3electionpb.Election/")
}

/// Answers a call of one of the services.
pub async fn answer<B>(face: &Face, request: Request<B>) -> Response<Answer>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    macro_rules! call {
        ($service:ident::$method:ident) => {
            unary::call(request, REQUEST_BYTES_MAX, |asked| async move {
                $service::$method(face, asked).await.map(unary::encoded)
            })
            .await
        };
    }
    match request.uri().path() {
        "/v3lockpb.Lock/Lock" => call!(lock::lock),
        "/v3lockpb.Lock/Unlock" => call!(lock::unlock),
        "/v3electionpb.Election/Campaign" => call!(election::campaign),
        "/v3electionpb.Election/Proclaim" => call!(election::proclaim),
        "/v3electionpb.Election/Leader" => call!(election::leader),
        "/v3electionpb.Election/Resign" => call!(election::resign),
        "/v3electionpb.Election/Observe" => match unary::message(request, REQUEST_BYTES_MAX).await {
            Ok(asked) => unary::stream(election::observe(face.clone(), asked)),
            Err(status) => status.into_http().map(Answer::other),
        },
        path => Status::unimplemented(format!("unknown method {path}"))
            .into_http()
            .map(Answer::other),
    }
}
