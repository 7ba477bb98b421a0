use super::{EventKind, Notice};
use crate::{RuntimeService, v1};
use std::sync::Arc;
use std::time::Duration;

/// Waits between looks at the runtime's status, doubled each time up to the longest. The runtime writes the exit down
/// within a few milliseconds of telling it and sends nothing more when it has; but of a container that ended while it was
/// being started, only once `StartContainer` has returned, which on a busy machine takes seconds.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_LONGEST: Duration = Duration::from_secs(1);
/// Looks in all: about two minutes, as long as a start may take. After that the event is told anyway.
const LOOKS_MAX: u32 = 130;
/// The same for an image, which is noted within a moment, or was no image for pods: about ten seconds.
const IMAGE_LOOKS_MAX: u32 = 20;

/// Whether this is told before the runtime's status shows it.
pub(super) fn is_early(notice: &Notice) -> bool {
    match notice {
        Notice::Event(event) => event.kind == EventKind::Exited,
        Notice::Image(_) => true,
        Notice::Subscribed(_) | Notice::Lost { .. } | Notice::Unsupported { .. } => false,
    }
}

/// Gives the notice back when the runtime's status agrees: the container (or sandbox) ended, the image is there.
pub(super) async fn notice(runtime: Arc<dyn RuntimeService>, notice: Notice) -> Notice {
    let looks_max = match &notice {
        Notice::Image(_) => IMAGE_LOOKS_MAX,
        _ => LOOKS_MAX,
    };
    let mut wait = LOOK_FIRST;
    for _ in 0..looks_max {
        let agrees = match &notice {
            Notice::Event(event) => has_ended(runtime.as_ref(), &event.container_id).await,
            Notice::Image(name) => !matches!(runtime.image_status(name).await, Ok(None)),
            Notice::Subscribed(_) | Notice::Lost { .. } | Notice::Unsupported { .. } => true,
        };
        if agrees {
            break;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LOOK_LONGEST);
    }
    notice
}

async fn has_ended(runtime: &dyn RuntimeService, id: &str) -> bool {
    match runtime.container_status(id, false).await {
        Ok(answer) => answer.status.is_none_or(|status| {
            status.state != v1::ContainerState::ContainerRunning as i32
                && status.state != v1::ContainerState::ContainerCreated as i32
        }),
        Err(error) if error.is_not_found() => match runtime.pod_sandbox_status(id, false).await {
            Ok(answer) => answer
                .status
                .is_none_or(|status| status.state != v1::PodSandboxState::SandboxReady as i32),
            Err(_) => true,
        },
        // The runtime is in trouble; the agent will see that for itself.
        Err(_) => true,
    }
}
