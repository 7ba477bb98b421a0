//! `RestartAllContainers`: a container whose end has all containers of its pod start anew, init containers first, in the
//! same sandbox (contract, node agent §8.1).
use super::plan::Which;
use crate::runtime::seen::{SeenContainer, SeenPod};
use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_api::pod::init_containers;

/// Whose end it was.
pub struct Trigger<'a> {
    pub which: Which,
    pub container: &'a Container,
    pub seen: &'a SeenContainer,
}

/// What the first of a container's rules that fits an exit code says; `None`: no rule does.
pub fn action(container: &Container, code: i32) -> Option<&str> {
    let rules = container.restart_policy_rules.iter().flatten();
    let fits = |rule: &&k8s_openapi::api::core::v1::ContainerRestartRule| {
        let Some(codes) = &rule.exit_codes else {
            return false;
        };
        let listed = codes.values.iter().flatten().any(|value| *value == code);
        listed != (codes.operator == "NotIn")
    };
    rules.into_iter().find(fits).map(|rule| rule.action.as_str())
}

/// What such a rule does.
const ACTION: &str = "RestartAllContainers";

/// Whether some container of the pod has such a rule.
pub fn may_happen(pod: &Pod) -> bool {
    let Some(spec) = pod.spec.as_ref() else {
        return false;
    };
    let mut containers = init_containers(spec).iter().chain(&spec.containers);
    containers.any(|container| {
        let mut rules = container.restart_policy_rules.iter().flatten();
        rules.any(|rule| rule.action == ACTION)
    })
}

/// The container of this sandbox that has ended so, if one has and is not running again.
pub fn ended<'a>(pod: &'a Pod, seen: &'a SeenPod, sandbox_id: &str) -> Option<Trigger<'a>> {
    let spec = pod.spec.as_ref()?;
    let inits = init_containers(spec).iter().enumerate();
    let inits = inits.map(|(index, container)| (Which::Init(index), container));
    let regular = spec.containers.iter().enumerate();
    let regular = regular.map(|(index, container)| (Which::Regular(index), container));
    inits.chain(regular).find_map(|(which, container)| {
        let seen = seen.newest_in(sandbox_id, &container.name)?;
        let exit = seen.exit()?;
        (action(container, exit.code) == Some(ACTION)).then_some(Trigger {
            which,
            container,
            seen,
        })
    })
}
