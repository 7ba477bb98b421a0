//! Claims: the volume that a persistentVolumeClaim, or the claim of an ephemeral volume, is bound to.
//!
//! What lies on the node itself is mounted: hostPath and local volumes. Everything else has a driver, and none is asked here.
mod bound;

pub use bound::{Bound, LOCAL, mounted};

use super::{Fault, mount_options};
use crate::environment::objects::{FetchError, read};
use bound::Source;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, PodSpec, Volume};
use kube::{Api, Client};
use orlop_api::placement;
use orlop_api::pod::{name, namespace, uid};
use std::path::PathBuf;

/// A claim that a volume of a pod names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    name: String,
    read_only: bool,
    /// It was made for this pod, and is nobody else's.
    is_own: bool,
}

impl Claim {
    /// Of a volume, if it is one of a claim.
    pub fn of(pod: &Pod, volume: &Volume) -> Option<Self> {
        if let Some(source) = &volume.persistent_volume_claim {
            return Some(Self {
                name: source.claim_name.clone(),
                read_only: source.read_only == Some(true),
                is_own: false,
            });
        }
        volume.ephemeral.as_ref().map(|_| Self {
            name: format!("{}-{}", name(pod), volume.name),
            read_only: false,
            is_own: true,
        })
    }

    /// Asks the API server where the claim leads to.
    pub async fn follow(&self, client: Option<&Client>, pod: &Pod) -> Result<Bound, Fault> {
        const RESOURCE: &str = "persistentvolumeclaim";
        let Some(client) = client else {
            return Err(Fault::Object(FetchError::Standalone {
                resource: RESOURCE,
                name: self.name.clone(),
            }));
        };
        let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace(pod));
        let claim = read(RESOURCE, &self.name, claims.get(&self.name)).await?;
        let refused = |why: String| {
            Fault::Invalid(format!(
                "error processing PVC {}/{}: {why}",
                namespace(pod),
                self.name
            ))
        };
        let bound_to = self.bound_to(&claim, pod).map_err(refused)?;
        let volumes = Api::<PersistentVolume>::all(client.clone());
        let volume = read("persistentvolume", &bound_to, volumes.get(&bound_to)).await?;
        let bound = self.lead(&claim, &volume)?;
        if is_confined(&volume) {
            let own = pod
                .spec
                .as_ref()
                .and_then(|spec| spec.node_name.as_deref())
                .unwrap_or_default();
            let node = read("node", own, Api::<Node>::all(client.clone()).get(own)).await?;
            if !is_reachable_from(&volume, &node) {
                return Err(Fault::Invalid(format!(
                    "no matching NodeSelectorTerms: the volume {bound_to} can't be reached from node {own}"
                )));
            }
        }
        Ok(bound)
    }

    /// The name of the volume that a claim has, if a pod may use it.
    fn bound_to(&self, claim: &PersistentVolumeClaim, pod: &Pod) -> Result<String, String> {
        let owners = claim.metadata.owner_references.iter().flatten();
        let of_pod = |uid_of_owner: &str| uid_of_owner == uid(pod);
        if self.is_own
            && !owners
                .clone()
                .any(|o| o.controller == Some(true) && of_pod(&o.uid))
        {
            return Err(format!(
                "PVC was not created for pod {}/{} (pod is not owner)",
                namespace(pod),
                name(pod)
            ));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return Err("PVC is being deleted".to_owned());
        }
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
        match volume.filter(|volume| !volume.is_empty()) {
            Some(volume) if phase == Some("Bound") => Ok(volume),
            _ => Err("PVC is not bound".to_owned()),
        }
    }

    /// What the volume is, if it is the claim's and can be mounted here.
    fn lead(&self, claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Result<Bound, Fault> {
        let called = volume.metadata.name.clone().unwrap_or_default();
        let spec = volume.spec.as_ref();
        let holder = spec.and_then(|spec| spec.claim_ref.as_ref());
        let uid_of = |uid: Option<&String>| uid.cloned().unwrap_or_default();
        let (wanted, found) = (
            uid_of(claim.metadata.uid.as_ref()),
            uid_of(holder.and_then(|holder| holder.uid.as_ref())),
        );
        if wanted != found {
            return Err(Fault::Invalid(format!(
                "PersistentVolume {called} belongs to the claim with uid {found:?}, not to {} with {wanted:?}",
                self.name
            )));
        }
        if spec.and_then(|spec| spec.volume_mode.as_deref()) == Some("Block") {
            return Err(Fault::Invalid(format!(
                "volume {called} has volumeMode Block, but is specified in volumeMounts"
            )));
        }
        let source = if let Some(source) = spec.and_then(|spec| spec.host_path.clone()) {
            Source::HostPath(source)
        } else if let Some(source) = spec.and_then(|spec| spec.local.as_ref()) {
            Source::Local(PathBuf::from(&source.path))
        } else {
            return Err(Fault::Unsupported(format!(
                "{} (PersistentVolume {called})",
                type_of(volume)
            )));
        };
        let given = mount_options::given(volume);
        let mut options = match (&source, given.first()) {
            (Source::HostPath(_), Some(option)) => {
                // It isn't mounted, so that nothing could be told of the mount.
                return Err(Fault::Invalid(format!(
                    "mount option {option:?} of {called}: hostPath volumes have no mount options"
                )));
            }
            _ => mount_options::Change::of(given)?,
        };
        if self.read_only {
            options = options.read_only();
        }
        Ok(Bound {
            volume: called,
            source,
            read_only: options.is_read_only(),
            options,
        })
    }

    /// Its name, which is that of the object.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The first volume that some container wants as a block device.
pub(super) fn first_device(spec: &PodSpec) -> Option<String> {
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let mut devices = containers.flat_map(|container| container.volume_devices.iter().flatten());
    devices.next().map(|device| device.name.clone())
}

/// The field that says what a volume is, and of one of CSI, whose.
fn type_of(volume: &PersistentVolume) -> String {
    const OTHERS: [&str; 3] = ["capacity", "claimRef", "nodeAffinity"];
    if let Some(csi) = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref()) {
        return format!("csi of {}", csi.driver);
    }
    let spec = serde_json::to_value(&volume.spec).unwrap_or_default();
    let mut fields = spec.as_object().into_iter().flatten();
    let source = fields.find(|(name, value)| value.is_object() && !OTHERS.contains(&name.as_str()));
    source.map_or_else(|| "(none given)".to_owned(), |(name, _)| name.clone())
}

fn terms(volume: &PersistentVolume) -> Option<&[k8s_openapi::api::core::v1::NodeSelectorTerm]> {
    let affinity = volume.spec.as_ref()?.node_affinity.as_ref()?;
    Some(&affinity.required.as_ref()?.node_selector_terms)
}

/// Whether it matters which node asks.
fn is_confined(volume: &PersistentVolume) -> bool {
    terms(volume).is_some()
}

fn is_reachable_from(volume: &PersistentVolume, node: &Node) -> bool {
    terms(volume).is_none_or(|terms| terms.iter().any(|term| placement::term_matches(term, node)))
}

#[cfg(test)]
mod tests;
