//! Another version of a control plane: manifest by manifest, each healthy before the next, and back if it does not become
//! so.
use crate::layout::{COMPONENTS, Layout};
use crate::{ClusterError, api, files, wait, yaml};
use kube::Client;
use orlop_api::conditions;
use orlop_oci::reference;
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

/// The image that a pod is to run.
pub fn image_of(pod: &Value) -> Option<&str> {
    pod["spec"]["containers"][0]["image"].as_str()
}

/// The version that a pod runs: its image's tag; `None` where the image is named by its digest alone.
pub fn version(pod: &Value) -> Option<&str> {
    image_of(pod).and_then(reference::tag)
}

/// Whether a pod of another manifest than `old` runs and is ready; what is still missing otherwise (pure).
pub fn replaced(pod: &Value, old: Option<&str>) -> Result<(), String> {
    match hash(pod) == old {
        true => Err("its mirror pod is still the old one".to_owned()),
        false => ready(pod),
    }
}

/// Whether the pod of the old manifest runs again and is ready; what is still missing otherwise (pure). Which it was may not
/// be known.
fn restored(pod: &Value, old: Option<&str>) -> Result<(), String> {
    match old.is_some() && hash(pod) != old {
        true => Err("its mirror pod is not the old one yet".to_owned()),
        false => ready(pod),
    }
}

/// Whether a pod runs an image and is ready; what is still missing otherwise (pure).
fn runs(pod: &Value, image: Option<&str>) -> Result<(), String> {
    match image.is_some() && image_of(pod) != image {
        true => Err("its mirror pod is still an old one".to_owned()),
        false => ready(pod),
    }
}

/// The image of a manifest.
fn image(manifest: &str) -> Option<String> {
    let manifest = yaml::read("a manifest", manifest).ok()?;
    let image = manifest.pointer("/spec/containers/0/image")?.as_str()?;
    Some(image.to_owned())
}

fn ready(pod: &Value) -> Result<(), String> {
    if conditions::is_true(pod, "Ready") {
        return Ok(());
    }
    let state = &pod["status"]["containerStatuses"][0]["state"];
    let reason = state["waiting"]["reason"]
        .as_str()
        .or(state["terminated"]["reason"].as_str())
        .unwrap_or("it is not ready yet");
    Err(reason.to_owned())
}

/// How far an upgrade is with a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Begun,
    Exchanged,
    /// Its manifest is the same.
    UpToDate,
    /// The old one is put back.
    TakenBack,
}

/// An upgrade of one node.
pub struct Step<'a> {
    pub layout: &'a Layout,
    pub client: &'a Client,
    pub node: &'a str,
    pub backup: &'a Path,
    /// How long each component may take.
    pub patience: Duration,
}

/// What was there before.
struct Old<'a> {
    component: &'a str,
    manifest: String,
    hash: Option<String>,
}

