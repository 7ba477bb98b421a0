//! Which dead containers and sandboxes go (contract, node agent §19), and their going.
use super::seen::SeenPod;
use crate::pods::owners::Owners;
use orlop_cri::{CriError, RuntimeService};
use std::collections::HashSet;

/// What is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Container ids.
    pub containers: Vec<String>,
    /// Sandbox ids.
    pub sandboxes: Vec<String>,
}

/// Of a pod that is wanted, the newest record of each container stays and that of its last run that ended, which is asked
/// about while the next one runs, after the agent's restart too; and the newest sandbox. Of another nothing does.
pub fn garbage(seen: &SeenPod, wanted: bool) -> Garbage {
    let (mut names, mut ended) = (HashSet::new(), HashSet::new());
    let mut garbage = Garbage::default();
    let mut kept_in = HashSet::new();
    for container in &seen.containers {
        let newest = names.insert(container.name.as_str());
        let last_ended = container.exit().is_some() && ended.insert(container.name.as_str());
        if container.is_running() || (wanted && (newest || last_ended)) {
            kept_in.insert(container.sandbox_id.as_str());
        } else {
            garbage.containers.push(container.id.clone());
        }
    }
    for (index, sandbox) in seen.sandboxes.iter().enumerate() {
        let stays = sandbox.ready || (wanted && index == 0) || kept_in.contains(sandbox.id.as_str());
        if !stays {
            garbage.sandboxes.push(sandbox.id.clone());
        }
    }
    garbage
}

/// Removes it. What fails is tried again at the next round; the first failure is told. Sandboxes that were stopped just
/// now are not stopped once more: each time the network's plugins run.
pub async fn remove(
    runtime: &dyn RuntimeService,
    owners: &Owners,
    garbage: &Garbage,
    stopped: &HashSet<String>,
) -> Result<(), CriError> {
    let mut outcome = Ok(());
    for id in &garbage.containers {
        match runtime.remove_container(id).await {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(container = id, %error, "cannot remove a dead container");
                outcome = outcome.and(Err(error));
            }
            _ => owners.forget(id),
        }
    }
    for id in &garbage.sandboxes {
        let outcome_of_stop = if stopped.contains(id) {
            Ok(())
        } else {
            // One that is not ready may still hold its network.
            runtime.stop_pod_sandbox(id).await
        };
        let removed = match outcome_of_stop {
            Err(error) if !error.is_not_found() => Err(error),
            _ => runtime.remove_pod_sandbox(id).await,
        };
        match removed {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(sandbox = id, %error, "cannot remove a sandbox");
                outcome = outcome.and(Err(error));
            }
            _ => owners.forget(id),
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::seen::testing::{container, exited, running, sandbox};

    fn pod() -> SeenPod {
        SeenPod {
            sandboxes: vec![sandbox("s2", 1, true), sandbox("s1", 0, false)],
            containers: vec![
                container("c3", "c", "s2", 2, running()),
                container("c2", "c", "s2", 1, exited(1, 20)),
                container("i1", "i", "s2", 0, exited(0, 5)),
                container("c1", "c", "s1", 0, exited(1, 10)),
            ],
        }
    }

    #[test]
    fn a24_g06_newest_record_of_each_container_and_of_its_last_end_stay() {
        let want = Garbage {
            containers: vec!["c1".into()],
            sandboxes: vec!["s1".into()],
        };
        assert_eq!(garbage(&pod(), true), want);
    }

    #[test]
    fn g06_of_a_container_that_does_not_run_one_record_stays() {
        let mut dead = pod();
        dead.containers[0].state = exited(1, 30);
        assert_eq!(garbage(&dead, true).containers, ["c2", "c1"]);
    }

    #[test]
    fn a_sandbox_stays_with_the_record_of_a_run_that_ended_in_it() {
        let mut renewed = pod();
        renewed.containers.retain(|container| container.id != "c2");
        assert_eq!(garbage(&renewed, true), Garbage::default());
    }

    /// Each end in a sandbox of its own, as when a machine is started again and again.
    #[test]
    fn however_often_a_container_ends_two_records_stay_with_their_sandboxes() {
        let restarted = SeenPod {
            sandboxes: (0..9)
                .rev()
                .map(|n| sandbox(&format!("s{n}"), n, n == 8))
                .collect(),
            containers: (0..9)
                .rev()
                .map(|n| {
                    let state = if n == 8 { running() } else { exited(1, 10) };
                    container(&format!("c{n}"), "c", &format!("s{n}"), n, state)
                })
                .collect(),
        };
        let found = garbage(&restarted, true);
        assert_eq!((found.containers.len(), found.sandboxes.len()), (7, 7));
        assert!(!found.containers.contains(&"c7".to_owned()) && !found.sandboxes.contains(&"s7".to_owned()));
    }

    #[test]
    fn a25_g06_nothing_stays_of_a_pod_that_is_gone() {
        let mut stopped = pod();
        stopped.sandboxes[0].ready = false;
        stopped.containers[0].state = exited(0, 30);
        let found = garbage(&stopped, false);
        assert_eq!((found.containers.len(), found.sandboxes.len()), (4, 2));
    }
}
