//! Questions to an API server that may hold them for ever: nobody waits for longer than an answer is worth.
use std::time::Duration;

/// A request that takes longer counts as failed, where nothing else says how long it may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// The answer, if it comes within `limit`.
pub async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    let answer = tokio::time::timeout(limit, answer).await;
    answer.unwrap_or_else(|_| {
        let text = format!("the API server does not answer within {} s", limit.as_secs());
        Err(kube::Error::Service(text.into()))
    })
}

/// The answer, if it comes in time; otherwise why there is none, for those who read it.
pub async fn in_time<T>(answer: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    within(REQUEST_MAX, answer)
        .await
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_is_an_error_that_may_pass() {
        let error = within(Duration::from_secs(3), std::future::pending::<Result<(), _>>()).await;
        let error = error.unwrap_err();
        assert!(orlop_client::is_transient(&error));
        assert!(
            error.to_string().contains("does not answer within 3 s"),
            "{error}"
        );
        assert_eq!(in_time(std::future::ready(Ok(1))).await, Ok(1));
    }
}
