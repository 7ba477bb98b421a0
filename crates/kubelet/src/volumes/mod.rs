//! What a pod mounts: set up, handed to containers, and taken down (contract, node agent §13.1, §15).
//!
//! | part | job |
//! |---|---|
//! | `host_path`, `empty_dir`, `config_map`, `secret`, `downward_api`, `projected` | one type of volume each |
//! | `claim` | what a claim is bound to, if it lies on the node |
//! | `mount_options` | what a claim's volume says of its mount |
//! | `image` | what the runtime mounts itself |
//! | `atomic` | a volume's files, swapped as a whole |
//! | `watched` | tells when a configMap or secret in use changes |
//! | `due` | pods that have to be looked at again, now or at a time |
//! | `refresh` | what a pod that runs sees, brought up to date, and what is new in it |
//! | `token` | service account tokens and their renewal |
//! | `mounts`, `sub_path` | what a container gets of it |
//! | `fault` | why something isn't there |
//! | `table`, `removal` | what is mounted, unmounting it, and removing what lay under it |
//!
//! Paths follow from the pod's uid, and what is mounted is read from the kernel. Where a claim led to is remembered while its
//! pod lives: it is bound for good, and one that is being deleted must not keep its pod's containers from starting again.
mod atomic;
pub mod claim;
mod config_map;
mod directory;
mod downward_api;
pub mod due;
mod empty_dir;
#[cfg(test)]
pub(crate) mod fake_api;
mod fault;
mod host_path;
pub mod image;
mod keys;
mod mount_options;
mod mounts;
mod objects;
mod ownership;
mod projected;
mod refresh;
mod removal;
mod secret;
#[cfg(test)]
mod shared_machine;
mod sub_path;
mod table;
#[cfg(test)]
mod tests;
mod token;
mod watched;

use crate::environment::local::LocalObjects;
use crate::environment::objects::Shelf;
use crate::environment::resource::ThisNode;
use crate::metrics::Storage;
use directory::Plugin;
use due::Due;
pub use fault::{Fault, VolumeError};
pub use mounts::container_path as mount_path;
use refresh::RETRY_AFTER;
pub use refresh::is_followed;
pub use table::{is_mount_point, mounts_below, unmount_all, unmount_new_below};

use k8s_openapi::api::core::v1::{Container, HostPathVolumeSource, Pod, PodSpec, Volume};
use objects::Objects;
use orlop_api::pod::{name, namespace, uid};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use token::Tokens;
use watched::Watched;

/// What of a pod's directory volumes are, in the order in which it is taken down.
const PARTS: [(&str, table::Content); 3] = [
    ("volume-subpaths", mounts::SUB_PATHS),
    ("volumes", table::Content::OfPod),
    ("plugins", table::Content::OfPod),
];

/// A volume that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mounted {
    At {
        path: PathBuf,
        read_only: bool,
    },
    /// An image, which the runtime mounts.
    Image {
        /// Why it can't mount a part of it.
        no_parts: Option<String>,
    },
}

/// Where the volumes of a pod are; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct VolumeMap(Arc<BTreeMap<String, Mounted>>);

/// Sets volumes up and takes them down.
pub struct Volumes {
    root: PathBuf,
    client: Option<kube::Client>,
    local: Option<LocalObjects>,
    /// What the runtime can't do with images.
    lacks: image::Lacks,
    /// What stands in for limits that containers do not have.
    node: ThisNode,
    watched: Watched,
    tokens: Tokens,
    due: Due,
    storage: Storage,
    /// Where claims of pods lead to, by pod and volume.
    claims: Mutex<HashMap<String, BTreeMap<String, claim::Bound>>>,
}

impl Volumes {
    /// `root` is `/var/lib/kubelet`; `due` is told of pods whose volumes have to be set up again.
    pub fn new(root: PathBuf, client: Option<kube::Client>, due: Due) -> Self {
        let watched = Watched::new(client.clone(), due.clone());
        let tokens = Tokens::new(client.clone(), due.clone());
        Self {
            root,
            client,
            local: None,
            lacks: image::Lacks::default(),
            node: ThisNode::default(),
            watched,
            tokens,
            due,
            storage: Storage::default(),
            claims: Mutex::default(),
        }
    }

    /// Image volumes are refused as far as the runtime lacks something.
    pub fn lacking(mut self, lacks: image::Lacks) -> Self {
        self.lacks = lacks;
        self
    }

    /// Says there how long setting up and taking down takes.
    pub fn timed(mut self, storage: Storage) -> Self {
        self.storage = storage;
        self
    }

    /// For a node that keeps something back from pods.
    pub fn on(mut self, node: ThisNode) -> Self {
        self.node = node;
        self
    }

    /// Static pods may use what lies on the node, if it is given.
    pub fn with_local(mut self, local: Option<LocalObjects>) -> Self {
        self.local = local;
        self
    }

