//! All streams of a connection in the connection's own task.
//!
//! Left alone, every request becomes a task: it is woken for its answer, and wakes the connection to send it.
//! The store answers all writes of a batch at once; here they wake one task, which has all of their answers in
//! hand when it writes, and no call goes from one thread to another on its way.
//!
//! Streams and connection wake each other all the time, which here is the task waking itself. The runtime would
//! fetch another thread for that, so such wakes end at a [`Gate`]: they make the task go round once more.
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper::rt::Executor;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The task goes round this often before it lets others have the thread.
const ROUNDS_MAX: usize = 16;
/// With more streams than this, answers are awaited from more than one batch: the other tasks go first, and what
/// has become ready meanwhile leaves in the same write.
const FEW_STREAMS: usize = 8;

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
    fn accepted(&self) -> MutexGuard<'_, Vec<Stream>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a connection that was given these, and its streams, which end with it.
    pub async fn run<T>(self, connection: impl Future<Output = T>) -> T {
        let mut connection = pin!(connection);
        let mut running = FuturesUnordered::new();
        let mut has_rested = false;
        let gate = Arc::new(Gate::default());
        let waker = Waker::from(gate.clone());
        poll_fn(|outer| {
            gate.begin(outer.waker());
            let context = &mut Context::from_waker(&waker);
            for _ in 0..ROUNDS_MAX {
                let mut answered = false;
                // What they have to say leaves with what the connection writes next.
                while let Poll::Ready(Some(())) = running.poll_next_unpin(context) {
                    answered = true;
                }
                if answered && !has_rested && running.len() > FEW_STREAMS {
                    has_rested = true;
                    return gate.rest(outer);
                }
                has_rested = false;
                if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                    return Poll::Ready(ended);
                }
                let accepted = std::mem::take(&mut *self.accepted());
                if accepted.is_empty() && gate.end() {
                    return Poll::Pending;
                }
                running.extend(accepted);
            }
            gate.rest(outer)
        })
        .await
    }
}

/// Tells wakes that come from outside from those of the task itself, by where the task is.
#[derive(Default)]
struct Gate {
    place: AtomicU8,
    outer: Mutex<Option<Waker>>,
}

/// Asleep: a wake has to reach the runtime.
const ASLEEP: u8 = 0;
/// Under way.
const AWAKE: u8 = 1;
/// Under way, and woken since: there is more to do.
const WOKEN: u8 = 2;

impl Gate {
    fn begin(&self, outer: &Waker) {
        let mut kept = self.outer.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(outer)) {
            *kept = Some(outer.clone());
        }
        drop(kept);
        self.place.store(AWAKE, Ordering::SeqCst);
    }

    /// Falls asleep, unless there is more to do.
    fn end(&self) -> bool {
        let asleep = self
            .place
            .compare_exchange(AWAKE, ASLEEP, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok();
        if !asleep {
            self.place.store(AWAKE, Ordering::SeqCst);
        }
        asleep
    }

    /// Falls asleep, to be woken behind the other tasks.
    fn rest<T>(&self, outer: &mut Context<'_>) -> Poll<T> {
        self.place.store(ASLEEP, Ordering::SeqCst);
        let yielding = pin!(tokio::task::yield_now());
        match yielding.poll(outer) {
            Poll::Pending => {}
            Poll::Ready(()) => outer.waker().wake_by_ref(),
        }
        Poll::Pending
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = self
            .place
            .compare_exchange(AWAKE, WOKEN, Ordering::SeqCst, Ordering::SeqCst);
        if woken == Err(ASLEEP) {
            let outer = self.outer.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(outer) = outer.as_ref() {
                outer.wake_by_ref();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

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

    /// A connection that ends when all of its streams have had an answer from another thread.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_is_lost_and_many_answers_leave_together() {
        const STREAMS: usize = 100;
        for round in 0..200 {
            let streams = Streams::default();
            let executor = streams.clone();
            let (done, mut answered) = tokio::sync::mpsc::unbounded_channel();
            let mut answers = Vec::new();
            for number in 0..STREAMS {
                let (answer, waiting) = tokio::sync::oneshot::channel::<usize>();
                answers.push(answer);
                let done = done.clone();
                executor.execute(async move {
                    let answer = waiting.await.unwrap();
                    // As a stream that is polled again and again.
                    tokio::task::yield_now().await;
                    done.send(answer + number).unwrap();
                });
            }
            let writer = std::thread::spawn(move || {
                for (number, answer) in answers.into_iter().enumerate() {
                    answer.send(STREAMS - number).unwrap();
                }
            });
            let connection = async move {
                for _ in 0..STREAMS {
                    assert_eq!(answered.recv().await, Some(STREAMS), "round {round}");
                }
            };
            let whole = tokio::time::timeout(std::time::Duration::from_secs(30), streams.run(connection));
            whole.await.expect("a wake was lost");
            writer.join().unwrap();
        }
    }
}
