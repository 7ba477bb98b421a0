//! Claims: the volume that a persistentVolumeClaim, or the claim of an ephemeral volume, is bound to.
//!
//! What lies on the node itself is mounted: hostPath and local volumes. Everything else has a driver, and none is asked here.
use super::ownership::{self, FsGroup};
use super::{Fault, Mounted, host_path, mount_options, table};
use crate::environment::objects::{FetchError, read};
use crate::whole::gone;
use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodSpec, Volume,
};
use kube::{Api, Client};
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::statvfs;
use orlop_api::placement;
use orlop_api::pod::{name, namespace, uid};
use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

/// Below a pod's `volumes`.
pub const LOCAL: &str = "kubernetes.io~local-volume";
/// What follows the name of a pod's volume in the mark of its being ready: names have no underscores.
const MARK: &str = "_ready";

/// A claim that a volume of a pod names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    name: String,
    read_only: bool,
    /// It was made for this pod, and is nobody else's.
    is_own: bool,
}

/// Where a claim leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The PersistentVolume's name.
    volume: String,
    source: Source,
    /// By the pod or by the volume's options.
    read_only: bool,
    options: mount_options::Change,
}

#[derive(Clone, Debug, PartialEq)]
enum Source {
    HostPath(HostPathVolumeSource),
    Local(PathBuf),
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

impl Bound {
    /// Makes it ready as the volume called `as_volume` of the pod whose directory is given. Touches what may hang: not for
    /// async code.
    pub(super) fn mount(
        &self,
        pod: &Path,
        as_volume: &str,
        group: Option<FsGroup>,
    ) -> Result<Mounted, Fault> {
        let path = match &self.source {
            Source::HostPath(source) => {
                host_path::check(source)?;
                PathBuf::from(&source.path)
            }
            Source::Local(path) => self.bind(pod, as_volume, path, group)?,
        };
        Ok(Mounted::At {
            path,
            read_only: self.read_only,
        })
    }

    fn bind(
        &self,
        pod: &Path,
        as_volume: &str,
        path: &Path,
        group: Option<FsGroup>,
    ) -> Result<PathBuf, Fault> {
        let place = self.place();
        let (at, marks) = (point(pod, &place), marks(pod, &place));
        let mark = marks.join(format!("{as_volume}{MARK}"));
        let is_mounted =
            table::is_mount_point(&at).map_err(Fault::io("cannot tell what is mounted on", &at))?;
        if is_mounted && mark.exists() {
            return Ok(at);
        }
        if !is_mounted {
            // Those of a mount that is gone, as after the machine has started again, say nothing of the next.
            gone(std::fs::remove_dir_all(&marks)).map_err(Fault::io("cannot remove", &marks))?;
        }
        if marked(&marks).is_empty() {
            self.make_ready(pod, path, (&at, is_mounted), group)?;
        }
        std::fs::create_dir_all(&marks)
            .and_then(|()| std::fs::write(&mark, b""))
            .map_err(Fault::io("cannot create", &mark))?;
        Ok(at)
    }

    /// Mounts it, unless it is, and does all that follows.
    fn make_ready(
        &self,
        pod: &Path,
        path: &Path,
        (at, is_mounted): (&Path, bool),
        group: Option<FsGroup>,
    ) -> Result<(), Fault> {
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(Fault::Invalid(format!(
                "the path {} must not contain '..'",
                path.display()
            )));
        }
        let kind = match std::fs::metadata(path) {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Fault::Invalid(format!(
                    "path {:?} does not exist",
                    path.display().to_string()
                )));
            }
            Err(error) => return Err(Fault::io("cannot look at", path)(error)),
        };
        if kind.is_block_device() {
            return Err(Fault::Unsupported(format!(
                "local on the block device {}",
                path.display()
            )));
        }
        if !kind.is_dir() {
            return Err(Fault::Invalid(
                "only directory and block device are supported".to_owned(),
            ));
        }
        let is_in_use = self
            .is_used_by_others(pod)
            .map_err(Fault::io("cannot tell who else uses", path))?;
        // It may be mounted by an agent that ended before it was done.
        if !is_mounted {
            std::fs::create_dir_all(at).map_err(Fault::io("cannot create", at))?;
            let bound = mount(Some(path), at, None::<&str>, MsFlags::MS_BIND, None::<&str>);
            bound
                .map_err(std::io::Error::from)
                .map_err(Fault::io("cannot mount", at))?;
        }
        self.set_options(at)
            .and_then(|()| match group {
                // Whoever came first has given the files to a group; taking them away would shut them out.
                Some(group) if !self.read_only && !is_in_use => ownership::apply(at, group, false),
                _ => Ok(()),
            })
            .map_err(Fault::io("cannot prepare", at))
    }

    /// Flags of a bind mount take effect in a second step only.
    fn set_options(&self, at: &Path) -> std::io::Result<()> {
        if self.options == mount_options::Change::NONE {
            return Ok(());
        }
        let flags = self.options.on(statvfs(at)?.flags());
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags;
        Ok(mount(None::<&str>, at, None::<&str>, flags, None::<&str>)?)
    }

    /// Whether another pod of this node has it, ready to be used.
    fn is_used_by_others(&self, pod: &Path) -> std::io::Result<bool> {
        let pods = pod.parent().and_then(|pods| std::fs::read_dir(pods).ok());
        let others = pods.into_iter().flatten().flatten().map(|other| other.path());
        for other in others.filter(|other| other != pod) {
            for place in [self.volume.clone(), read_only_place(&self.volume)] {
                let is_ready = !marked(&marks(&other, &place)).is_empty();
                if is_ready && table::is_mount_point(&point(&other, &place))? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The directory that it is mounted in: a pod may have two volumes of one claim, one of which is read-only.
    fn place(&self) -> String {
        if self.read_only {
            read_only_place(&self.volume)
        } else {
            self.volume.clone()
        }
    }
}

/// No volume's name has an underscore.
fn read_only_place(volume: &str) -> String {
    format!("{volume}_ro")
}

fn point(pod: &Path, place: impl AsRef<Path>) -> PathBuf {
    pod.join("volumes").join(LOCAL).join(place)
}

/// Where the marks lie of the pod's volumes that are mounted in one place.
fn marks(pod: &Path, place: &str) -> PathBuf {
    pod.join("plugins").join(LOCAL).join(place)
}

/// Names of the volumes whose marks are in a directory: all is done of them that follows the mount.
fn marked(marks: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(marks).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| Some(name.strip_suffix(MARK)?.to_owned()))
        .collect()
}

/// Where those volumes of a pod are mounted that are local volumes of claims: by the volume's name. Only the agent's own
/// directories are looked at.
pub fn mounted(pod: &Path) -> BTreeMap<String, PathBuf> {
    let volumes = std::fs::read_dir(pod.join("plugins").join(LOCAL));
    let volumes = volumes.into_iter().flatten().flatten();
    let of_one = |directory: std::fs::DirEntry| {
        let at = point(pod, directory.file_name());
        let names = marked(&directory.path());
        names.into_iter().map(move |name| (name, at.clone()))
    };
    volumes.flat_map(of_one).collect()
}

#[cfg(test)]
mod tests;
