//! What is read of a bundle's `config.json`.

use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::HashMap;
use std::path::Path;

/// Which containers share a shim: those of one pod.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// What CRI's containers are: a `sandbox` or a `container` in one.
const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";

#[derive(Debug, Default, Deserialize)]
pub struct Spec {
    #[serde(default)]
    annotations: HashMap<String, String>,
    #[serde(default)]
    linux: Linux,
    #[serde(default)]
    hooks: Option<GivenHooks>,
}

#[derive(Debug, Default, Deserialize)]
struct GivenHooks {
    poststart: Option<Vec<IgnoredAny>>,
    poststop: Option<Vec<IgnoredAny>>,
}

/// Which programs are to be run about a container, when that is more than it itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hooks {
    pub after_start: bool,
    pub after_end: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Linux {
    #[serde(default)]
    namespaces: Vec<Namespace>,
    #[serde(default, rename = "cgroupsPath")]
    cgroups_path: String,
}

#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

impl Spec {
    pub fn of_bundle(bundle: &Path) -> std::io::Result<Self> {
        let file = std::fs::read(bundle.join("config.json"))?;
        Ok(serde_json::from_slice(&file)?)
    }

    /// The container whose shim is this one's too.
    pub fn group(&self) -> Option<&str> {
        GROUPS
            .iter()
            .find_map(|name| self.annotations.get(*name))
            .map(String::as_str)
    }

    /// Whether it is the container that holds a pod's namespaces open.
    pub fn is_sandbox(&self) -> bool {
        let kind = self.annotations.get(CONTAINER_TYPE);
        kind.is_some_and(|kind| kind == "sandbox")
    }

    /// What runc is to run after the container's start and end.
    pub fn hooks(&self) -> Hooks {
        let given = self.hooks.as_ref();
        let any = |hooks: Option<&Vec<IgnoredAny>>| hooks.is_some_and(|hooks| !hooks.is_empty());
        Hooks {
            after_start: any(given.and_then(|hooks| hooks.poststart.as_ref())),
            after_end: any(given.and_then(|hooks| hooks.poststop.as_ref())),
        }
    }

    /// Whether systemd is to make its cgroup: the path is then `slice:prefix:name`.
    pub fn has_systemd_cgroup(&self) -> bool {
        let path = &self.linux.cgroups_path;
        let parts: Vec<&str> = path.split(':').collect();
        matches!(&*parts, [slice, _, _] if slice.is_empty() || slice.ends_with(".slice"))
    }

    /// Whether its processes end with its first one. In a namespace of others the kernel doesn't see to that.
    pub fn has_own_pids(&self) -> bool {
        self.linux
            .namespaces
            .iter()
            .any(|namespace| namespace.kind == "pid" && namespace.path.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_path_says_who_makes_it() {
        for (path, is_systemd) in [
            ("kubepods-pod1.slice:cri-containerd:abc", true),
            (":cri-containerd:abc", true),
            ("/kubepods/pod1/abc", false),
            ("/odd:path:here", false),
            ("", false),
        ] {
            let json = format!(r#"{{"linux":{{"cgroupsPath":"{path}"}}}}"#);
            let spec: Spec = serde_json::from_str(&json).unwrap();
            assert_eq!(spec.has_systemd_cgroup(), is_systemd, "{path}");
        }
    }

    #[test]
    fn hooks_after_start_and_end_are_read() {
        for (json, after_start, after_end) in [
            ("{}", false, false),
            (r#"{"hooks":null}"#, false, false),
            (
                r#"{"hooks":{"prestart":[{"path":"/p"}],"poststart":[],"poststop":null}}"#,
                false,
                false,
            ),
            (r#"{"hooks":{"poststart":[{"path":"/p"}]}}"#, true, false),
            (
                r#"{"hooks":{"poststop":[{"path":"/p","args":["p"]}]}}"#,
                false,
                true,
            ),
        ] {
            let spec: Spec = serde_json::from_str(json).unwrap();
            assert_eq!(
                spec.hooks(),
                Hooks {
                    after_start,
                    after_end
                },
                "{json}"
            );
        }
    }

    #[test]
    fn sandboxes_are_told_from_containers() {
        for (kind, is_sandbox) in [("sandbox", true), ("container", false), ("", false)] {
            let json = format!(r#"{{"annotations":{{"io.kubernetes.cri.container-type":"{kind}"}}}}"#);
            let spec: Spec = serde_json::from_str(&json).unwrap();
            assert_eq!(spec.is_sandbox(), is_sandbox, "{kind}");
        }
        assert!(!Spec::default().is_sandbox());
    }

    #[test]
    fn pod_and_pid_namespace_are_read() {
        for (json, group, has_own_pids) in [
            ("{}", None, false),
            (r#"{"linux":{"namespaces":[{"type":"pid"}]}}"#, None, true),
            (
                r#"{"linux":{"namespaces":[{"type":"pid","path":"/proc/1/ns/pid"},{"type":"ipc"}]}}"#,
                None,
                false,
            ),
            (
                r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"s"},"process":{"args":["a"]}}"#,
                Some("s"),
                false,
            ),
            (
                r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"s","io.containerd.runc.v2.group":"g"}}"#,
                Some("g"),
                false,
            ),
        ] {
            let spec: Spec = serde_json::from_str(json).unwrap();
            assert_eq!(spec.group(), group, "{json}");
            assert_eq!(spec.has_own_pids(), has_own_pids, "{json}");
        }
    }
}
