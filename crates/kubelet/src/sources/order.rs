//! `orlop.dev/after: etcd,other`: which static pods start only when others are ready. Pure.
use k8s_openapi::api::core::v1::Pod;
use orlop_api::pod::{name, namespace, node_name};

/// The annotation: names as in the manifests, of the pod's own namespace or as `namespace/name`.
pub const AFTER: &str = "orlop.dev/after";

/// The pods that this one waits for, as `(namespace, name with the node's suffix)`.
pub fn after(pod: &Pod) -> Vec<(String, String)> {
    let annotations = pod.metadata.annotations.as_ref();
    let text = annotations
        .and_then(|all| all.get(AFTER))
        .map_or("", String::as_str);
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let suffix = node_name(pod).to_lowercase();
    names
        .map(|given| {
            let (namespace, name) = given.split_once('/').unwrap_or((namespace(pod), given));
            (namespace.to_owned(), format!("{name}-{suffix}"))
        })
        .collect()
}

/// Whether `pod` is one of `names`.
fn is_one_of(pod: &Pod, names: &[(String, String)]) -> bool {
    let own =
        |(in_namespace, wanted): &(String, String)| namespace(pod) == in_namespace && name(pod) == wanted;
    names.iter().any(own)
}

/// Indices of pods that wait, directly or through others, for themselves.
pub fn in_a_cycle(pods: &[&Pod]) -> Vec<usize> {
    let waits: Vec<Vec<usize>> = pods
        .iter()
        .map(|pod| {
            let names = after(pod);
            let others = pods.iter().enumerate();
            others
                .filter(|(_, other)| is_one_of(other, &names))
                .map(|(index, _)| index)
                .collect()
        })
        .collect();
    let reaches_itself = |start: &usize| {
        let mut seen = vec![false; pods.len()];
        let mut waiting = waits[*start].clone();
        while let Some(next) = waiting.pop() {
            if next == *start {
                return true;
            }
            if !std::mem::replace(&mut seen[next], true) {
                waiting.extend(&waits[next]);
            }
        }
        false
    };
    (0..pods.len()).filter(reaches_itself).collect()
}

/// Indices of pods in the order in which they end: each wave holds those that nobody left starts after. Pods in a circle
/// end together, as they start.
pub fn reverse_waves(pods: &[&Pod]) -> Vec<Vec<usize>> {
    let circle = in_a_cycle(pods);
    let waits: Vec<Vec<(String, String)>> = pods
        .iter()
        .enumerate()
        .map(|(index, pod)| {
            if circle.contains(&index) {
                Vec::new()
            } else {
                after(pod)
            }
        })
        .collect();
    let mut left: Vec<usize> = (0..pods.len()).collect();
    let mut waves = Vec::new();
    while !left.is_empty() {
        let is_needed = |index: &usize| left.iter().any(|other| is_one_of(pods[*index], &waits[*other]));
        let (needed, wave): (Vec<usize>, Vec<usize>) = left.iter().copied().partition(is_needed);
        // No circle is left, so that there is always somebody whom nobody needs.
        if wave.is_empty() {
            waves.push(needed);
            break;
        }
        waves.push(wave);
        left = needed;
    }
    waves
}

/// The pods among `wanted` that `pod` has to wait for; those that aren't wanted hold nobody up, nor does a circle.
pub fn held_by<'a>(pod: &Pod, wanted: &[&'a Pod], is_ready: impl Fn(&Pod) -> bool) -> Vec<&'a Pod> {
    let names = after(pod);
    if names.is_empty() {
        return Vec::new();
    }
    let circle = in_a_cycle(wanted);
    let own = wanted
        .iter()
        .position(|other| orlop_api::pod::uid(other) == orlop_api::pod::uid(pod));
    if own.is_some_and(|own| circle.contains(&own)) {
        return Vec::new();
    }
    wanted
        .iter()
        .copied()
        .filter(|other| is_one_of(other, &names) && !is_ready(other))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(own: &str, after: &str) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": format!("{own}-n1"), "namespace": "kube-system", "uid": own,
                "annotations": {AFTER: after}},
            "spec": {"nodeName": "N1", "containers": []},
        }))
        .unwrap()
    }

    fn held(pod: &Pod, wanted: &[&Pod], ready: &[&str]) -> Vec<String> {
        let is_ready = |pod: &Pod| ready.contains(&orlop_api::pod::uid(pod));
        let held = held_by(pod, wanted, is_ready);
        held.iter()
            .map(|pod| orlop_api::pod::uid(pod).to_owned())
            .collect()
    }

    #[test]
    fn pod_waits_for_those_named_until_they_are_ready() {
        let (etcd, server) = (pod("etcd", ""), pod("server", "etcd, default/other,absent"));
        let wanted = [&etcd, &server];
        assert_eq!(held(&server, &wanted, &[]), ["etcd"]);
        assert_eq!(held(&server, &wanted, &["etcd"]), [""; 0]);
        assert_eq!(held(&etcd, &wanted, &[]), [""; 0]);
        assert_eq!(after(&server)[1], ("default".to_owned(), "other-n1".to_owned()));
    }

    #[test]
    fn pods_end_in_the_reverse_of_the_order_in_which_they_start() {
        let (etcd, server) = (pod("etcd", ""), pod("server", "etcd"));
        let (manager, web, a, b) = (
            pod("manager", "server"),
            pod("web", ""),
            pod("a", "b,etcd"),
            pod("b", "a"),
        );
        let all = [&etcd, &server, &manager, &web, &a, &b];
        assert_eq!(reverse_waves(&all), [vec![2, 3, 4, 5], vec![1], vec![0]]);
        assert!(reverse_waves(&[]).is_empty());
    }

    #[test]
    fn circle_holds_nobody_up_but_those_behind_it_wait() {
        let (a, b, c) = (pod("a", "b"), pod("b", "a"), pod("c", "a"));
        let wanted = [&a, &b, &c];
        assert_eq!(in_a_cycle(&wanted), [0, 1]);
        assert_eq!(held(&a, &wanted, &[]), [""; 0]);
        assert_eq!(held(&c, &wanted, &[]), ["a"]);
        assert_eq!(in_a_cycle(&[&pod("own", "own")]), [0]);
    }
}
