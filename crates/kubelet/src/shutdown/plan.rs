//! Which pods end when the node goes down, and how long they may take. Pure.
use crate::config::KubeletConfiguration;
use crate::pods::grace_of;
use crate::sources::order::reverse_waves;
use k8s_openapi::api::core::v1::Pod;
use orlop_api::annotations::SYSTEM_CRITICAL_PRIORITY;
use orlop_api::pod::is_static;
use std::sync::Arc;
use std::time::Duration;

/// A class of pods that end together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Of pods with this priority or more, up to the next phase's.
    pub priority: i32,
    /// How long it may take.
    pub period: Duration,
}

/// What is wrong with the configuration's periods.
pub fn check(configuration: &KubeletConfiguration) -> Result<(), String> {
    let whole = configuration.shutdown_grace_period.0;
    let critical = configuration.shutdown_grace_period_critical_pods.0;
    if critical > whole {
        return Err("shutdownGracePeriodCriticalPods must not be longer than shutdownGracePeriod".into());
    }
    for (field, period) in [
        ("shutdownGracePeriod", whole),
        ("shutdownGracePeriodCriticalPods", critical),
    ] {
        if !period.is_zero() && period < Duration::from_secs(1) {
            return Err(format!("{field} must be either zero or at least 1s"));
        }
    }
    let list = &configuration.shutdown_grace_period_by_pod_priority;
    if !list.is_empty() && (!whole.is_zero() || !critical.is_zero()) {
        return Err(
            "shutdownGracePeriodByPodPriority and shutdownGracePeriod cannot be used together: remove one"
                .into(),
        );
    }
    match list.iter().find(|entry| entry.shutdown_grace_period_seconds < 0) {
        Some(entry) => Err(format!(
            "shutdownGracePeriodByPodPriority: priority {} has a negative period",
            entry.priority
        )),
        None => Ok(()),
    }
}

/// The phases, from the least to the most important pods; none: shutdowns are not delayed.
pub fn phases(configuration: &KubeletConfiguration) -> Vec<Phase> {
    let whole = configuration.shutdown_grace_period.0;
    let critical = configuration.shutdown_grace_period_critical_pods.0;
    let mut phases: Vec<Phase> = if whole.is_zero() {
        let list = configuration.shutdown_grace_period_by_pod_priority.iter();
        list.map(|entry| Phase {
            priority: entry.priority,
            period: Duration::from_secs(u64::try_from(entry.shutdown_grace_period_seconds).unwrap_or(0)),
        })
        .collect()
    } else {
        let of = |priority, period| Phase { priority, period };
        vec![
            of(0, whole.saturating_sub(critical)),
            of(SYSTEM_CRITICAL_PRIORITY, critical),
        ]
    };
    phases.sort_by_key(|phase| phase.priority);
    if phases.iter().all(|phase| phase.period.is_zero()) {
        phases.clear();
    }
    phases
}

/// The pods of each phase, in waves: one ends when that before it has ended. Static pods end in the reverse of the
/// order in which `orlop.dev/after` has them start. Pods of less importance than any phase's belong to the first one.
pub fn groups(phases: &[Phase], pods: Vec<Arc<Pod>>) -> Vec<Vec<Vec<Arc<Pod>>>> {
    let mut grouped: Vec<Vec<Arc<Pod>>> = vec![Vec::new(); phases.len()];
    for pod in pods {
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        let phase = phases.iter().rposition(|phase| phase.priority <= priority);
        if let Some(group) = grouped.get_mut(phase.unwrap_or(0)) {
            group.push(pod);
        }
    }
    grouped.into_iter().map(waves).collect()
}

fn waves(pods: Vec<Arc<Pod>>) -> Vec<Vec<Arc<Pod>>> {
    let (statics, mut others): (Vec<_>, Vec<_>) = pods.into_iter().partition(|pod| is_static(pod));
    let refs: Vec<&Pod> = statics.iter().map(AsRef::as_ref).collect();
    let mut waves: Vec<Vec<Arc<Pod>>> = reverse_waves(&refs)
        .into_iter()
        .map(|wave| wave.into_iter().map(|index| statics[index].clone()).collect())
        .collect();
    match waves.first_mut() {
        Some(first) => first.append(&mut others),
        None if others.is_empty() => {}
        None => waves.push(others),
    }
    waves
}

