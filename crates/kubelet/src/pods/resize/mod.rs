//! In-place resize: a running pod gets other processor time and memory.
//!
//! What the pod's object asks for and what the node has given ([`allocation`]) are two things: [`judge`] says whether
//! the one may become the other, and the manager keeps what was given, on disk too. The pod's worker then brings its
//! running containers there, as [`apply`] says; [`tell`] has the events' words.
pub mod allocation;
pub mod apply;
pub mod judge;
pub mod tell;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_api::pod::condition_of;

/// The conditions in a pod's status.
pub const PENDING: &str = "PodResizePending";
/// See [`PENDING`].
pub const IN_PROGRESS: &str = "PodResizeInProgress";

/// A resize that the node does not make, or not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whether it may be made later.
    pub why: Why,
    /// What is lacking.
    pub message: String,
    /// The pod's generation that asked for it.
    pub generation: Option<i64>,
}

/// The reason of [`PENDING`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no room now.
    Deferred,
    /// There will never be on this node.
    Infeasible,
}

impl Why {
    /// As the condition and the event say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deferred => "Deferred",
            Self::Infeasible => "Infeasible",
        }
    }
}

/// How far a pod's resize has got, as its worker knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resizing {
    /// What it asks for and does not get.
    pub refused: Option<Refused>,
    /// What it was given is not in force in all of its containers yet: the generation that asked for it.
    pub in_progress: Option<Option<i64>>,
    /// Why the last attempt to put it in force failed.
    pub error: Option<String>,
}

impl Resizing {
    /// The conditions that say so; transition times stay while a condition does.
    pub fn conditions(&self, previous: &PodStatus, now: Timestamp) -> Vec<PodCondition> {
        let condition =
            |kind: &str, reason: Option<&str>, message: Option<&String>, generation: Option<i64>| {
                let since = condition_of(previous, kind);
                PodCondition {
                    type_: kind.to_owned(),
                    status: "True".to_owned(),
                    reason: reason.map(str::to_owned),
                    message: message.cloned(),
                    observed_generation: generation,
                    last_transition_time: since
                        .and_then(|known| known.last_transition_time.clone())
                        .or(Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now)))),
                    last_probe_time: None,
                }
            };
        let pending = self.refused.as_ref().map(|refused| {
            let reason = Some(refused.why.as_str());
            condition(PENDING, reason, Some(&refused.message), refused.generation)
        });
        let in_progress = self.in_progress.map(|generation| {
            let reason = self.error.as_ref().map(|_| "Error");
            condition(IN_PROGRESS, reason, self.error.as_ref(), generation)
        });
        pending.into_iter().chain(in_progress).collect()
    }
}
