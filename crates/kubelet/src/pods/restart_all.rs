//! `RestartAllContainers`: a container whose end has all containers of its pod start anew, init containers first, in the
//! same sandbox (contract, node agent §8.1).
use super::decide::{Situation, Which};
use crate::runtime::seen::SeenContainer;
use k8s_openapi::api::core::v1::Container;
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

/// The container of this sandbox that has ended so, if one has and is not running again.
pub fn trigger<'a>(situation: &Situation<'a>, sandbox_id: &str) -> Option<Trigger<'a>> {
    let spec = situation.pod.spec.as_ref()?;
    let inits = init_containers(spec).iter().enumerate();
    let inits = inits.map(|(index, container)| (Which::Init(index), container));
    let regular = spec.containers.iter().enumerate();
    let regular = regular.map(|(index, container)| (Which::Regular(index), container));
    inits.chain(regular).find_map(|(which, container)| {
        let seen = situation.seen.newest_in(sandbox_id, &container.name)?;
        let exit = seen.exit()?;
        (action(container, exit.code) == Some("RestartAllContainers")).then_some(Trigger {
            which,
            container,
            seen,
        })
    })
}
