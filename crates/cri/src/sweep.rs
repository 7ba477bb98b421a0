//! Stopping and removing every pod of a runtime: `make down`, tests.

use crate::{CriError, RuntimeService};
use std::time::{Duration, Instant};

/// Stops the containers of some sandboxes within `grace`, for those who have an order among pods; what can't be stopped is
/// left to [`remove_all_pods`].
pub async fn stop_pods(
    runtime: &dyn RuntimeService,
    sandboxes: &[&str],
    grace: Duration,
) -> Result<(), CriError> {
    let containers = runtime.list_containers(None).await?;
    let stops = containers
        .iter()
        .filter(|container| sandboxes.contains(&container.pod_sandbox_id.as_str()))
        .map(|container| runtime.stop_container(&container.id, grace));
    for result in futures::future::join_all(stops).await {
        if let Err(error) = result {
            tracing::debug!(%error, "a container does not stop");
        }
    }
    Ok(())
}

/// How long is waited before each further round: ten seconds in all. A runtime says nothing of a container between its
/// `StartContainer` and the end of that, so it is asked again.
const PAUSES_MS: [u64; 7] = [100, 200, 400, 800, 1600, 3200, 3700];
/// No further round begins so long after the first: one in which something does not end takes minutes.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Stops all containers within `grace`, then stops and removes all sandboxes; how many sandboxes there were. Goes on
/// after an error and tells the first one. Containers that are only just being started are waited for.
pub async fn remove_all_pods(runtime: &dyn RuntimeService, grace: Duration) -> Result<usize, CriError> {
    let mut pauses = PAUSES_MS.into_iter().map(Duration::from_millis);
    let mut most = 0;
    let mut first_ended = None;
    loop {
        let (sandboxes, errors) = round(runtime, grace).await?;
        most = most.max(sandboxes);
        let waited = first_ended.get_or_insert_with(Instant::now).elapsed();
        match before_next(&errors, waited, &mut pauses) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return errors.into_iter().next().map_or(Ok(most), Err),
        }
    }
}

/// How long another round has to wait, if it may do what this one could not. `waited`: since the first one.
fn before_next(
    errors: &[CriError],
    waited: Duration,
    pauses: &mut impl Iterator<Item = Duration>,
) -> Option<Duration> {
    match waited < WAIT_MAX && errors.iter().any(CriError::is_between_states) {
        true => pauses.next(),
        false => None,
    }
}

/// Stops and removes what there is; how many sandboxes, and what went wrong.
async fn round(runtime: &dyn RuntimeService, grace: Duration) -> Result<(usize, Vec<CriError>), CriError> {
    let mut errors = Vec::new();
    let mut note = |result: Result<(), CriError>| {
        if let Err(error) = result
            && !error.is_not_found()
        {
            errors.push(error);
        }
    };
    let containers = runtime.list_containers(None).await?;
    let stops = containers
        .iter()
        .map(|container| runtime.stop_container(&container.id, grace));
    for result in futures::future::join_all(stops).await {
        note(result);
    }
    let sandboxes = runtime.list_pod_sandboxes(None).await?;
    let removals = sandboxes.iter().map(|sandbox| async {
        runtime.stop_pod_sandbox(&sandbox.id).await?;
        runtime.remove_pod_sandbox(&sandbox.id).await
    });
    for result in futures::future::join_all(removals).await {
        note(result);
    }
    Ok((sandboxes.len(), errors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn error(message: &str) -> CriError {
        CriError::new("RemovePodSandbox", Code::Unknown, message)
    }

    /// containerd's words.
    #[test]
    fn containers_that_are_being_started_are_waited_for_and_others_not() {
        let starting = error(
            "failed to remove container \"c\": failed to set removing state for container \"c\": container is in starting state, can't be removed",
        );
        let other = error("failed to unmount");
        let mut pauses = PAUSES_MS.into_iter().map(Duration::from_millis);
        let mut next = |errors: &[CriError]| before_next(errors, Duration::ZERO, &mut pauses);
        assert_eq!(next(&[]), None);
        assert_eq!(next(std::slice::from_ref(&other)), None);
        let both = [other, starting];
        for pause in PAUSES_MS {
            assert_eq!(next(&both), Some(Duration::from_millis(pause)));
        }
        assert_eq!(next(&both), None, "it ends");
    }

    /// It is "still running" after every round.
    #[test]
    fn a_container_that_does_not_end_is_not_given_its_grace_again_and_again() {
        let stuck = [error("container is still running, to stop first")];
        let mut pauses = PAUSES_MS.into_iter().map(Duration::from_millis);
        let soon = before_next(&stuck, Duration::from_secs(1), &mut pauses);
        assert_eq!(soon, Some(Duration::from_millis(PAUSES_MS[0])));
        assert_eq!(before_next(&stuck, WAIT_MAX, &mut pauses), None);
    }
}
