//! Which versions go together, as kubeadm's and Kubernetes' policies on version skew have it (pure). This program is what
//! kubeadm is there, and its node agent is of the same version.
use serde_json::Value;

/// How many minor versions a node agent may be older than the API servers that it asks.
const AGENT_OLDER_MAX: u32 = 3;
/// How many minor versions a control plane may be older than the program that makes or changes it.
const CONTROL_PLANE_OLDER_MAX: u32 = 1;

/// `v1.36.0` as numbers, for comparing.
pub fn numbers(version: &str) -> Option<[u32; 3]> {
    let front = version.strip_prefix('v')?.split(['-', '+', '_']).next()?;
    let mut words = front.split('.').map(str::parse);
    let numbers = [words.next()?.ok()?, words.next()?.ok()?, words.next()?.ok()?];
    words.next().is_none().then_some(numbers)
}

/// Major and minor version, which is what policies are about.
pub(crate) fn minor(version: &str) -> Option<(u32, u32)> {
    numbers(version).map(|[major, minor, _]| (major, minor))
}

/// Whether it is one that is tried before it is released.
fn is_unstable(version: &str) -> bool {
    version.contains('-')
}

fn no_version(version: &str) -> String {
    format!("{version:?} is no version such as v1.36.0")
}

/// What stands against a control plane that is made, or changed, by a program of version `own`.
fn control_plane_complaint(version: &str, own: &str) -> Option<String> {
    let (Some(wanted), Some(known)) = (minor(version), minor(own)) else {
        return Some(no_version(version));
    };
    if wanted > known {
        return Some(format!(
            "this orlop is {own} and knows nothing of {version}: install a newer one first"
        ));
    }
    (wanted.0 != known.0 || wanted.1 + CONTROL_PLANE_OLDER_MAX < known.1)
        .then(|| format!("this orlop is {own}, which is too new for a control plane of {version}"))
}

/// What stands against a node whose agent is of version `own` in a cluster of another.
fn agent_complaint(version: &str, own: &str) -> Option<String> {
    let (Some(cluster), Some(agent)) = (minor(version), minor(own)) else {
        return Some(no_version(version));
    };
    if agent > cluster {
        return Some(format!(
            "this node's agent would be {own}, newer than the API servers, which are {version}: upgrade the cluster, or install an orlop of its version"
        ));
    }
    (agent.0 != cluster.0 || agent.1 + AGENT_OLDER_MAX < cluster.1).then(|| {
        format!(
            "this node's agent would be {own}, too old for API servers of {version}: install a newer orlop"
        )
    })
}

/// What stands against making a cluster of a version, whose first master this node is: kubeadm's names of the checks, and
/// why.
pub fn init_complaints(version: &str, own: &str) -> Vec<(&'static str, String)> {
    join_complaints(version, own, true)
}

/// The same of joining one. A master is to be of the cluster's version, for what it writes depends on it.
pub fn join_complaints(version: &str, own: &str, control_plane: bool) -> Vec<(&'static str, String)> {
    let plane = match control_plane {
        true => control_plane_complaint(version, own),
        false => None,
    };
    if let Some(why) = plane {
        return vec![("KubernetesVersion", why)];
    }
    let agent = agent_complaint(version, own).map(|why| ("KubeletVersion", why));
    agent.into_iter().collect()
}

/// Why this program can't bring a cluster from one version to another, if it can't. Versions that are not released yet must
/// be asked for.
pub fn upgrade_complaint(from: &str, to: &str, own: &str, with_unstable: bool) -> Option<String> {
    let (Some(old), Some(new)) = (numbers(from), numbers(to)) else {
        return Some(no_version(to));
    };
    if new < old || (new == old && is_unstable(to) && !is_unstable(from)) {
        return Some(format!("{to} is older than {from}: versions only go up"));
    }
    if new[0] != old[0] || new[1] > old[1] + 1 {
        return Some(format!(
            "{to} does not follow {from}: go one minor version at a time"
        ));
    }
    if is_unstable(to) && !with_unstable && to != from {
        return Some(format!(
            "{to} is not released yet: --allow-experimental-upgrades takes it all the same"
        ));
    }
    control_plane_complaint(to, own)
}

