//! Another version of a control plane: manifest by manifest, each healthy before the next, and back if it does not become
//! so.
use crate::layout::{COMPONENTS, Layout};
use crate::{ClusterError, api, files, wait};
use kube::Client;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

const HASH: &str = "kubernetes.io/config.hash";

/// What an upgrade exchanges; etcd keeps its version.
pub fn components() -> impl Iterator<Item = &'static str> {
    COMPONENTS.into_iter().filter(|component| *component != "etcd")
}

/// The static pod of a component on a node.
pub fn pod_path(component: &str, node: &str) -> String {
    format!("/api/v1/namespaces/kube-system/pods/{component}-{node}")
}

/// Which manifest a mirror pod is of.
pub fn hash(pod: &Value) -> Option<&str> {
    pod["metadata"]["annotations"][HASH].as_str()
}

/// The version that a pod runs: its image's tag.
pub fn version(pod: &Value) -> Option<&str> {
    let image = pod["spec"]["containers"][0]["image"].as_str()?;
    image.rsplit_once(':').map(|(_, tag)| tag)
}

/// Whether a pod of another manifest than `old` runs and is ready; what is still missing otherwise (pure).
pub fn replaced(pod: &Value, old: Option<&str>) -> Result<(), String> {
    if hash(pod) == old {
        return Err("its mirror pod is still the old one".to_owned());
    }
    let conditions = pod["status"]["conditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let ready = conditions
        .iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    if ready {
        return Ok(());
    }
    let state = &pod["status"]["containerStatuses"][0]["state"];
    let reason = state["waiting"]["reason"]
        .as_str()
        .or(state["terminated"]["reason"].as_str())
        .unwrap_or("it is not ready yet");
    Err(reason.to_owned())
}

/// One step of an upgrade.
pub struct Step<'a> {
    pub layout: &'a Layout,
    pub client: &'a Client,
    pub node: &'a str,
    pub backup: &'a Path,
    pub patience: Duration,
}

impl Step<'_> {
    /// Exchanges the manifest of a component. `false` if it is the same.
    ///
    /// # Errors
    /// The new one does not become healthy: the old one is back, and healthy again or waited for in vain.
    pub async fn exchange(&self, component: &str, manifest: &str) -> Result<bool, ClusterError> {
        let path = self.layout.manifest(component);
        let old = files::read(&path)?;
        if old == manifest {
            return Ok(false);
        }
        let pod = api::get(self.client, &pod_path(component, self.node))
            .await?
            .unwrap_or_default();
        let old_hash = hash(&pod).map(str::to_owned);
        files::private_directory(self.backup)?;
        files::write_private(&self.kept(component), &old)?;
        files::write_private(&path, manifest)?;
        let Err(error) = self.wait(component, old_hash.as_deref()).await else {
            return Ok(true);
        };
        let broken = api::get(self.client, &pod_path(component, self.node))
            .await
            .ok()
            .flatten();
        let broken_hash = broken.as_ref().and_then(hash).map(str::to_owned);
        files::write_private(&path, &old)?;
        // Never taken up: nothing has to be waited for.
        if broken_hash != old_hash {
            self.wait(component, broken_hash.as_deref()).await?;
        }
        Err(ClusterError::Configuration(format!(
            "{component} of the new version is not healthy, and the old one is back: {error}"
        )))
    }

    fn kept(&self, component: &str) -> PathBuf {
        self.backup.join(format!("{component}.yaml"))
    }

    async fn wait(&self, component: &str, old: Option<&str>) -> Result<(), ClusterError> {
        let what = format!("{component} of {} has not been replaced", self.node);
        let path = pod_path(component, self.node);
        wait::until(
            &what,
            self.patience,
            "see `orlop ps -a` and its log",
            async || match api::get(self.client, &path).await {
                Ok(Some(pod)) => replaced(&pod, old),
                Ok(None) => Err("it has no mirror pod".to_owned()),
                Err(error) => Err(error.to_string()),
            },
        )
        .await
    }
}

/// `v1.36.0` as numbers, for comparing.
pub fn numbers(version: &str) -> Option<[u32; 3]> {
    let front = version.strip_prefix('v')?.split(['-', '+', '_']).next()?;
    let mut words = front.split('.').map(str::parse);
    let numbers = [words.next()?.ok()?, words.next()?.ok()?, words.next()?.ok()?];
    words.next().is_none().then_some(numbers)
}

/// Why one version can't follow another, if it can't (pure).
pub fn complaint(from: &str, to: &str) -> Option<String> {
    let (Some(old), Some(new)) = (numbers(from), numbers(to)) else {
        return Some(format!("{to:?} is no version such as v1.36.0"));
    };
    if new < old {
        return Some(format!("{to} is older than {from}: versions only go up"));
    }
    (new[0] != old[0] || new[1] > old[1] + 1)
        .then(|| format!("{to} does not follow {from}: go one minor version at a time"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_component_is_replaced_when_another_manifests_pod_is_ready() {
        let pod = |hash: &str, ready: &str, reason: &str| {
            json!({
                "metadata": {"annotations": {HASH: hash}},
                "status": {
                    "conditions": [{"type": "Ready", "status": ready}],
                    "containerStatuses": [{"state": {"waiting": {"reason": reason}}}],
                },
            })
        };
        assert!(
            replaced(&pod("old", "True", ""), Some("old"))
                .unwrap_err()
                .contains("old one")
        );
        assert_eq!(
            replaced(&pod("new", "False", "ErrImagePull"), Some("old")),
            Err("ErrImagePull".to_owned())
        );
        assert_eq!(replaced(&pod("new", "True", ""), Some("old")), Ok(()));
        assert!(replaced(&json!({}), Some("old")).is_err());
    }

    #[test]
    fn versions_go_up_one_minor_at_a_time() {
        for (from, to, want) in [
            ("v1.36.0", "v1.36.1", None),
            ("v1.36.0", "v1.37.0", None),
            ("v1.36.0", "v1.36.0", None),
            ("v1.36.0", "v1.35.9", Some("older")),
            ("v1.36.0", "v1.38.0", Some("one minor version")),
            ("v1.36.0", "v2.0.0", Some("one minor version")),
            ("v1.36.0", "latest", Some("no version")),
        ] {
            let complaint = complaint(from, to);
            assert_eq!(complaint.is_some(), want.is_some(), "{to}");
            assert!(complaint.unwrap_or_default().contains(want.unwrap_or_default()));
        }
    }
}
