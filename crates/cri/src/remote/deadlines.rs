//! How long each call may take (contract node-agent §1).

use crate::CriError;
use std::future::Future;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// Every call without one of its own, unless `runtimeRequestTimeout` says otherwise.
pub(super) const DEFAULT: Duration = Duration::from_secs(120);
/// What the runtime gets above the timeout of a command to end it and to answer.
const EXEC_SLACK: Duration = Duration::from_secs(10);

/// `RunPodSandbox`: the network plugin and a first image pull are inside.
pub(super) fn run_pod_sandbox(usual: Duration) -> Duration {
    usual * 2
}

/// `StopContainer`: the grace comes on top.
pub(super) fn stop_container(usual: Duration, grace: Duration) -> Duration {
    usual + grace
}

/// `ExecSync`: the command's own timeout; zero waits for ever.
pub(super) fn exec_sync(timeout: Duration) -> Option<Duration> {
    (!timeout.is_zero()).then(|| timeout + EXEC_SLACK)
}

/// Sends one call and waits at most `deadline`. The runtime learns the deadline too and gives up its side.
pub(super) async fn call<Q, A, F, R>(
    name: &'static str,
    deadline: Option<Duration>,
    request: Q,
    send: F,
) -> Result<A, CriError>
where
    F: FnOnce(Request<Q>) -> R,
    R: Future<Output = Result<Response<A>, Status>>,
{
    let mut request = Request::new(request);
    let answer = match deadline {
        Some(deadline) => {
            request.set_timeout(deadline);
            tokio::time::timeout(deadline, send(request))
                .await
                .map_err(|_| CriError::deadline(name, deadline))?
        }
        None => send(request).await,
    };
    answer.map(Response::into_inner).map_err(|status| match deadline {
        // tonic's own timer may fire first and calls that Cancelled.
        Some(deadline)
            if status.code() == tonic::Code::Cancelled && status.message().contains("Timeout expired") =>
        {
            CriError::deadline(name, deadline)
        }
        _ => CriError::status(name, &status),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_those_of_the_contract() {
        assert_eq!(DEFAULT, Duration::from_secs(120));
        assert_eq!(run_pod_sandbox(DEFAULT), Duration::from_secs(240));
        let grace = Duration::from_secs(30);
        assert_eq!(stop_container(DEFAULT, grace), Duration::from_secs(150));
        assert_eq!(exec_sync(Duration::ZERO), None);
        assert_eq!(exec_sync(Duration::from_secs(1)), Some(Duration::from_secs(11)));
    }

    #[tokio::test]
    async fn a_runtime_that_hangs_ends_in_a_typed_error() {
        let error = call("Status", Some(Duration::from_millis(5)), (), |_| {
            std::future::pending::<Result<Response<()>, Status>>()
        })
        .await
        .unwrap_err();
        assert!(error.is_deadline_exceeded());
        assert_eq!(error.call, "Status");
    }
}
