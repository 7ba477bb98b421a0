//! The API as a tower service inside the process: the same pipeline, without a socket.
use super::Body;
use super::pipeline::{Caller, collect, handle};
use crate::ApiServer;
use crate::authn::UserInfo;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Calls the server as one user. Cheap to clone; wrap it with `kube::Client::new`.
#[derive(Clone)]
pub struct InProcess {
    server: Arc<ApiServer>,
    user: Arc<UserInfo>,
}

impl InProcess {
    pub(crate) fn new(server: Arc<ApiServer>, user: UserInfo) -> Self {
        Self {
            server,
            user: Arc::new(user),
        }
    }
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let server = self.server.clone();
        let caller = Caller {
            user: self.user.clone(),
        };
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = collect(body).await;
            Ok(handle(server, caller, parts, body).await)
        })
    }
}
