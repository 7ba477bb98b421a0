//! All streams of a connection in the connection's own task.
//!
//! Left alone, every request becomes a task: it is woken for its answer, and wakes the connection to send it.
//! The store answers all writes of a batch at once; here they wake one task, which has all of their answers in
//! hand when it writes, and no call goes from one thread to another on its way.
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper::rt::Executor;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where a connection puts the streams that it has accepted.
#[derive(Clone, Default)]
pub struct Streams {
    accepted: Arc<Mutex<Vec<Stream>>>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        // The runtime would have a task rest after so many answers, although the connection could send more.
        let stream = Box::pin(tokio::task::unconstrained(stream));
        self.accepted().push(stream);
    }
}

impl Streams {
    fn accepted(&self) -> std::sync::MutexGuard<'_, Vec<Stream>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a connection that was given these, and its streams, which end with it.
    pub async fn run<T>(self, connection: impl Future<Output = T>) -> T {
        let mut connection = pin!(connection);
        let mut running = FuturesUnordered::new();
        poll_fn(|context| {
            loop {
                // What they have to say leaves with what the connection writes next.
                while let Poll::Ready(Some(())) = running.poll_next_unpin(context) {}
                if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                    return Poll::Ready(ended);
                }
                let accepted = std::mem::take(&mut *self.accepted());
                if accepted.is_empty() {
                    return Poll::Pending;
                }
                running.extend(accepted);
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn streams_run_beside_their_connection_and_end_with_it() {
        let streams = Streams::default();
        let executor = streams.clone();
        let (answer, answered) = tokio::sync::oneshot::channel();
        let (_never, forever) = tokio::sync::oneshot::channel::<()>();
        let dropped = Arc::new(AtomicUsize::new(0));
        let ends = dropped.clone();
        let connection = async move {
            executor.execute(async move {
                let _ = forever.await;
                ends.fetch_add(1, Ordering::Relaxed);
            });
            executor.execute(async move {
                let _ = answer.send(7);
            });
            answered.await.unwrap()
        };
        assert_eq!(streams.run(connection).await, 7);
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }
}
