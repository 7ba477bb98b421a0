//! What is to be done about a pod, and which of its containers it is done to.
use super::ephemeral::{as_container, ephemeral_containers};
use super::resize::apply::Change;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Which container of the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    Init(usize),
    Regular(usize),
    Ephemeral(usize),
}

impl Which {
    /// The container of this name; one that the definition no longer has counts as one of the regular ones.
    pub fn named(pod: &Pod, name: &str) -> Self {
        let spec = pod.spec.as_ref();
        let inits = spec.and_then(|spec| spec.init_containers.as_ref());
        let init = inits.and_then(|inits| inits.iter().position(|own| own.name == name));
        let regular = || spec?.containers.iter().position(|own| own.name == name);
        let ephemeral = || ephemeral_containers(pod).iter().position(|own| own.name == name);
        match (init, regular()) {
            (Some(index), _) => Self::Init(index),
            (None, Some(index)) => Self::Regular(index),
            (None, None) => ephemeral().map_or(Self::Regular(usize::MAX), Self::Ephemeral),
        }
    }

    /// The container's definition.
    pub fn of<'a>(&self, pod: &'a Pod) -> Option<Cow<'a, Container>> {
        let spec = pod.spec.as_ref()?;
        match *self {
            Self::Init(index) => spec.init_containers.as_ref()?.get(index).map(Cow::Borrowed),
            Self::Regular(index) => spec.containers.get(index).map(Cow::Borrowed),
            Self::Ephemeral(index) => {
                let ephemeral = ephemeral_containers(pod).get(index)?;
                Some(Cow::Owned(as_container(ephemeral)))
            }
        }
    }

    /// What it is counted as.
    pub fn container_type(&self) -> &'static str {
        match self {
            Self::Init(_) => "init_container",
            Self::Regular(_) => "container",
            Self::Ephemeral(_) => "ephemeral_container",
        }
    }

    /// The field path that container events carry.
    pub fn field_path(&self, name: &str) -> String {
        match self {
            Self::Init(_) => format!("spec.initContainers{{{name}}}"),
            Self::Regular(_) => format!("spec.containers{{{name}}}"),
            Self::Ephemeral(_) => format!("spec.ephemeralContainers{{{name}}}"),
        }
    }
}

/// A container to kill, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    pub which: Which,
    pub id: String,
    /// The message of the `Killing` event.
    pub message: String,
    /// The kill is for a failed liveness or startup probe, whose own grace then counts.
    pub probe: Option<FailedProbe>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedProbe {
    Liveness,
    Startup,
}

/// A container that waits to be started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

impl Waiting {
    /// With the reason and message of the container's waiting state.
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Nothing is left to run: stop what remains, sidecars and sandbox included.
    pub finish: bool,
    /// Make a new sandbox with this attempt, after everything of the old ones is stopped.
    pub sandbox: Option<u32>,
    pub kill: Vec<Kill>,
    /// Containers that get other resources while they run, in order.
    pub resize: Vec<Change>,
    /// All containers go, this one's record last, and start anew.
    pub restart_all: Option<String>,
    /// Containers to start, in order.
    pub start: Vec<Which>,
    /// Containers held back by crash-loop back-off.
    pub waiting: BTreeMap<String, Waiting>,
    /// When to decide again if nothing happens before.
    pub again_at: Option<Timestamp>,
}

impl Plan {
    /// There is nothing to do but wait.
    pub fn is_idle(&self) -> bool {
        self.sandbox.is_none()
            && self.kill.is_empty()
            && self.start.is_empty()
            && self.resize.is_empty()
            && self.restart_all.is_none()
    }

    /// A container is held back by crash-loop back-off.
    pub(super) fn hold(&mut self, pod: &Pod, name: &str, until: Timestamp, wait: jiff::SignedDuration) {
        let message = format!(
            "back-off {} restarting failed container={name} pod={}({})",
            go_duration(wait),
            orlop_api::pod::full_name(pod),
            orlop_api::pod::uid(pod),
        );
        self.waiting.insert(
            name.to_owned(),
            Waiting {
                reason: "CrashLoopBackOff".into(),
                message,
            },
        );
        self.again_at = Some(self.again_at.map_or(until, |at| at.min(until)));
    }
}

/// Go's form of a whole number of seconds: `10s`, `1m20s`, `5m0s`.
fn go_duration(duration: jiff::SignedDuration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        format!("{}m{}s", seconds / 60, seconds % 60)
    }
}
