//! CRI's `GetContainerEvents`, for runtimes other than containerd.

use super::{EventKind, Events, Failure, Notice, RuntimeEvent};
use crate::remote::MESSAGE_SIZE_MAX;
use crate::{Remote, v1};
use futures::stream::BoxStream;
use futures::{StreamExt, TryFutureExt, future};
use std::time::{Duration, SystemTime};
use v1::runtime_service_client::RuntimeServiceClient;

/// A runtime that doesn't know the call says so at once. One that does may be silent until the first event, because gRPC
/// servers in Go answer a stream with its first message; having heard nothing for this long counts as a yes.
const REFUSED_WITHIN: Duration = Duration::from_millis(500);

pub(super) async fn open(remote: &Remote) -> Result<Events, Failure> {
    let mut client = RuntimeServiceClient::new(remote.channel()).max_decoding_message_size(MESSAGE_SIZE_MAX);
    let mut call = Box::pin(async move { client.get_container_events(v1::GetEventsRequest {}).await });
    let answer: BoxStream<'static, _> = match tokio::time::timeout(REFUSED_WITHIN, &mut call).await {
        Ok(answer) => answer?.into_inner().boxed(),
        Err(_) => call
            .map_ok(tonic::Response::into_inner)
            .try_flatten_stream()
            .boxed(),
    };
    let events = answer.filter_map(|event| {
        future::ready(match event {
            Ok(event) => event_of(&event).map(|event| Ok(Notice::Event(event))),
            Err(status) => Some(Err(Failure::from(status))),
        })
    });
    Ok(events.boxed())
}

fn event_of(event: &v1::ContainerEventResponse) -> Option<RuntimeEvent> {
    let kind = match event.container_event_type() {
        v1::ContainerEventType::ContainerStartedEvent => EventKind::Started,
        v1::ContainerEventType::ContainerStoppedEvent => EventKind::Exited,
        v1::ContainerEventType::ContainerDeletedEvent => EventKind::Deleted,
        v1::ContainerEventType::ContainerCreatedEvent => return None,
    };
    let exit_code = event
        .containers_statuses
        .iter()
        .find(|status| status.id == event.container_id)
        .filter(|_| kind == EventKind::Exited)
        .map(|status| status.exit_code);
    Some(RuntimeEvent {
        container_id: event.container_id.clone(),
        kind,
        exit_code,
        at: u64::try_from(event.created_at)
            .ok()
            .and_then(|at| SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(at)))
            .unwrap_or_else(SystemTime::now),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopped_event_carries_the_exit_code_of_its_container() {
        let status = |id: &str, exit_code| v1::ContainerStatus {
            id: id.to_owned(),
            exit_code,
            ..v1::ContainerStatus::default()
        };
        let event = v1::ContainerEventResponse {
            container_id: "b".to_owned(),
            container_event_type: v1::ContainerEventType::ContainerStoppedEvent as i32,
            created_at: 1_000_000_000,
            containers_statuses: vec![status("a", 1), status("b", 2)],
            ..v1::ContainerEventResponse::default()
        };
        let event = event_of(&event).unwrap();
        assert_eq!(event.exit_code, Some(2));
        assert_eq!(event.at, SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    }
}
