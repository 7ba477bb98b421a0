//! What a container mounts of its pod's volumes.
use super::{Mounted, VolumeError, VolumeMap, sub_path, table};
use k8s_openapi::api::core::v1::{Container, VolumeMount};
use orlop_api::expand::expand;
use orlop_cri::v1;
use std::cell::RefCell;
use std::path::Path;

/// What lies in `volume-subpaths`: by volume, container and place in its list.
pub const SUB_PATHS: table::Content = table::Content::MountPoints(3);

/// The mounts of one container; `pod` is the pod's directory.
pub fn of_container(
    pod: &Path,
    container: &Container,
    volumes: &VolumeMap,
    env: &[(String, String)],
) -> Result<Vec<v1::Mount>, VolumeError> {
    let wanted = container.volume_mounts.iter().flatten().enumerate();
    wanted
        .filter_map(|(index, mount)| one(pod, container, index, mount, volumes, env).transpose())
        .collect()
}

/// Whether a container mounts only a part of some volume, which is looked up where the volume lies.
pub fn has_sub_paths(container: &Container) -> bool {
    let given = |path: &Option<String>| path.as_deref().is_some_and(|path| !path.is_empty());
    let mut mounts = container.volume_mounts.iter().flatten();
    mounts.any(|mount| given(&mount.sub_path) || given(&mount.sub_path_expr))
}

fn one(
    pod: &Path,
    container: &Container,
    index: usize,
    mount: &VolumeMount,
    volumes: &VolumeMap,
    env: &[(String, String)],
) -> Result<Option<v1::Mount>, VolumeError> {
    let names = || (mount.name.clone(), container.name.clone());
    let (root, read_only) = match volumes.0.get(&mount.name) {
        Some(Mounted::At { path, read_only }) => (path, *read_only),
        // The runtime has it, not this node's file system.
        Some(Mounted::Image { no_parts }) => {
            let part = sub_path_of(mount, env)?;
            return match (part, no_parts) {
                (Some(_), Some(reason)) => Err(VolumeError::ImagePart(reason.clone())),
                _ => Ok(None),
            };
        }
        None => {
            let (volume, container) = names();
            return Err(VolumeError::Unknown { volume, container });
        }
    };
    let path = match sub_path_of(mount, env)? {
        None => root.clone(),
        Some(wanted) => {
            sub_path::check(&wanted)?;
            let at = pod
                .join("volume-subpaths")
                .join(&mount.name)
                .join(&container.name)
                .join(index.to_string());
            sub_path::bind(root, &wanted, &at).map_err(|error| {
                let (volume, container) = names();
                tracing::warn!(volume, container, sub_path = wanted, %error, "no subPath");
                match error {
                    sub_path::SubPathError::Create(_) => VolumeError::SubPathDirectory { volume, container },
                    _ => VolumeError::SubPath { volume, container },
                }
            })?
        }
    };
    Ok(Some(v1::Mount {
        container_path: container_path(mount),
        host_path: path.display().to_string(),
        readonly: read_only || mount.read_only == Some(true),
        propagation: propagation(mount) as i32,
        ..v1::Mount::default()
    }))
}

/// Where a container sees it.
pub fn container_path(mount: &VolumeMount) -> String {
    Path::new("/").join(&mount.mount_path).display().to_string()
}

pub(super) fn propagation(mount: &VolumeMount) -> v1::MountPropagation {
    match mount.mount_propagation.as_deref() {
        Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
        Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
        _ => v1::MountPropagation::PropagationPrivate,
    }
}

/// `subPath`, or `subPathExpr` with all its variables.
pub(super) fn sub_path_of(
    mount: &VolumeMount,
    env: &[(String, String)],
) -> Result<Option<String>, VolumeError> {
    if let Some(path) = mount.sub_path.clone().filter(|path| !path.is_empty()) {
        return Ok(Some(path));
    }
    let Some(expression) = mount.sub_path_expr.as_deref().filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let missing = RefCell::new(None);
    let path = expand(expression, |name| {
        let found = env
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone());
        if found.is_none() {
            missing.borrow_mut().get_or_insert_with(|| name.to_owned());
        }
        found
    });
    match missing.into_inner() {
        Some(name) => Err(VolumeError::MissingValue(name)),
        None => Ok(Some(path)),
    }
}
