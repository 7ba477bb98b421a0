//! Work that somebody may want to end before it is done, as by Ctrl-C: what it did is taken back then.
use anyhow::{Result, bail};
use tokio_util::sync::CancellationToken;

/// Does work until it is done or is to stop; then it is left where it waits.
pub async fn unless<T>(stop: &CancellationToken, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        done = work => done,
        () = stop.cancelled() => bail!("it was interrupted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_ends_when_it_is_done_or_interrupted() {
        let stop = CancellationToken::new();
        assert_eq!(unless(&stop, async { Ok(7) }).await.unwrap(), 7);
        let for_ever = unless(&stop, std::future::pending::<Result<()>>());
        let (ended, ()) = tokio::join!(for_ever, async { stop.cancel() });
        assert!(ended.unwrap_err().to_string().contains("interrupted"));
    }
}