    /// Sets up what the containers of a pod mount before it starts. The first volume that can't be had ends it: the pod
    /// waits for all of them.
    pub async fn setup(&self, pod: &Pod) -> Result<VolumeMap, VolumeError> {
        let Some(spec) = pod.spec.as_ref() else {
            return Ok(VolumeMap::default());
        };
        check_uid(uid(pod))?;
        if let Some(volume) = claim::first_device(spec) {
            // Without it the container would find nothing where its device should be.
            let reason = Fault::Unsupported("persistentVolumeClaim (as a block device)".to_owned());
            return Err(VolumeError::SetUp { volume, reason });
        }
        let mut ready = BTreeMap::new();
        for volume in used(spec) {
            let mounted = self.setup_one(pod, volume).await.map_err(failed(volume))?;
            ready.insert(volume.name.clone(), mounted);
        }
        Ok(VolumeMap(Arc::new(ready)))
    }

    async fn setup_one(&self, pod: &Pod, volume: &Volume) -> Result<Mounted, Fault> {
        let began = Instant::now();
        let outcome = self.mount(pod, volume).await;
        if let Some(plugin) = plugin(volume) {
            self.storage.mounted(plugin, outcome.is_ok(), began.elapsed());
        }
        outcome
    }

    async fn mount(&self, pod: &Pod, volume: &Volume) -> Result<Mounted, Fault> {
        if let Some(source) = &volume.host_path {
            check_host_path(source).await?;
            return Ok(Mounted::At {
                path: PathBuf::from(&source.path),
                read_only: false,
            });
        }
        if volume.image.is_some() {
            return match &self.lacks.whole {
                None => Ok(Mounted::Image {
                    no_parts: self.lacks.parts.clone(),
                }),
                Some(reason) => Err(Fault::Invalid(reason.clone())),
            };
        }
        let directory = self.pod_directory(uid(pod));
        if let Some(claim) = claim::Claim::of(pod, volume) {
            let bound = self.bound(pod, volume, &claim).await?;
            let group = ownership::FsGroup::of(pod);
            let name = volume.name.clone();
            return on_a_thread(move || bound.mount(&directory, &name, group)).await;
        }
        if let Some(source) = &volume.empty_dir {
            let path = empty_dir::setup(pod, &volume.name, source, &directory, &self.node)?;
            return Ok(Mounted::At {
                path,
                read_only: false,
            });
        }
        let objects = Objects {
            shelf: Shelf::of(pod, self.client.as_ref(), self.local.as_ref()),
            watched: &self.watched,
            uid: uid(pod),
            namespace: namespace(pod),
        };
        let (plugin, files) = if let Some(source) = &volume.config_map {
            (Plugin::ConfigMap, config_map::files(source, &objects).await)
        } else if let Some(source) = &volume.secret {
            (Plugin::Secret, secret::files(source, &objects).await)
        } else if let Some(source) = &volume.downward_api {
            (Plugin::DownwardApi, downward_api::files(source, pod, &self.node))
        } else if let Some(source) = &volume.projected {
            (
                Plugin::Projected,
                projected::files(source, pod, &volume.name, &objects, &self.tokens, &self.node).await,
            )
        } else {
            return Err(Fault::Unsupported(type_of(volume)));
        };
        let path = directory::wrapped(&directory, plugin, &volume.name, ownership::FsGroup::of(pod))?;
        match files {
            Ok(files) => {
                let owner = ownership::FsGroup::of(pod);
                if atomic::write(&path, &files, owner).map_err(Fault::io("cannot write", &path))? {
                    tracing::info!(
                        pod = name(pod),
                        namespace = namespace(pod),
                        uid = uid(pod),
                        volume = volume.name,
                        "volume written"
                    );
                }
            }
            // A pod keeps what it has while the API server is away.
            Err(fault) if fault.is_unreachable() && atomic::is_written(&path) => {
                tracing::warn!(pod = name(pod), namespace = namespace(pod), volume = volume.name, %fault, "volume kept as it is");
                self.due.remind(uid(pod), RETRY_AFTER);
            }
            Err(fault) => return Err(fault),
        }
        Ok(Mounted::At {
            path,
            read_only: true,
        })
    }

    async fn bound(&self, pod: &Pod, volume: &Volume, claim: &claim::Claim) -> Result<claim::Bound, Fault> {
        let known = |claims: &HashMap<String, BTreeMap<_, claim::Bound>>| {
            claims.get(uid(pod))?.get(&volume.name).cloned()
        };
        if let Some(bound) = known(&self.claims.lock()) {
            return Ok(bound);
        }
        let bound = claim.follow(self.client.as_ref(), pod).await?;
        let mut claims = self.claims.lock();
        let of_pod = claims.entry(uid(pod).to_owned()).or_default();
        of_pod.insert(volume.name.clone(), bound.clone());
        Ok(bound)
    }

