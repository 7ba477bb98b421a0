//! Why the agent ends a pod as failed, beside its own containers' doing.

/// A reason of the agent's to end a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `status.reason`.
    pub reason: String,
    /// `status.message`.
    pub message: String,
    /// The message of the condition `DisruptionTarget`: the node's doing, not the pod's.
    pub disruption: Option<String>,
}

/// What a pod says that was stopped for the node's shutdown.
const SHUTDOWN: &str = "Pod was terminated in response to imminent node shutdown.";

impl Verdict {
    /// `activeDeadlineSeconds` have passed.
    pub fn past_deadline() -> Self {
        Self {
            reason: "DeadlineExceeded".into(),
            message: "Pod was active on the node longer than the specified deadline".into(),
            disruption: None,
        }
    }

    /// Whether the pod has failed even if its containers, told to end, all ended well: who runs out of time
    /// isn't done.
    pub fn outweighs_success(&self) -> bool {
        *self == Self::past_deadline()
    }

    /// The node does not have what it asks for.
    pub fn rejected(reason: &str, detail: &str) -> Self {
        Self {
            reason: reason.into(),
            message: format!("Pod was rejected: {detail}"),
            disruption: None,
        }
    }

    /// The node ran short of something, or the pod of its own limits.
    pub fn evicted(message: String) -> Self {
        Self {
            reason: "Evicted".into(),
            disruption: Some(message.clone()),
            message,
        }
    }

    /// A critical pod needs the room.
    pub fn preempted() -> Self {
        Self {
            reason: "Preempting".into(),
            message: "Preempted in order to admit critical pod".into(),
            disruption: Some("Pod was preempted by Kubelet to accommodate a critical pod.".into()),
        }
    }

    /// The node goes down.
    pub fn node_shutdown() -> Self {
        Self {
            reason: "Terminated".into(),
            message: SHUTDOWN.into(),
            disruption: Some(SHUTDOWN.into()),
        }
    }
}
