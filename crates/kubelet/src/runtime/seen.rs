//! What the runtime has of one pod, in the agent's terms: read from CRI, never remembered beyond
//! what could be read again.
use jiff::Timestamp;
use orlop_cri::v1;
use std::collections::HashMap;

/// CRI labels that tie sandboxes and containers to pods.
pub mod labels {
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
}

/// CRI annotations through which a restarted agent knows what it once decided.
pub mod annotations {
    pub const HASH: &str = "io.kubernetes.container.hash";
    pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
    pub const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
    pub const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
    pub const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
    pub const PORTS: &str = "io.kubernetes.container.ports";
    pub const POD_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
    pub const POD_DELETION_GRACE: &str = "io.kubernetes.pod.deletionGracePeriod";
}

/// A pod as the runtime has it; newest first in both lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenPod {
    pub sandboxes: Vec<SeenSandbox>,
    pub containers: Vec<SeenContainer>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SeenSandbox {
    pub id: String,
    pub attempt: u32,
    pub ready: bool,
    pub created_at: Timestamp,
    /// Empty on the host's network, or while there is none.
    pub ips: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SeenContainer {
    pub id: String,
    pub name: String,
    pub sandbox_id: String,
    /// The restart count it was created with.
    pub attempt: u32,
    pub state: SeenState,
    pub image: String,
    pub image_ref: String,
    /// Hash of the definition it was created from.
    pub hash: Option<String>,
    pub created_at: Timestamp,
    /// What it may use; `None` where the runtime does not tell.
    pub resources: Option<SeenResources>,
    /// Whom its first process runs as, where the runtime tells.
    pub user: Option<SeenUser>,
    /// Where it has mounts that are read-only with all below them.
    pub recursively_read_only: Vec<String>,
}

/// Processor time and memory of a container; nothing is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenResources {
    /// CPU shares, v1 style.
    pub shares: i64,
    /// Microseconds of processor time per period, and the period.
    pub quota: Option<(i64, i64)>,
    /// Bytes.
    pub memory: Option<i64>,
}

impl From<&v1::LinuxContainerResources> for SeenResources {
    fn from(linux: &v1::LinuxContainerResources) -> Self {
        Self {
            shares: linux.cpu_shares,
            quota: (linux.cpu_quota > 0).then_some((linux.cpu_quota, linux.cpu_period)),
            memory: (linux.memory_limit_in_bytes > 0).then_some(linux.memory_limit_in_bytes),
        }
    }
}

/// Numbers of a user and its groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenUser {
    pub uid: i64,
    pub gid: i64,
    pub groups: Vec<i64>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SeenState {
    Created,
    Running { started_at: Timestamp },
    Exited(Exit),
    Unknown,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    pub code: i32,
    pub reason: String,
    pub message: String,
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
}

/// Pods that are another than in an earlier reading, new ones and those that are gone included.
pub fn changed<'a>(
    before: &'a HashMap<String, SeenPod>,
    now: &'a HashMap<String, SeenPod>,
) -> impl Iterator<Item = &'a str> {
    let others = now.iter().filter(|(uid, seen)| before.get(*uid) != Some(seen));
    let gone = before.keys().filter(|uid| !now.contains_key(*uid));
    others
        .map(|(uid, _)| uid.as_str())
        .chain(gone.map(String::as_str))
}

impl SeenPod {
    /// The newest sandbox.
    pub fn sandbox(&self) -> Option<&SeenSandbox> {
        self.sandboxes.first()
    }

    /// The newest container of a name, from whichever sandbox.
    pub fn newest(&self, name: &str) -> Option<&SeenContainer> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The newest container of a name in a sandbox.
    pub fn newest_in(&self, sandbox_id: &str, name: &str) -> Option<&SeenContainer> {
        self.containers
            .iter()
            .find(|c| c.name == name && c.sandbox_id == sandbox_id)
    }

    /// Containers with a process.
    pub fn running(&self) -> impl Iterator<Item = &SeenContainer> {
        self.containers.iter().filter(|c| c.is_running())
    }

    /// Whether anything of it still holds resources: a process or a ready sandbox.
    pub fn is_alive(&self) -> bool {
        self.running().next().is_some() || self.sandboxes.iter().any(|s| s.ready)
    }

    /// Ids of everything in it.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let sandboxes = self.sandboxes.iter().map(|sandbox| sandbox.id.as_str());
        sandboxes.chain(self.containers.iter().map(|container| container.id.as_str()))
    }

    /// Sorts newest first.
    pub fn sort(&mut self) {
        self.sandboxes
            .sort_by_key(|s| std::cmp::Reverse((s.created_at, s.attempt)));
        self.containers
            .sort_by_key(|c| std::cmp::Reverse((c.created_at, c.attempt)));
    }
}

