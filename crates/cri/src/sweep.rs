//! Stopping and removing every pod of a runtime: `make down`, tests.

use crate::{CriError, RuntimeService};
use std::time::Duration;

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

/// Stops all containers within `grace`, then stops and removes all sandboxes; how many sandboxes there were. Goes on
/// after an error and tells the first one.
pub async fn remove_all_pods(runtime: &dyn RuntimeService, grace: Duration) -> Result<usize, CriError> {
    let mut first_error = None;
    let mut note = |result: Result<(), CriError>| {
        if let Err(error) = result
            && !error.is_not_found()
        {
            first_error.get_or_insert(error);
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
    match first_error {
        Some(error) => Err(error),
        None => Ok(sandboxes.len()),
    }
}