/// The grace of a pod, in seconds, of whose phase so much is left.
pub fn grace(pod: &Pod, left: Duration) -> i64 {
    let left = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
    grace_of(pod).min(left).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{GoDuration, PriorityPeriod};

    fn configuration(whole: u64, critical: u64, list: &[(i32, i64)]) -> KubeletConfiguration {
        let seconds = |seconds| GoDuration(Duration::from_secs(seconds));
        let list = list.iter().map(|(priority, seconds)| PriorityPeriod {
            priority: *priority,
            shutdown_grace_period_seconds: *seconds,
        });
        KubeletConfiguration {
            shutdown_grace_period: seconds(whole),
            shutdown_grace_period_critical_pods: seconds(critical),
            shutdown_grace_period_by_pod_priority: list.collect(),
            ..KubeletConfiguration::default()
        }
    }

    fn pod(own: &str, priority: Option<i32>, after: Option<&str>) -> Arc<Pod> {
        let mut object = serde_json::json!({
            "metadata": {"name": format!("{own}-n1"), "namespace": "default", "uid": own, "annotations": {}},
            "spec": {"nodeName": "n1", "containers": [], "terminationGracePeriodSeconds": 120},
        });
        if let Some(priority) = priority {
            object["spec"]["priority"] = priority.into();
        }
        if let Some(after) = after {
            object["metadata"]["annotations"] =
                serde_json::json!({"orlop.dev/after": after, "kubernetes.io/config.source": "file"});
        }
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn seen(phases: &[Phase], pods: Vec<Arc<Pod>>) -> Vec<Vec<Vec<String>>> {
        let names = |wave: Vec<Arc<Pod>>| {
            wave.iter()
                .map(|pod| orlop_api::pod::uid(pod).to_owned())
                .collect()
        };
        let of_phase = |waves: Vec<Vec<Arc<Pod>>>| waves.into_iter().map(names).collect();
        groups(phases, pods).into_iter().map(of_phase).collect()
    }

    #[test]
    fn a54_critical_pods_end_after_the_others_with_their_share_of_the_time() {
        let phases = phases(&configuration(20, 10, &[]));
        let ten = Duration::from_secs(10);
        let periods: Vec<_> = phases
            .iter()
            .map(|phase| (phase.priority, phase.period))
            .collect();
        assert_eq!(periods, [(0, ten), (2_000_000_000, ten)]);
        let pods = vec![
            pod("web", None, None),
            pod("node", Some(2_000_001_000), None),
            pod("batch", Some(-5), None),
        ];
        assert_eq!(
            seen(&phases, pods),
            [
                [["web", "batch"].map(String::from).to_vec()],
                [vec!["node".into()]]
            ]
        );
        assert_eq!(grace(&pod("web", None, None), ten), 10);
        assert_eq!(grace(&pod("web", None, None), Duration::from_secs(500)), 120);
        assert_eq!(grace(&pod("web", None, None), Duration::ZERO), 1);
    }

    #[test]
    fn a57_a_class_name_without_its_number_counts_as_none() {
        let phases = phases(&configuration(20, 10, &[]));
        let mut by_name = Pod::clone(&pod("by-name", None, Some("")));
        by_name.spec.as_mut().unwrap().priority_class_name = Some("system-node-critical".into());
        let pods = vec![Arc::new(by_name), pod("by-number", Some(2_000_001_000), Some(""))];
        assert_eq!(
            seen(&phases, pods),
            [[vec!["by-name".to_owned()]], [vec!["by-number".into()]]]
        );
    }

    #[test]
    fn a56_phases_run_from_the_lowest_to_the_highest_class() {
        let phases = phases(&configuration(0, 0, &[(1000, 20), (-10, 5), (100_000, 10)]));
        let order: Vec<i32> = phases.iter().map(|phase| phase.priority).collect();
        assert_eq!(order, [-10, 1000, 100_000]);
        let pods = vec![
            pod("high", Some(200_000), None),
            pod("low", Some(0), None),
            pod("lowest", Some(-100), None),
            pod("mid", Some(1000), None),
        ];
        let want: [Vec<Vec<&str>>; 3] = [vec![vec!["low", "lowest"]], vec![vec!["mid"]], vec![vec!["high"]]];
        assert_eq!(seen(&phases, pods), want);
    }

    #[test]
    fn static_pods_end_in_the_reverse_of_their_order() {
        let phases = phases(&configuration(20, 0, &[]));
        let pods = vec![
            pod("etcd", None, Some("")),
            pod("server", None, Some("etcd")),
            pod("web", None, None),
            pod("controllers", None, Some("server")),
        ];
        let want: [Vec<Vec<&str>>; 2] = [
            vec![vec!["controllers", "web"], vec!["server"], vec!["etcd"]],
            vec![],
        ];
        assert_eq!(seen(&phases, pods), want);
    }

    #[test]
    fn shutdowns_are_delayed_only_if_asked_for_and_bad_periods_are_refused() {
        assert!(phases(&configuration(0, 0, &[])).is_empty());
        assert!(phases(&configuration(0, 0, &[(0, 0)])).is_empty());
        for (bad, word) in [
            (configuration(5, 10, &[]), "shutdownGracePeriodCriticalPods"),
            (configuration(5, 0, &[(0, 1)]), "together"),
            (configuration(0, 0, &[(7, -1)]), "priority 7"),
        ] {
            let error = check(&bad).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        let mut short = configuration(0, 0, &[]);
        short.shutdown_grace_period = GoDuration(Duration::from_millis(500));
        assert!(check(&short).unwrap_err().contains("at least 1s"));
    }
}
