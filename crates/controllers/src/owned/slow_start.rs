//! Many creations without asking a server that refuses everything for everything.

use std::future::Future;

use futures::StreamExt;

/// Calls that wait for their answer at the same time. Each takes a connection with its buffers, and a server of few
/// processors answers no sooner if it is asked for more.
pub const PARALLEL_MAX: usize = 32;

/// Calls `act` with the numbers below `count`, in batches of 1, 2, 4, 8 …, [`PARALLEL_MAX`] at the same time, and stops after
/// the first batch with an error. Returns the answers and how many were not tried.
pub async fn slow_start<A, E, F>(count: usize, act: impl Fn(usize) -> F) -> (Vec<Result<A, E>>, usize)
where
    F: Future<Output = Result<A, E>>,
{
    let mut answers = Vec::with_capacity(count);
    let mut next = 0;
    let mut size = 1;
    while next < count {
        let end = count.min(next + size);
        let calls: Vec<F> = (next..end).map(&act).collect();
        let batch: Vec<Result<A, E>> = futures::stream::iter(calls)
            .buffered(PARALLEL_MAX)
            .collect()
            .await;
        next = end;
        size *= 2;
        let failed = batch.iter().any(Result::is_err);
        answers.extend(batch);
        if failed {
            break;
        }
    }
    (answers, count - next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn c12_creates_stop_after_the_first_batch_with_an_error() {
        let tried = AtomicUsize::new(0);
        let (answers, untried) = slow_start(100, |_| async {
            if tried.fetch_add(1, Ordering::Relaxed) < 10 {
                Ok(())
            } else {
                Err("quota")
            }
        })
        .await;
        assert_eq!((tried.into_inner(), untried), (1 + 2 + 4 + 8, 85));
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 10);
    }
}