    /// What a container mounts of the pod's volumes, with `env` for `subPathExpr`.
    pub async fn mounts(
        &self,
        pod: &Pod,
        container: &Container,
        volumes: &VolumeMap,
        env: &[(String, String)],
    ) -> Result<Vec<orlop_cri::v1::Mount>, VolumeError> {
        check_uid(uid(pod))?;
        let directory = self.pod_directory(uid(pod));
        if !mounts::has_sub_paths(container) {
            return mounts::of_container(&directory, container, volumes, env);
        }
        let (container, volumes, env) = (container.clone(), volumes.clone(), env.to_vec());
        on_a_thread(move || mounts::of_container(&directory, &container, &volumes, &env)).await
    }

    /// Unmounts and removes everything of a pod; fine when nothing is there.
    pub async fn teardown(&self, uid: &str) -> Result<(), VolumeError> {
        check_uid(uid)?;
        self.watched.forget(uid);
        self.tokens.forget(uid);
        self.due.forget(uid);
        self.claims.lock().remove(uid);
        let directory = self.pod_directory(uid);
        let (storage, began) = (self.storage.clone(), Instant::now());
        // Removing what a pod wrote takes as long as it wrote much.
        let work = tokio::task::spawn_blocking(move || {
            let plugins = plugins_below(&directory.join("volumes"));
            let mut parts = PARTS.into_iter();
            let outcome = parts.try_for_each(|(part, content)| table::remove(&directory.join(part), content));
            for plugin in plugins {
                storage.unmounted(&plugin, outcome.is_ok(), began.elapsed());
            }
            outcome
        });
        work.await.unwrap_or_else(|error| {
            let source = std::io::Error::other(error);
            Err(VolumeError::TearDown {
                path: self.pod_directory(uid),
                source,
            })
        })
    }

    /// Whether something of a pod's is there that [`Self::teardown`] takes down.
    pub fn hold(&self, uid: &str) -> bool {
        let directory = self.pod_directory(uid);
        check_uid(uid).is_ok() && PARTS.iter().any(|(part, _)| directory.join(part).exists())
    }

    fn pod_directory(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }
}

/// What upstream's plugin for a volume is called; of those that the runtime mounts there is none.
fn plugin(volume: &Volume) -> Option<&'static str> {
    let known = [
        (volume.host_path.is_some(), "kubernetes.io/host-path"),
        (volume.empty_dir.is_some(), "kubernetes.io/empty-dir"),
        (volume.config_map.is_some(), "kubernetes.io/configmap"),
        (volume.secret.is_some(), "kubernetes.io/secret"),
        (volume.downward_api.is_some(), "kubernetes.io/downward-api"),
        (volume.projected.is_some(), "kubernetes.io/projected"),
        (
            volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some(),
            "kubernetes.io/local-volume",
        ),
    ];
    known
        .into_iter()
        .find_map(|(is_it, plugin)| is_it.then_some(plugin))
}

/// The plugin of each volume that has a directory.
fn plugins_below(volumes: &Path) -> Vec<String> {
    let below = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut plugins = Vec::new();
    for plugin in below(volumes) {
        let name = plugin.file_name().to_string_lossy().replacen('~', "/", 1);
        plugins.extend(below(&plugin.path()).map(|_| name.clone()));
    }
    plugins
}

/// The volumes that some container mounts.
fn used(spec: &PodSpec) -> impl Iterator<Item = &Volume> {
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let mounts = containers.flat_map(|container| container.volume_mounts.iter().flatten());
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let names: BTreeSet<&str> = mounts
        .chain(ephemeral.flat_map(|container| container.volume_mounts.iter().flatten()))
        .map(|mount| mount.name.as_str())
        .collect();
    let volumes = spec.volumes.iter().flatten();
    volumes.filter(move |volume| names.contains(volume.name.as_str()))
}

fn failed(volume: &Volume) -> impl FnOnce(Fault) -> VolumeError {
    let volume = volume.name.clone();
    move |reason| VolumeError::SetUp { volume, reason }
}

/// Work on paths that aren't the agent's own: what is mounted there may hang, and then only those who need it wait.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The process is ending, and nothing that waits here goes on.
        Err(_) => std::future::pending().await,
    }
}

async fn check_host_path(source: &HostPathVolumeSource) -> Result<(), Fault> {
    let source = source.clone();
    on_a_thread(move || host_path::check(&source)).await
}

/// The uid becomes part of paths that are removed: it must not lead elsewhere.
fn check_uid(uid: &str) -> Result<(), VolumeError> {
    match uid {
        "" | "." | ".." => Err(VolumeError::BadUid(uid.to_owned())),
        _ if uid.contains('/') => Err(VolumeError::BadUid(uid.to_owned())),
        _ => Ok(()),
    }
}

/// The name of the field that says what a volume is.
fn type_of(volume: &Volume) -> String {
    let value = serde_json::to_value(volume).unwrap_or_default();
    let fields = value
        .as_object()
        .map(|map| map.keys().cloned().collect::<Vec<_>>())
        .unwrap_or_default();
    fields
        .into_iter()
        .find(|field| field != "name")
        .unwrap_or_else(|| "(none given)".to_owned())
}
