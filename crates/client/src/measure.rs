//! Counts a client's calls to the API server.
use http::{Request, Response};
use orlop_metrics::CallMetrics;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tower::{Layer, Service};

/// Wraps a service so that its calls are counted.
#[derive(Clone)]
pub struct Measure {
    metrics: CallMetrics,
    host: Arc<str>,
}

impl Measure {
    /// `host`: whom the calls go to, as the series name it.
    pub fn new(metrics: CallMetrics, host: &str) -> Self {
        Self {
            metrics,
            host: host.into(),
        }
    }
}

impl<S> Layer<S> for Measure {
    type Service = Measured<S>;

    fn layer(&self, service: S) -> Measured<S> {
        Measured {
            service,
            measure: self.clone(),
        }
    }
}

/// A service whose calls are counted.
#[derive(Clone)]
pub struct Measured<S> {
    service: S,
    measure: Measure,
}

impl<S, B, R> Service<Request<B>> for Measured<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (method, began, Measure { metrics, host }) =
            (request.method().clone(), Instant::now(), self.measure.clone());
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map(|answer| answer.status());
            let code = code.as_ref().map_or("<error>", |code| code.as_str());
            metrics.called(method.as_str(), &host, code, began.elapsed());
            answer
        })
    }
}