/// Nodes whose agents are too old for a version. Name and version.
pub fn agents_too_old<'a>(nodes: &'a Value, version: &str) -> Vec<(&'a str, &'a str)> {
    let Some((_, wanted)) = minor(version) else {
        return Vec::new();
    };
    let items = nodes["items"].as_array().into_iter().flatten();
    let agents = items.filter_map(|node| {
        let name = node["metadata"]["name"].as_str()?;
        Some((name, node["status"]["nodeInfo"]["kubeletVersion"].as_str()?))
    });
    agents
        .filter(|(_, now)| minor(now).is_some_and(|(_, now)| now + AGENT_OLDER_MAX < wanted))
        .collect()
}

/// Names with their versions, for people.
pub fn listed(all: &[(&str, &str)]) -> String {
    let words: Vec<String> = all
        .iter()
        .map(|(name, version)| format!("{name} ({version})"))
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// kubeadm's policy: a control plane of its own version or one minor version older; and Kubernetes': no node agent is newer
    /// than its API servers, nor more than three minor versions older.
    #[test]
    fn what_may_be_made_and_joined() {
        let checks = |complaints: Vec<(&'static str, String)>| -> Vec<&str> {
            complaints.into_iter().map(|(check, _)| check).collect()
        };
        let (plane, agent) = (vec!["KubernetesVersion"], vec!["KubeletVersion"]);
        let none = Vec::<&str>::new();
        for (version, init, master, worker) in [
            ("v1.36.0", &none, &none, &none),
            ("v1.36.9", &none, &none, &none),
            ("v1.35.2", &agent, &agent, &agent),
            ("v1.34.1", &plane, &plane, &agent),
            ("v1.37.0", &plane, &plane, &none),
            ("v1.39.0", &plane, &plane, &none),
            ("v1.40.0", &plane, &plane, &agent),
            ("v2.36.0", &plane, &plane, &agent),
            ("latest", &plane, &plane, &agent),
        ] {
            assert_eq!(checks(init_complaints(version, "v1.36.0")), *init, "{version}");
            assert_eq!(
                checks(join_complaints(version, "v1.36.0", true)),
                *master,
                "{version}"
            );
            assert_eq!(
                checks(join_complaints(version, "v1.36.0", false)),
                *worker,
                "{version}"
            );
        }
    }

    #[test]
    fn versions_go_up_one_minor_at_a_time() {
        for (from, to, want) in [
            ("v1.36.0", "v1.36.1", None),
            ("v1.35.0", "v1.36.0", None),
            ("v1.34.0", "v1.35.4", None),
            ("v1.36.0", "v1.36.0", None),
            ("v1.36.0-rc.1", "v1.36.0-rc.1", None),
            ("v1.36.0-rc.1", "v1.36.0", None),
            ("v1.36.0", "v1.36.0-rc.1", Some("older")),
            ("v1.36.0", "v1.36.1-rc.1", Some("--allow-experimental-upgrades")),
            ("v1.36.0", "v1.35.9", Some("older")),
            ("v1.36.0", "v1.37.0", Some("install a newer one first")),
            ("v1.33.0", "v1.34.0", Some("too new")),
            ("v1.36.0", "v1.38.0", Some("one minor version")),
            ("v1.36.0", "v2.0.0", Some("one minor version")),
            ("v1.36.0", "latest", Some("no version")),
        ] {
            let complaint = upgrade_complaint(from, to, "v1.36.0", false);
            assert_eq!(complaint.is_some(), want.is_some(), "{from} {to}: {complaint:?}");
            assert!(complaint.unwrap_or_default().contains(want.unwrap_or_default()));
        }
        assert_eq!(
            upgrade_complaint("v1.36.0", "v1.36.1-rc.1", "v1.36.0", true),
            None
        );
    }

    #[test]
    fn who_is_left_behind_is_named() {
        let node = |name: &str, version: &str| json!({"metadata": {"name": name}, "status": {"nodeInfo": {"kubeletVersion": version}}});
        let nodes = json!({"items": [node("a", "v1.33.0"), node("b", "v1.32.9"), node("c", "?")]});
        assert_eq!(listed(&agents_too_old(&nodes, "v1.36.0")), "b (v1.32.9)");
        assert!(agents_too_old(&json!({}), "v1.36.0").is_empty());
    }
}
