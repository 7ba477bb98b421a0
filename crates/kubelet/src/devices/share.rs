//! Which devices a pod's containers get. Pure.
use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_api::pod::{init_containers, is_sidecar};
use orlop_api::quantity::value;
use std::collections::BTreeSet;

/// What a container asks for of a resource.
pub fn wanted(container: &Container, resource: &str) -> usize {
    let limits = container.resources.as_ref().and_then(|own| own.limits.as_ref());
    let limit = limits.and_then(|limits| limits.get(resource)).map_or(0, value);
    usize::try_from(limit).unwrap_or(0)
}

/// A pod's containers in the order in which they start, with whether what they have is free again when they have ended.
pub fn in_order(pod: &Pod) -> impl Iterator<Item = (&Container, bool)> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| {
        let inits = init_containers(spec).iter().map(|init| (init, !is_sidecar(init)));
        inits.chain(spec.containers.iter().map(|container| (container, false)))
    })
}

/// A choice of devices for one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Of init containers that have ended by then: these first.
    pub again: Vec<String>,
    /// Of those that nobody has.
    pub free: Vec<String>,
    /// How many it is to get.
    pub size: usize,
}

impl Choice {
    /// Without a plugin that knows better: in order.
    pub fn usual(&self) -> Vec<String> {
        self.again
            .iter()
            .chain(&self.free)
            .take(self.size)
            .cloned()
            .collect()
    }

    /// As a plugin prefers, if that is a choice of these.
    pub fn preferred(&self, preferred: Vec<String>) -> Vec<String> {
        let chosen: BTreeSet<&String> = preferred.iter().collect();
        let known = |id: &&String| self.again.contains(id) || self.free.contains(id);
        let must = self.must_include();
        let is_one = chosen.len() == self.size
            && preferred.len() == self.size
            && chosen.iter().all(known)
            && must.iter().all(|id| chosen.contains(id));
        if is_one { preferred } else { self.usual() }
    }

    /// What it gets in any case.
    pub fn must_include(&self) -> Vec<String> {
        self.again.iter().take(self.size).cloned().collect()
    }
}

/// What a container can choose from: `healthy` devices less those that are `taken`; `again` are free for this pod.
/// `Err`: how many there are.
pub fn choice(
    size: usize,
    healthy: &BTreeSet<String>,
    taken: &BTreeSet<String>,
    again: &BTreeSet<String>,
) -> Result<Choice, usize> {
    let again: Vec<String> = again.iter().take(size).cloned().collect();
    let free: Vec<String> = healthy.difference(taken).cloned().collect();
    if again.len() + free.len() < size {
        return Err(free.len());
    }
    Ok(Choice { again, free, size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn devices_of_ended_init_containers_go_first_and_taken_ones_never() {
        let all = set(&["a", "b", "c", "d"]);
        let chosen = choice(2, &all, &set(&["a", "d"]), &set(&["d"])).unwrap();
        assert_eq!(chosen.usual(), ["d", "b"]);
        assert_eq!(chosen.must_include(), ["d"]);
        assert_eq!(choice(3, &all, &set(&["a", "d"]), &set(&[])), Err(2));
        assert_eq!(choice(1, &set(&[]), &set(&[]), &set(&[])), Err(0));
    }

    #[test]
    fn what_a_plugin_prefers_counts_where_it_is_a_choice() {
        let chosen = choice(2, &set(&["a", "b", "c", "x"]), &set(&["x"]), &set(&["x"])).unwrap();
        let prefer = |ids: &[&str]| chosen.preferred(ids.iter().map(ToString::to_string).collect());
        assert_eq!(prefer(&["c", "x"]), ["c", "x"]);
        for not_one in [&["b", "c"][..], &["x"], &["x", "x"], &["x", "y"]] {
            assert_eq!(prefer(not_one), ["x", "a"], "{not_one:?}");
        }
    }

    #[test]
    fn containers_start_in_order_and_only_those_that_end_give_back() {
        let container =
            |name: &str, count: &str| json!({"name": name, "resources": {"limits": {"a.io/x": count}}});
        let mut sidecar = container("s", "1");
        sidecar["restartPolicy"] = "Always".into();
        let pod: Pod =
            serde_json::from_value(json!({"spec": {"initContainers": [container("i", "2"), sidecar],
            "containers": [container("c", "3"), {"name": "d"}]}}))
            .unwrap();
        let found: Vec<_> = in_order(&pod)
            .map(|(container, ends)| (container.name.as_str(), wanted(container, "a.io/x"), ends))
            .collect();
        let expected = [("i", 2, true), ("s", 1, false), ("c", 3, false), ("d", 0, false)];
        assert_eq!(found, expected);
    }
}
