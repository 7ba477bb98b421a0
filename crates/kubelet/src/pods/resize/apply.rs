//! What to do so that running containers have what their pod was given. Pure.
use crate::pods::plan::{Kill, Which};
use crate::runtime::seen::{SeenContainer, SeenPod, SeenResources};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use orlop_api::pod::{init_containers, is_sidecar};
use orlop_api::quantity::{Amount, canonicalize};
use orlop_cri::v1;

/// One running container that does not have what it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which of the spec.
    pub which: Which,
    /// Its name.
    pub name: String,
    /// The runtime's id.
    pub id: String,
    /// What it has.
    pub had: SeenResources,
    /// What it was given.
    pub wanted: SeenResources,
    /// Its `resizePolicy` wants a new container for it.
    pub restarts: bool,
}

impl Change {
    /// The container's end, if it needs one.
    pub fn kill(&self) -> Option<Kill> {
        self.restarts.then(|| Kill {
            which: self.which,
            id: self.id.clone(),
            message: format!("Container {} resize requires restart", self.name),
            probe: None,
        })
    }

    /// The request to the runtime: only what a resize is about.
    pub fn request(&self) -> v1::UpdateContainerResourcesRequest {
        let (cpu_quota, cpu_period) = match (self.wanted.quota, self.had.quota) {
            (Some(quota), _) => quota,
            // Nothing said means nothing changed: that there is no limit any more has to be said.
            (None, Some((_, period))) => (-1, period),
            (None, None) => (0, 0),
        };
        v1::UpdateContainerResourcesRequest {
            container_id: self.id.clone(),
            linux: Some(v1::LinuxContainerResources {
                cpu_shares: self.wanted.shares,
                cpu_quota,
                cpu_period,
                memory_limit_in_bytes: self.wanted.memory.unwrap_or(0),
                ..v1::LinuxContainerResources::default()
            }),
            ..v1::UpdateContainerResourcesRequest::default()
        }
    }

    /// The new memory limit, if it is a smaller one.
    pub fn memory_lowered_to(&self) -> Option<i64> {
        self.wanted
            .memory
            .filter(|new| self.had.memory.is_none_or(|old| old > *new))
    }

    fn takes_more(&self) -> bool {
        let bytes = |resources: &SeenResources| resources.memory.unwrap_or(i64::MAX);
        self.wanted.shares > self.had.shares
            || time(&self.wanted) > time(&self.had)
            || bytes(&self.wanted) > bytes(&self.had)
    }
}

/// Thousandths of a core that the quota allows; without one more than any.
fn time(resources: &SeenResources) -> i64 {
    resources.quota.map_or(i64::MAX, |(quota, period)| {
        quota.saturating_mul(1000) / period.max(1)
    })
}

/// The changes, in the order in which they are to be made: what is given back comes first.
pub fn changes(
    pod: &Pod,
    seen: &SeenPod,
    had: impl Fn(&SeenContainer) -> Option<SeenResources>,
    wanted: impl Fn(&Container) -> SeenResources,
) -> Vec<Change> {
    let Some(spec) = pod.spec.as_ref() else {
        return Vec::new();
    };
    let sidecars = init_containers(spec).iter().enumerate();
    let sidecars = sidecars
        .filter(|(_, init)| is_sidecar(init))
        .map(|(index, init)| (Which::Init(index), init));
    let regular = spec.containers.iter().enumerate();
    let regular = regular.map(|(index, container)| (Which::Regular(index), container));
    let mut changes: Vec<Change> = sidecars
        .chain(regular)
        .filter_map(|(which, container)| {
            let running = seen.newest(&container.name).filter(|seen| seen.is_running())?;
            let (had, wanted) = (had(running)?, wanted(container));
            (had != wanted).then(|| Change {
                which,
                name: container.name.clone(),
                id: running.id.clone(),
                had,
                wanted,
                restarts: restarts(container, &had, &wanted),
            })
        })
        .collect();
    changes.sort_by_key(Change::takes_more);
    changes
}

fn restarts(container: &Container, had: &SeenResources, wanted: &SeenResources) -> bool {
    let policies = container.resize_policy.iter().flatten();
    let mut restarting = policies.filter(|policy| policy.restart_policy == "RestartContainer");
    restarting.any(|policy| match policy.resource_name.as_str() {
        "cpu" => (had.shares, had.quota) != (wanted.shares, wanted.quota),
        "memory" => had.memory != wanted.memory,
        _ => false,
    })
}

/// The same amounts in the form that statuses have.
pub fn canonical(mut resources: ResourceRequirements) -> ResourceRequirements {
    for quantity in [&mut resources.limits, &mut resources.requests]
        .into_iter()
        .flatten()
        .flat_map(|amounts| amounts.values_mut())
    {
        canonicalize(quantity);
    }
    resources
}

