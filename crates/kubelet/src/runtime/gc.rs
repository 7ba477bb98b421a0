//! Which dead containers and sandboxes go (contract, node agent §19), and their going.
use super::seen::{SeenContainer, SeenPod};
use crate::config::DeadContainers;
use crate::pods::owners::Owners;
use jiff::{SignedDuration, Timestamp};
use orlop_cri::{CriError, RuntimeService};
use std::collections::{HashMap, HashSet};

/// What is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Container ids.
    pub containers: Vec<String>,
    /// Sandbox ids.
    pub sandboxes: Vec<String>,
}

/// What stays of ended containers, this time.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Records of each.
    of_each: usize,
    /// Those from before it go.
    since: Option<Timestamp>,
    /// Those from after it stay in any case.
    young_since: Timestamp,
}

/// What stays of the ended containers of these pods. Where there are too many on the node, fewer of each do, and then the
/// youngest.
pub fn kept(configured: &DeadContainers, pods: &[&SeenPod], now: Timestamp) -> Kept {
    let age_min = SignedDuration::try_from(configured.age_min).unwrap_or(SignedDuration::MAX);
    let mut kept = Kept {
        of_each: configured.of_each.unwrap_or(usize::MAX),
        since: None,
        young_since: now.saturating_sub(age_min).unwrap_or(Timestamp::MIN),
    };
    let Some(in_all) = configured.in_all else {
        return kept;
    };
    let dead = |kept: &Kept| -> Vec<(usize, String, Timestamp)> {
        let pods = pods.iter().enumerate();
        let all = pods.flat_map(|(pod, seen)| staying(seen, kept).map(move |found| (pod, found)));
        let stay = all.filter(|(_, (container, stays))| {
            *stays && container.exit().is_some() && container.created_at <= kept.young_since
        });
        stay.map(|(pod, (container, _))| (pod, container.name.clone(), container.created_at))
            .collect()
    };
    let found = dead(&kept);
    if found.len() <= in_all {
        return kept;
    }
    let containers: HashSet<(usize, &str)> =
        found.iter().map(|(pod, name, _)| (*pod, name.as_str())).collect();
    kept.of_each = kept.of_each.min((in_all / containers.len().max(1)).max(1));
    let mut times: Vec<Timestamp> = dead(&kept).into_iter().map(|(_, _, created)| created).collect();
    if times.len() > in_all {
        times.sort_unstable();
        kept.since = Some(times.get(times.len() - in_all).copied().unwrap_or(Timestamp::MAX));
    }
    kept
}

/// Of each container, newest first, whether its record stays: the newest of its name does, for by it the agent knows what
/// has been done, what runs, and of what ended as many as are kept. The last run that ended is asked about while the next
/// one runs, after the agent's restart too.
fn staying<'a>(seen: &'a SeenPod, kept: &'a Kept) -> impl Iterator<Item = (&'a SeenContainer, bool)> {
    let mut ended: HashMap<&str, usize> = HashMap::new();
    let mut names = HashSet::new();
    seen.containers.iter().map(move |container| {
        let newest = names.insert(container.name.as_str());
        if container.exit().is_none() {
            return (container, newest || container.is_running());
        }
        let count = ended.entry(container.name.as_str()).or_default();
        *count += 1;
        let is_young = container.created_at > kept.young_since;
        let is_old = kept.since.is_some_and(|since| container.created_at < since);
        (
            container,
            newest || is_young || (*count <= kept.of_each && !is_old),
        )
    })
}