impl Step<'_> {
    /// Exchanges manifests of components, each healthy before the next.
    ///
    /// # Errors
    /// One does not become healthy: those exchanged so far are put back, the last first, and each is waited for.
    pub async fn exchange(
        &self,
        manifests: &[(&str, String)],
        told: impl Fn(&str, Progress),
    ) -> Result<(), ClusterError> {
        let mut exchanged = Vec::new();
        for (component, manifest) in manifests {
            told(component, Progress::Begun);
            match self.exchange_one(component, manifest, &mut exchanged).await {
                Ok(true) => told(component, Progress::Exchanged),
                Ok(false) => told(component, Progress::UpToDate),
                Err(error) if exchanged.is_empty() => return Err(error),
                Err(error) => return Err(self.take_back(component, error, exchanged, told).await),
            }
        }
        Ok(())
    }

    async fn exchange_one<'c>(
        &self,
        component: &'c str,
        manifest: &str,
        exchanged: &mut Vec<Old<'c>>,
    ) -> Result<bool, ClusterError> {
        let path = self.layout.manifest(component);
        let old = files::read(&path)?;
        if old == manifest {
            // A run that was cut short has left it so, perhaps before it was known to be well.
            let image = image(manifest);
            let what = format!(
                "{component} of {} has this version's manifest, and is not well",
                self.node
            );
            self.wait(component, &what, |pod| runs(pod, image.as_deref()))
                .await?;
            return Ok(false);
        }
        let pod = api::get_patiently(self.client, &pod_path(component, self.node)).await?;
        let old_hash = pod.as_ref().and_then(hash).map(str::to_owned);
        files::private_directory(self.backup)?;
        files::write_private(&self.kept(component), &old)?;
        exchanged.push(Old {
            component,
            manifest: old,
            hash: old_hash.clone(),
        });
        files::write_private(&path, manifest)?;
        let what = format!("{component} of {} has not been replaced", self.node);
        self.wait(component, &what, |pod| replaced(pod, old_hash.as_deref()))
            .await?;
        Ok(true)
    }

    /// Puts everything back; the whole story.
    async fn take_back(
        &self,
        failed: &str,
        error: ClusterError,
        exchanged: Vec<Old<'_>>,
        told: impl Fn(&str, Progress),
    ) -> ClusterError {
        let mut back = Vec::new();
        let mut troubles = Vec::new();
        for old in exchanged.iter().rev() {
            told(old.component, Progress::TakenBack);
            match self.put_back(old).await {
                Ok(()) => back.push(old.component),
                Err(trouble) => troubles.push(trouble.to_string()),
            }
        }
        let done = match (troubles.as_slice(), back.as_slice()) {
            ([], [_]) => "the old one is back".to_owned(),
            ([], all) => format!("the old ones of {} are back", all.join(", ")),
            (troubles, _) => format!(
                "not every old one is back and well: {} (their manifests are in {})",
                troubles.join("; "),
                self.backup.display()
            ),
        };
        ClusterError::Configuration(format!(
            "{failed} of the new version is not healthy, and {done}. What was wrong with the new one: {error}"
        ))
    }

    async fn put_back(&self, old: &Old<'_>) -> Result<(), ClusterError> {
        files::write_private(&self.layout.manifest(old.component), &old.manifest)?;
        let what = format!("the old {} of {} does not run again", old.component, self.node);
        self.wait(old.component, &what, |pod| restored(pod, old.hash.as_deref()))
            .await
    }

    fn kept(&self, component: &str) -> PathBuf {
        self.backup.join(format!("{component}.yaml"))
    }

    async fn wait(
        &self,
        component: &str,
        what: &str,
        judge: impl Fn(&Value) -> Result<(), String>,
    ) -> Result<(), ClusterError> {
        let path = pod_path(component, self.node);
        let hint = "see `orlop ps -a` and its log";
        wait::until(what, self.patience, hint, async || {
            match api::get(self.client, &path).await {
                Ok(Some(pod)) => judge(&pod),
                Ok(None) => Err("it has no mirror pod".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }
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
        assert!(restored(&pod("new", "True", ""), Some("old")).is_err());
        assert_eq!(restored(&pod("old", "True", ""), Some("old")), Ok(()));
        assert_eq!(restored(&pod("any", "True", ""), None), Ok(()));
        let image = image("spec: {containers: [{image: \"a:v2\"}]}\n");
        assert_eq!(image.as_deref(), Some("a:v2"));
        assert!(runs(&pod("any", "True", ""), image.as_deref()).is_err());
        let mut fresh = pod("any", "True", "");
        fresh["spec"] = json!({"containers": [{"image": "a:v2"}]});
        assert_eq!(runs(&fresh, image.as_deref()), Ok(()));
    }

    #[test]
    fn a_pods_version_is_its_images_tag_whatever_pins_it() {
        for (image, want) in [
            ("registry.k8s.io/kube-apiserver:v1.33.0", Some("v1.33.0")),
            (
                "registry.k8s.io/kube-apiserver:v1.33.0@sha256:0123",
                Some("v1.33.0"),
            ),
            ("registry.k8s.io/kube-apiserver@sha256:0123", None),
            ("localhost:5000/kube-apiserver@sha256:0123", None),
            ("localhost:5000/kube-apiserver", None),
            ("localhost:5000/kube-apiserver:v1.33.0", Some("v1.33.0")),
        ] {
            let pod = json!({"spec": {"containers": [{"image": image}]}});
            assert_eq!(version(&pod), want, "{image}");
        }
        assert_eq!(version(&json!({})), None);
    }

    /// Upgrades a node whose agent shows at once what is in its manifests, well unless that says otherwise. What it ended
    /// with, what was told, and what the manifests are then.
    async fn upgraded(fresh: &[(&str, &str)]) -> (Result<(), ClusterError>, Vec<String>, Vec<String>) {
        upgraded_from("old", fresh).await
    }

    async fn upgraded_from(
        present: &str,
        fresh: &[(&str, &str)],
    ) -> (Result<(), ClusterError>, Vec<String>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        for component in components() {
            files::write_private(&layout.manifest(component), present).unwrap();
        }
        let of_agent = layout.clone();
        let client = crate::testing::api(move |_, path| {
            let component = path.rsplit('/').next().unwrap().trim_end_matches("-n1");
            let manifest = files::read(&of_agent.manifest(component)).unwrap();
            let ready = if manifest.contains("ill") { "False" } else { "True" };
            let pod = json!({
                "metadata": {"annotations": {HASH: manifest}},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            });
            (200, pod)
        })
        .await;
        let step = Step {
            layout: &layout,
            client: &client,
            node: "n1",
            backup: &layout.at("/backup"),
            patience: Duration::ZERO,
        };
        let fresh: Vec<(&str, String)> = fresh
            .iter()
            .map(|(name, text)| (*name, (*text).to_owned()))
            .collect();
        let told = std::cell::RefCell::new(Vec::new());
        let outcome = step
            .exchange(&fresh, |component, progress| {
                told.borrow_mut().push(format!("{component} {progress:?}"));
            })
            .await;
        let manifests = components().map(|component| files::read(&layout.manifest(component)).unwrap());
        (outcome, told.into_inner(), manifests.collect())
    }

    #[tokio::test]
    async fn components_are_exchanged_one_after_the_other() {
        let (outcome, told, manifests) =
            upgraded(&[("kube-apiserver", "new"), ("kube-scheduler", "old")]).await;
        outcome.unwrap();
        assert_eq!(manifests, ["new", "old", "old"]);
        assert_eq!(
            told,
            [
                "kube-apiserver Begun",
                "kube-apiserver Exchanged",
                "kube-scheduler Begun",
                "kube-scheduler UpToDate"
            ]
        );
    }

    /// A run that was killed while it waited has not found out whether the new one is well.
    #[tokio::test]
    async fn what_an_earlier_run_exchanged_must_be_well_too() {
        let (outcome, told, _) = upgraded_from("ill", &[("kube-apiserver", "ill")]).await;
        let error = outcome.unwrap_err().to_string();
        assert!(
            error.contains("has this version's manifest, and is not well"),
            "{error}"
        );
        assert_eq!(told, ["kube-apiserver Begun"]);
    }

    #[tokio::test]
    async fn all_that_was_exchanged_is_put_back_the_last_first() {
        let (outcome, told, manifests) = upgraded(&[
            ("kube-apiserver", "new"),
            ("kube-controller-manager", "new"),
            ("kube-scheduler", "new but ill"),
        ])
        .await;
        let error = outcome.unwrap_err().to_string();
        assert!(
            error
                .contains("the old ones of kube-scheduler, kube-controller-manager, kube-apiserver are back"),
            "{error}"
        );
        assert!(
            error.contains("kube-scheduler of n1 has not been replaced"),
            "{error}"
        );
        assert_eq!(manifests, ["old", "old", "old"]);
        assert_eq!(
            told[5..],
            [
                "kube-scheduler TakenBack",
                "kube-controller-manager TakenBack",
                "kube-apiserver TakenBack"
            ]
        );
    }
}
