//! containerd's own event service.

use super::{EventKind, Events, Failure, Notice, RuntimeEvent};
use crate::Remote;
use crate::images::{NAMESPACE, in_cri_namespace};
use containerd_client::events::{ContainerDelete, TaskExit, TaskOom, TaskStart};
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::{ImageCreate, PublishRequest, SubscribeRequest};
use containerd_client::types::Envelope;
use futures::{StreamExt, future};
use prost::{Message, Name};
use std::time::{Duration, SystemTime};

const TOPIC_IMAGE: &str = "/images/create";
const TOPICS: [&str; 5] = [
    "/tasks/start",
    "/tasks/exit",
    "/tasks/oom",
    "/containers/delete",
    TOPIC_IMAGE,
];

/// What we say to ourselves: gRPC servers in Go answer a stream with its first message, so without one there is no telling
/// whether the subscription stands.
const TOPIC_PROBE: &str = "/orlop/subscribed";
/// Between two probes: the first may overtake the subscription.
const PROBE_AGAIN: Duration = Duration::from_millis(20);

pub(super) async fn open(remote: &Remote) -> Result<Events, Failure> {
    let filters = TOPICS
        .iter()
        .chain([&TOPIC_PROBE])
        .map(|topic| format!(r#"namespace=="{NAMESPACE}",topic=="{topic}""#))
        .collect();
    let mut client = EventsClient::new(remote.channel());
    let subscription = client.subscribe(SubscribeRequest { filters });
    let probing = async {
        loop {
            if let Err(status) = probe(remote).await {
                return Failure::from(status);
            }
            tokio::time::sleep(PROBE_AGAIN).await;
        }
    };
    let answer = tokio::select! {
        biased;
        answer = subscription => answer?,
        failure = probing => return Err(failure),
    };
    let events = answer.into_inner().filter_map(|envelope| {
        future::ready(match envelope {
            Ok(envelope) => notice_of(&envelope).map(Ok),
            Err(status) => Some(Err(Failure::from(status))),
        })
    });
    Ok(events.boxed())
}

async fn probe(remote: &Remote) -> Result<(), tonic::Status> {
    let mut message = PublishRequest {
        topic: TOPIC_PROBE.to_owned(),
        ..PublishRequest::default()
    };
    // It must be of some known type; nobody reads it.
    message.event.get_or_insert_default().type_url = ContainerDelete::full_name();
    EventsClient::new(remote.channel())
        .publish(in_cri_namespace(message, None))
        .await
        .map(drop)
}

fn notice_of(envelope: &Envelope) -> Option<Notice> {
    if envelope.topic == TOPIC_IMAGE {
        return image_of(envelope).map(Notice::Image);
    }
    event_of(envelope).map(Notice::Event)
}

/// `None` for a digest, under which an image comes beside its name.
fn image_of(envelope: &Envelope) -> Option<String> {
    let body = envelope.event.as_ref()?.value.as_slice();
    let name = ImageCreate::decode(body).ok()?.name;
    (!name.is_empty() && !name.starts_with("sha256:")).then_some(name)
}

/// `None` for what doesn't concern a container as a whole, such as the end of an exec.
fn event_of(envelope: &Envelope) -> Option<RuntimeEvent> {
    let body = envelope.event.as_ref()?.value.as_slice();
    let (container_id, kind, exit_code) = match envelope.topic.as_str() {
        "/tasks/start" => (
            TaskStart::decode(body).ok()?.container_id,
            EventKind::Started,
            None,
        ),
        "/tasks/exit" => {
            let exit = TaskExit::decode(body).ok()?;
            if exit.id != exit.container_id {
                return None;
            }
            let code = i32::try_from(exit.exit_status).ok();
            (exit.container_id, EventKind::Exited, code)
        }
        "/tasks/oom" => (TaskOom::decode(body).ok()?.container_id, EventKind::Oom, None),
        "/containers/delete" => (ContainerDelete::decode(body).ok()?.id, EventKind::Deleted, None),
        _ => return None,
    };
    let at = envelope
        .timestamp
        .as_ref()
        .and_then(|at| {
            let seconds = u64::try_from(at.seconds).ok()?;
            let nanoseconds = u32::try_from(at.nanos).ok()?;
            SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
        })
        .unwrap_or_else(SystemTime::now);
    Some(RuntimeEvent {
        container_id,
        kind,
        exit_code,
        at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(topic: &str, body: impl Message) -> Envelope {
        let mut envelope = Envelope {
            topic: topic.to_owned(),
            ..Envelope::default()
        };
        envelope.event.get_or_insert_default().value = body.encode_to_vec();
        envelope
    }

    #[test]
    fn exit_of_the_container_is_an_event_and_exit_of_an_exec_is_none() {
        let of_container = TaskExit {
            container_id: "c".to_owned(),
            id: "c".to_owned(),
            exit_status: 7,
            ..TaskExit::default()
        };
        let event = event_of(&envelope("/tasks/exit", of_container.clone())).unwrap();
        assert_eq!(
            (event.container_id.as_str(), event.kind, event.exit_code),
            ("c", EventKind::Exited, Some(7))
        );
        let of_exec = TaskExit {
            id: "e".to_owned(),
            ..of_container
        };
        assert_eq!(event_of(&envelope("/tasks/exit", of_exec)), None);
    }

    #[test]
    fn an_image_is_told_of_by_its_name_alone() {
        let created = |name: &str| ImageCreate {
            name: name.to_owned(),
            ..ImageCreate::default()
        };
        let told = |name: &str| notice_of(&envelope("/images/create", created(name)));
        assert_eq!(
            told("docker.io/library/i:1"),
            Some(Notice::Image("docker.io/library/i:1".into()))
        );
        assert_eq!((told("sha256:0123"), told("")), (None, None));
    }

    #[test]
    fn broken_bodies_and_other_topics_are_passed_over() {
        assert_eq!(notice_of(&Envelope::default()), None);
        assert_eq!(notice_of(&envelope("/images/delete", TaskStart::default())), None);
    }
}
