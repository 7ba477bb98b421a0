//! Mounts that are read-only with all that is mounted below them (`recursiveReadOnly`), where the runtime can make them.
use crate::volumes::mount_path;
use k8s_openapi::api::core::v1::{Container, VolumeMount};
use orlop_cri::v1;

/// Whether a container wants to know if the runtime can.
pub fn is_asked(container: &Container) -> bool {
    container.volume_mounts.iter().flatten().any(wants)
}

fn wants(mount: &VolumeMount) -> bool {
    matches!(
        mount.recursive_read_only.as_deref(),
        Some("Enabled" | "IfPossible")
    )
}

/// Marks those of the container's mounts that are to be so; `can`: the runtime makes them.
pub fn mark(container: &Container, can: bool, mounts: &mut [v1::Mount]) -> Result<(), String> {
    for wanted in container
        .volume_mounts
        .iter()
        .flatten()
        .filter(|mount| wants(mount))
    {
        if !resolve(wanted, can)? {
            continue;
        }
        let path = mount_path(wanted);
        for made in mounts.iter_mut().filter(|made| made.container_path == path) {
            made.recursive_read_only = true;
        }
    }
    Ok(())
}

fn resolve(mount: &VolumeMount, can: bool) -> Result<bool, String> {
    let refuse = |why: &str| {
        Err(format!(
            "failed to resolve recursive read-only mode: volume {:?} requested recursive read-only mode, but {why}",
            mount.name
        ))
    };
    let propagation = mount.mount_propagation.as_deref();
    if mount.read_only != Some(true) {
        return refuse("it is not read-only");
    }
    if let Some(propagation) = propagation.filter(|propagation| *propagation != "None") {
        return refuse(&format!("it is not compatible with propagation {propagation:?}"));
    }
    if !can && mount.recursive_read_only.as_deref() == Some("Enabled") {
        return refuse("it is not supported by the runtime");
    }
    Ok(can)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn marked(mount: Value, can: bool) -> Result<bool, String> {
        let mut object = json!({"name": "mnt", "mountPath": "/mnt", "readOnly": true});
        let given = mount.as_object().unwrap().clone();
        object.as_object_mut().unwrap().extend(given);
        let container =
            json!({"name": "c", "volumeMounts": [object, {"name": "mnt", "mountPath": "/other"}]});
        let container = serde_json::from_value(container).unwrap();
        let made = |path: &str| v1::Mount {
            container_path: path.to_owned(),
            ..v1::Mount::default()
        };
        let mut mounts = [made("/mnt"), made("/other")];
        mark(&container, can, &mut mounts)?;
        assert!(!mounts[1].recursive_read_only);
        Ok(mounts[0].recursive_read_only)
    }

    #[test]
    fn recursively_read_only_where_the_runtime_can_and_refused_where_it_must_be_and_cannot() {
        let asked = |mode: &str| json!({"recursiveReadOnly": mode});
        assert_eq!(marked(asked("Enabled"), true), Ok(true));
        assert_eq!(marked(asked("IfPossible"), true), Ok(true));
        assert_eq!(marked(asked("IfPossible"), false), Ok(false));
        assert_eq!(marked(asked("Disabled"), true), Ok(false));
        assert_eq!(marked(json!({}), true), Ok(false));
        let refused = |mount: Value, can: bool, why: &str| {
            let all = "failed to resolve recursive read-only mode: volume \"mnt\" requested recursive read-only mode, but ";
            assert_eq!(marked(mount, can), Err(format!("{all}{why}")));
        };
        refused(asked("Enabled"), false, "it is not supported by the runtime");
        let writable = json!({"recursiveReadOnly": "IfPossible", "readOnly": false});
        refused(writable, true, "it is not read-only");
        let shared = json!({"recursiveReadOnly": "Enabled", "mountPropagation": "HostToContainer"});
        refused(
            shared,
            true,
            "it is not compatible with propagation \"HostToContainer\"",
        );
    }
}
