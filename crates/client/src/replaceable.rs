//! A client whose way to the API server is replaced while it is in use: when a certificate is renewed.
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::Frame;
use kube::client::Body;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::in_process;

/// Replaces what the client made with it goes through.
pub struct Replaceable {
    current: watch::Sender<Option<Way>>,
}

/// A way to the API server, until there is a better one.
#[derive(Clone)]
struct Way {
    client: kube::Client,
    ended: CancellationToken,
}

impl Replaceable {
    /// A client whose requests wait until there is a way; must be called within a tokio runtime.
    pub fn new() -> (Self, kube::Client) {
        let (current, ways) = watch::channel(None);
        let service = tower::service_fn(move |request| send(ways.clone(), request));
        (Self { current }, in_process(service))
    }

    /// From now on requests go through `client`. Watches begun before end as if the server had ended them, so that
    /// they are resumed on connections of the new one; other requests are left to finish.
    pub fn replace(&self, client: kube::Client) {
        let way = Way {
            client,
            ended: CancellationToken::new(),
        };
        if let Some(before) = self.current.send_replace(Some(way)) {
            before.ended.cancel();
        }
    }
}

fn send(
    mut ways: watch::Receiver<Option<Way>>,
    request: Request<Body>,
) -> BoxFuture<'static, Result<Response<UntilReplaced>, kube::Error>> {
    Box::pin(async move {
        let gone = || kube::Error::Service("the client's owner has ended".into());
        let way = ways
            .wait_for(Option::is_some)
            .await
            .map_err(|_| gone())?
            .clone()
            .ok_or_else(gone)?;
        let is_watch = request.uri().query().is_some_and(asks_to_watch);
        let answer = way.client.send(request).await?;
        let ended = is_watch.then(|| Box::pin(way.ended.cancelled_owned()));
        Ok(answer.map(|body| UntilReplaced { body, ended }))
    })
}

fn asks_to_watch(query: &str) -> bool {
    query
        .split('&')
        .any(|pair| pair == "watch" || pair == "watch=true" || pair == "watch=1")
}

/// An answer that ends when its connection is given up.
struct UntilReplaced {
    body: Body,
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl http_body::Body for UntilReplaced {
    type Data = Bytes;
    type Error = kube::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, kube::Error>>> {
        if let Some(ended) = &mut self.ended
            && ended.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{StreamExt, TryStreamExt};
    use http_body_util::{BodyExt, Full, StreamBody};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::WatchParams;
    use std::convert::Infallible;

    /// An API server that names itself in the version, and whose watches never end.
    fn named(minor: &'static str) -> kube::Client {
        in_process(tower::service_fn(move |request: Request<Body>| async move {
            let answer = if request.uri().query().is_some_and(asks_to_watch) {
                let nothing = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
                StreamBody::new(nothing).boxed_unsync()
            } else {
                let body = serde_json::json!({"major": "1", "minor": minor, "gitVersion": "", "gitCommit": "",
                    "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
                Full::new(Bytes::from(body.to_string())).boxed_unsync()
            };
            Ok::<_, Infallible>(Response::new(answer))
        }))
    }

    #[tokio::test]
    async fn requests_wait_for_a_way_and_watches_end_with_theirs() {
        let (ways, client) = Replaceable::new();
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.apiserver_version().await.unwrap().minor }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        ways.replace(named("1"));
        assert_eq!(waiting.await.unwrap(), "1");

        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let watch = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
        ways.replace(named("2"));
        let seen: Vec<_> = watch.try_collect().await.unwrap();
        assert!(seen.is_empty(), "{seen:?}");
        assert_eq!(client.apiserver_version().await.unwrap().minor, "2");
    }

    #[test]
    fn only_watches_ask_to_watch() {
        for (query, want) in [
            ("watch=true&resourceVersion=1", true),
            ("limit=1&watch=1", true),
            ("limit=1", false),
            ("fieldSelector=watch%3Dtrue", false),
        ] {
            assert_eq!(asks_to_watch(query), want, "{query}");
        }
    }
}