/// Of a pod that is wanted, what is `kept` of its containers stays, with their sandboxes and the newest one. Of another
/// (`None`) nothing does.
pub fn garbage(seen: &SeenPod, kept: Option<&Kept>) -> Garbage {
    let mut garbage = Garbage::default();
    let mut kept_in = HashSet::new();
    let stay: Vec<bool> = match kept {
        Some(kept) => staying(seen, kept).map(|(_, stays)| stays).collect(),
        None => seen.containers.iter().map(SeenContainer::is_running).collect(),
    };
    for (container, stays) in seen.containers.iter().zip(stay) {
        if stays {
            kept_in.insert(container.sandbox_id.as_str());
        } else {
            garbage.containers.push(container.id.clone());
        }
    }
    for (index, sandbox) in seen.sandboxes.iter().enumerate() {
        let stays = sandbox.ready || (kept.is_some() && index == 0) || kept_in.contains(sandbox.id.as_str());
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
    use std::time::Duration;

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

    fn usual() -> Kept {
        kept(&DeadContainers::default(), &[], Timestamp::MAX)
    }

    /// A container that runs after so many ends, each record a second older than the next.
    fn often(name: &str, ends: u32) -> SeenPod {
        let run = |n: u32| {
            let state = if n == ends { running() } else { exited(1, 10) };
            container(&format!("{name}{n}"), name, "s", n, state)
        };
        SeenPod {
            sandboxes: vec![sandbox("s", 0, true)],
            containers: (0..=ends).rev().map(run).collect(),
        }
    }

    #[test]
    fn as_many_records_of_a_container_stay_as_the_flag_says() {
        for (of_each, gone) in [
            (-1, vec![]),
            (3, vec!["c1", "c0"]),
            (1, vec!["c3", "c2", "c1", "c0"]),
            (0, vec!["c4", "c3", "c2", "c1", "c0"]),
        ] {
            let seen = often("c", 5);
            let configured = DeadContainers::of_flags(of_each, -1, Duration::ZERO);
            let kept = kept(&configured, &[&seen], Timestamp::MAX);
            assert_eq!(garbage(&seen, Some(&kept)).containers, gone, "{of_each}");
        }
        let mut dead = often("c", 5);
        dead.containers[0].state = exited(0, 20);
        let none = DeadContainers::of_flags(0, 0, Duration::ZERO);
        let kept = kept(&none, &[&dead], Timestamp::MAX);
        let gone = garbage(&dead, Some(&kept)).containers;
        assert_eq!(
            gone,
            ["c4", "c3", "c2", "c1", "c0"],
            "the newest stays in any case"
        );
    }

    #[test]
    fn of_the_whole_nodes_records_fewer_of_each_and_then_the_youngest_stay() {
        let (many, few) = (often("m", 6), often("f", 2));
        let gone = |in_all: i32| {
            let configured = DeadContainers::of_flags(-1, in_all, Duration::ZERO);
            let kept = kept(&configured, &[&many, &few], Timestamp::MAX);
            [&many, &few].map(|seen| garbage(seen, Some(&kept)).containers)
        };
        let none: [&str; 0] = [];
        assert_eq!(gone(-1), [none, none]);
        assert_eq!(gone(8), [none, none]);
        // Two of each are as many as may stay.
        let two_each = gone(5);
        assert_eq!(two_each[0], ["m3", "m2", "m1", "m0"]);
        assert_eq!(two_each[1], none);
        // One of each is one too many.
        let one = gone(1);
        assert_eq!(one[0], ["m4", "m3", "m2", "m1", "m0"]);
        assert_eq!(one[1], ["f1", "f0"]);
        let nothing = gone(0);
        assert_eq!(nothing[0].len() + nothing[1].len(), 8);
    }

    #[test]
    fn young_records_stay_in_any_case() {
        let seen = often("c", 5);
        // Made in the seconds 0 to 5.
        let now = Timestamp::from_second(12).unwrap();
        let gone = |in_all| {
            let configured = DeadContainers::of_flags(1, in_all, Duration::from_secs(10));
            let kept = kept(&configured, &[&seen], now);
            garbage(&seen, Some(&kept)).containers
        };
        assert_eq!(gone(-1), ["c2", "c1", "c0"]);
        assert_eq!(gone(0), ["c2", "c1", "c0"]);
    }

    #[test]
    fn a24_g06_newest_record_of_each_container_and_of_its_last_end_stay() {
        let want = Garbage {
            containers: vec!["c1".into()],
            sandboxes: vec!["s1".into()],
        };
        assert_eq!(garbage(&pod(), Some(&usual())), want);
    }

    #[test]
    fn g06_of_a_container_that_does_not_run_one_record_stays() {
        let mut dead = pod();
        dead.containers[0].state = exited(1, 30);
        assert_eq!(garbage(&dead, Some(&usual())).containers, ["c2", "c1"]);
    }

    #[test]
    fn a_sandbox_stays_with_the_record_of_a_run_that_ended_in_it() {
        let mut renewed = pod();
        renewed.containers.retain(|container| container.id != "c2");
        assert_eq!(garbage(&renewed, Some(&usual())), Garbage::default());
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
        let found = garbage(&restarted, Some(&usual()));
        assert_eq!((found.containers.len(), found.sandboxes.len()), (7, 7));
        assert!(!found.containers.contains(&"c7".to_owned()) && !found.sandboxes.contains(&"s7".to_owned()));
    }

    #[test]
    fn a25_g06_nothing_stays_of_a_pod_that_is_gone() {
        let mut stopped = pod();
        stopped.sandboxes[0].ready = false;
        stopped.containers[0].state = exited(0, 30);
        let found = garbage(&stopped, None);
        assert_eq!((found.containers.len(), found.sandboxes.len()), (4, 2));
    }
}