impl SeenContainer {
    pub fn is_running(&self) -> bool {
        matches!(self.state, SeenState::Running { .. })
    }

    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            SeenState::Exited(exit) => Some(exit),
            _ => None,
        }
    }

    /// Reads a CRI status.
    pub fn from_status(status: &v1::ContainerStatus, sandbox_id: &str) -> Self {
        let metadata = status.metadata.clone().unwrap_or_default();
        let note = |key: &str| status.annotations.get(key);
        let state = match v1::ContainerState::try_from(status.state) {
            Ok(v1::ContainerState::ContainerCreated) => SeenState::Created,
            Ok(v1::ContainerState::ContainerRunning) => SeenState::Running {
                started_at: at(status.started_at),
            },
            Ok(v1::ContainerState::ContainerExited) => SeenState::Exited(Exit {
                code: status.exit_code,
                reason: status.reason.clone(),
                message: status.message.clone(),
                started_at: (status.started_at > 0).then(|| at(status.started_at)),
                finished_at: at(status.finished_at),
            }),
            _ => SeenState::Unknown,
        };
        let attempt = note(annotations::RESTART_COUNT)
            .and_then(|n| n.parse().ok())
            .unwrap_or(metadata.attempt);
        Self {
            id: status.id.clone(),
            name: metadata.name,
            sandbox_id: sandbox_id.to_owned(),
            attempt,
            state,
            image: status.image.clone().unwrap_or_default().image,
            image_ref: status.image_ref.clone(),
            hash: note(annotations::HASH).cloned(),
            created_at: at(status.created_at),
            resources: status
                .resources
                .as_ref()
                .and_then(|resources| resources.linux.as_ref())
                .map(SeenResources::from)
                // A runtime that leaves them out may still send an empty message.
                .filter(|resources| resources.shares > 0),
            user: status
                .user
                .as_ref()
                .and_then(|user| user.linux.as_ref())
                .map(|user| SeenUser {
                    uid: user.uid,
                    gid: user.gid,
                    groups: user.supplemental_groups.clone(),
                }),
            recursively_read_only: status
                .mounts
                .iter()
                .filter(|mount| mount.recursive_read_only)
                .map(|mount| mount.container_path.clone())
                .collect(),
        }
    }
}

/// A CRI time: nanoseconds since the epoch.
pub fn at(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Builders for tests.
#[cfg(test)]
pub mod testing {
    use super::*;

    /// A sandbox with an address.
    pub fn sandbox(id: &str, attempt: u32, ready: bool) -> SeenSandbox {
        let created_at = at(i64::from(attempt) * 1_000_000_000);
        SeenSandbox {
            id: id.into(),
            attempt,
            ready,
            created_at,
            ips: vec!["10.0.0.5".into()],
        }
    }

    /// A container made from image `i:1`.
    pub fn container(
        id: &str,
        name: &str,
        sandbox_id: &str,
        attempt: u32,
        state: SeenState,
    ) -> SeenContainer {
        let definition = k8s_openapi::api::core::v1::Container {
            name: name.into(),
            image: Some("i:1".into()),
            ..Default::default()
        };
        SeenContainer {
            id: id.into(),
            name: name.into(),
            sandbox_id: sandbox_id.into(),
            attempt,
            state,
            image: "i:1".into(),
            image_ref: "sha256:i".into(),
            hash: Some(crate::runtime::hash::container_hash(&definition)),
            created_at: at(i64::from(attempt) * 1_000_000_000),
            resources: None,
            user: None,
            recursively_read_only: Vec::new(),
        }
    }

    /// Running since second 1.
    pub fn running() -> SeenState {
        SeenState::Running {
            started_at: at(1_000_000_000),
        }
    }

    /// Ended with `code` at `second`.
    pub fn exited(code: i32, second: i64) -> SeenState {
        let reason = if code == 0 { "Completed" } else { "Error" };
        SeenState::Exited(Exit {
            code,
            reason: reason.into(),
            message: String::new(),
            started_at: None,
            finished_at: at(second * 1_000_000_000),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{container, exited, running, sandbox};
    use super::*;

    #[test]
    fn pods_that_ended_came_or_went_between_two_listings_are_found() {
        let pod = |state: SeenState| SeenPod {
            sandboxes: vec![sandbox("s", 0, true)],
            containers: vec![container("c1", "c", "s", 0, state)],
        };
        let of = |pods: &[(&str, SeenState)]| -> HashMap<String, SeenPod> {
            let pods = pods.iter().cloned();
            pods.map(|(uid, state)| (uid.to_owned(), pod(state))).collect()
        };
        let before = of(&[("same", running()), ("ended", running()), ("gone", running())]);
        let now = of(&[("same", running()), ("ended", exited(1, 5)), ("new", running())]);
        let mut found: Vec<&str> = changed(&before, &now).collect();
        found.sort_unstable();
        assert_eq!(found, ["ended", "gone", "new"]);
        assert_eq!(changed(&now, &now).count(), 0);
    }
}
