//! The API as a tower service inside the process: the same pipeline, without a socket.
use super::Body;
use super::pipeline::{Caller, handle};
use super::upload::Upload;
use crate::ApiServer;
use crate::authn::UserInfo;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{HeaderValue, USER_AGENT};
use http::{Request, Response};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Calls the server as one user. Cheap to clone; wrap it with `kube::Client::new`.
#[derive(Clone)]
pub struct InProcess {
    server: Arc<ApiServer>,
    user: Arc<UserInfo>,
    /// What the client calls itself where it says nothing, and so who owns the fields it writes.
    agent: Option<HeaderValue>,
}

impl InProcess {
    pub(crate) fn new(server: Arc<ApiServer>, user: UserInfo) -> Self {
        Self {
            server,
            user: Arc::new(user),
            agent: None,
        }
    }

    /// The same for a client of this name.
    pub fn named(self, agent: &'static str) -> Self {
        Self {
            agent: Some(HeaderValue::from_static(agent)),
            ..self
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
            user: Ok(self.user.clone()),
            source: None,
        };
        let agent = self.agent.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            if let Some(agent) = agent {
                parts.headers.entry(USER_AGENT).or_insert(agent);
            }
            let mut answer = handle(server, caller, parts, Upload::of(body)).await;
            // It is here.
            answer.extensions_mut().remove::<TaskTrackerToken>();
            Ok(answer)
        })
    }
}
