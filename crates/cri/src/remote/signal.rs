//! Ending a container with a signal of the caller's choice. CRI lets only the runtime choose; containerd's own task service
//! lets us.

use super::Remote;
use crate::CriError;
use crate::images::in_cri_namespace;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{KillRequest, WaitRequest};
use std::time::Duration;
use tonic::Code;

/// Sends the signal and waits for the end of the container's first process, `patience` at most.
pub(super) async fn send(remote: &Remote, id: &str, signal: i32, patience: Duration) -> Result<(), CriError> {
    const CALL: &str = "Tasks.Kill";
    if !remote.is_containerd() {
        let what = "the runtime takes no signal but the one that its image names";
        return Err(CriError::new(CALL, Code::Unimplemented, what));
    }
    let mut tasks = TasksClient::new(remote.channel());
    let kill = KillRequest {
        container_id: id.to_owned(),
        signal: u32::try_from(signal).unwrap_or_default(),
        ..KillRequest::default()
    };
    let killed = tasks.kill(in_cri_namespace(kill, None));
    let killed = tokio::time::timeout(remote.request_timeout, killed).await;
    match killed {
        Err(_) => return Err(CriError::deadline(CALL, remote.request_timeout)),
        // It has ended already.
        Ok(Err(status)) if status.code() == Code::NotFound => return Ok(()),
        Ok(killed) => killed.map_err(|status| CriError::status(CALL, &status))?,
    };
    let wait = WaitRequest {
        container_id: id.to_owned(),
        ..WaitRequest::default()
    };
    match tokio::time::timeout(patience, tasks.wait(in_cri_namespace(wait, None))).await {
        Ok(Err(status)) if status.code() != Code::NotFound => Err(CriError::status("Tasks.Wait", &status)),
        _ => Ok(()),
    }
}