/// What a container has, for its status: what it was given, but for the numbers that are not in force.
pub fn in_force(container: &Container, actual: Option<&SeenResources>) -> ResourceRequirements {
    let mut resources = canonical(container.resources.clone().unwrap_or_default());
    let Some(actual) = actual else {
        return resources;
    };
    let mut limits = resources.limits.iter_mut().flatten();
    if let (Some((_, cpu)), Some(_)) = (limits.find(|(name, _)| *name == "cpu"), actual.quota) {
        *cpu = Amount::from_milli(time(actual)).to_quantity();
    }
    let mut limits = resources.limits.iter_mut().flatten();
    if let (Some((_, memory)), Some(bytes)) = (limits.find(|(name, _)| *name == "memory"), actual.memory) {
        *memory = Amount::from_bytes(bytes).to_quantity();
    }
    let mut requests = resources.requests.iter_mut().flatten();
    if let Some((_, cpu)) = requests
        .find(|(name, _)| *name == "cpu")
        .filter(|_| actual.shares > 2)
    {
        // Shares are rounded down from thousandths.
        let milli = actual.shares.saturating_mul(1000).div_euclid(1024);
        let exact = milli.saturating_mul(1024) / 1000 == actual.shares;
        *cpu = Amount::from_milli(if exact { milli } else { milli + 1 }).to_quantity();
    }
    resources
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::seen::testing::{container, exited, running, sandbox};
    use serde_json::json;

    fn numbers(shares: i64, quota: i64, memory: i64) -> SeenResources {
        SeenResources {
            shares,
            quota: (quota > 0).then_some((quota, 100_000)),
            memory: (memory > 0).then_some(memory),
        }
    }

    fn pod() -> Pod {
        let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
        let object = json!({"spec": {
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "grows"}, {"name": "shrinks", "resizePolicy": policy}, {"name": "ended"}]}});
        serde_json::from_value(object).unwrap()
    }

    fn seen() -> SeenPod {
        let running = |id: &str, name: &str| container(id, name, "s", 0, running());
        SeenPod {
            sandboxes: vec![sandbox("s", 0, true)],
            containers: vec![
                running("1", "i"),
                running("2", "s"),
                running("3", "grows"),
                running("4", "shrinks"),
                container("5", "ended", "s", 0, exited(0, 1)),
            ],
        }
    }

    #[test]
    fn what_is_given_back_comes_first_and_what_does_not_run_is_left() {
        let had = |_: &SeenContainer| Some(numbers(512, 50_000, 64));
        let wanted = |container: &Container| match container.name.as_str() {
            "grows" => numbers(1024, 50_000, 64),
            "shrinks" => numbers(512, 40_000, 64),
            "s" => numbers(512, 50_000, 64),
            _ => numbers(2, 0, 0),
        };
        let changes = changes(&pod(), &seen(), had, wanted);
        let order: Vec<_> = changes
            .iter()
            .map(|change| (&*change.name, change.restarts))
            .collect();
        // Processors alone need no new container, whatever the policy for memory.
        assert_eq!(order, [("shrinks", false), ("grows", false)]);
        assert_eq!(changes[0].kill(), None);
        let request = changes[0].request();
        let linux = request.linux.unwrap();
        assert_eq!(
            (
                request.container_id.as_str(),
                linux.cpu_shares,
                linux.cpu_quota,
                linux.memory_limit_in_bytes
            ),
            ("4", 512, 40_000, 64)
        );
    }

    #[test]
    fn policy_restarts_for_its_own_resource() {
        let had = |_: &SeenContainer| Some(numbers(2, 0, 64));
        let wanted = |container: &Container| match container.name.as_str() {
            "shrinks" => numbers(2, 0, 32),
            _ => numbers(2, 0, 64),
        };
        let changes = changes(&pod(), &seen(), had, wanted);
        assert_eq!(changes.len(), 1);
        let kill = changes[0].kill().unwrap();
        assert_eq!(kill.message, "Container shrinks resize requires restart");
        assert_eq!(changes[0].memory_lowered_to(), Some(32));
    }

    #[test]
    fn runtime_that_tells_nothing_changes_nothing() {
        assert_eq!(changes(&pod(), &seen(), |_| None, |_| numbers(2, 0, 64)), []);
    }

    #[test]
    fn limit_that_is_gone_is_said_to_be() {
        let change = Change {
            which: Which::Regular(0),
            name: "c".into(),
            id: "1".into(),
            had: numbers(2, 50_000, 0),
            wanted: numbers(2, 0, 0),
            restarts: false,
        };
        assert_eq!(change.request().linux.unwrap().cpu_quota, -1);
    }

    #[test]
    fn status_shows_what_is_in_force_beside_what_was_given() {
        let given: Container = serde_json::from_value(json!({"name": "c", "resources": {
            "limits": {"cpu": "1000m", "memory": "128Mi"}, "requests": {"cpu": "250m", "memory": "64Mi"}}}))
        .unwrap();
        let shown = |actual: Option<&SeenResources>| {
            let resources = in_force(&given, actual);
            serde_json::to_value(resources).unwrap()
        };
        assert_eq!(
            shown(None),
            json!({"limits": {"cpu": "1", "memory": "128Mi"}, "requests": {"cpu": "250m", "memory": "64Mi"}})
        );
        let actual = SeenResources {
            shares: 102,
            quota: Some((50_000, 100_000)),
            memory: Some(96 << 20),
        };
        assert_eq!(
            shown(Some(&actual)),
            json!({"limits": {"cpu": "500m", "memory": "96Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}})
        );
        assert_eq!(
            in_force(&Container::default(), None),
            ResourceRequirements::default()
        );
    }
}
