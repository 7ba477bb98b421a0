//! Volumes that show an image's files: the runtime mounts them, if it can (contract, node agent §15).
use super::VolumeError;
use super::mounts::sub_path_of;
use super::sub_path;
use k8s_openapi::api::core::v1::{Container, ImageVolumeSource, Pod, VolumeMount};
use orlop_cri::v1;
use std::collections::{BTreeMap, HashMap};

/// Runtimes that were there before such volumes, and the version that brought them.
const SINCE: [(&str, [u32; 2]); 2] = [("containerd", [2, 1]), ("cri-o", [1, 31])];

/// Whether a runtime mounts images; if not, why.
pub fn check(runtime: &str, version: &str) -> Result<(), String> {
    let Some((name, since)) = SINCE.iter().find(|(name, _)| *name == runtime) else {
        return Ok(());
    };
    let mut parts = version.trim_start_matches('v').split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse::<u32>().ok()
    });
    let (Some(Some(major)), Some(Some(minor))) = (parts.next(), parts.next()) else {
        return Ok(());
    };
    if [major, minor] >= *since {
        return Ok(());
    }
    let [major, minor] = since;
    Err(format!(
        "image volumes need {name} {major}.{minor} or later; this node has {runtime} {version}"
    ))
}

/// The image volumes of the pod that the container mounts, by name.
pub fn wanted<'a>(pod: &'a Pod, container: &'a Container) -> BTreeMap<&'a str, &'a ImageVolumeSource> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let images: HashMap<&str, &ImageVolumeSource> = volumes
        .filter_map(|volume| Some((volume.name.as_str(), volume.image.as_ref()?)))
        .collect();
    let mounts = container.volume_mounts.iter().flatten();
    mounts
        .filter_map(|mount| Some((mount.name.as_str(), *images.get(&*mount.name)?)))
        .collect()
}

/// The mounts of those images, and which part of them, by the mount's path.
pub fn mounts(
    container: &Container,
    images: &BTreeMap<String, v1::ImageSpec>,
    env: &[(String, String)],
) -> Result<(Vec<v1::Mount>, HashMap<String, String>), VolumeError> {
    let mut parts = HashMap::new();
    let mut mounts = Vec::new();
    let wanted = container.volume_mounts.iter().flatten();
    for (mount, image) in wanted.filter_map(|mount| Some((mount, images.get(&mount.name)?))) {
        let container_path = super::mounts::container_path(mount);
        if let Some(part) = sub_path_of(mount, env)? {
            sub_path::check(&part)?;
            parts.insert(container_path.clone(), part);
        }
        mounts.push(one(mount, container_path, image));
    }
    Ok((mounts, parts))
}

fn one(mount: &VolumeMount, container_path: String, image: &v1::ImageSpec) -> v1::Mount {
    v1::Mount {
        container_path,
        readonly: true,
        propagation: super::mounts::propagation(mount) as i32,
        image: Some(image.clone()),
        ..v1::Mount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_that_are_too_old_are_named_with_what_is_needed() {
        for (runtime, version, can) in [
            ("containerd", "1.6.20~ds1", false),
            ("containerd", "v2.0.5", false),
            ("containerd", "v2.1.0-rc.1", true),
            ("containerd", "2.2.1", true),
            ("cri-o", "1.30.4", false),
            ("cri-o", "1.31.0", true),
            ("fake", "0", true),
            ("containerd", "main", true),
        ] {
            assert_eq!(check(runtime, version).is_ok(), can, "{runtime} {version}");
        }
        assert_eq!(
            check("containerd", "1.6.20~ds1").unwrap_err(),
            "image volumes need containerd 2.1 or later; this node has containerd 1.6.20~ds1"
        );
    }

    #[test]
    fn images_are_mounted_read_only_and_in_part() {
        let object = serde_json::json!({"name": "c", "volumeMounts": [
            {"name": "i", "mountPath": "data"},
            {"name": "i", "mountPath": "/etc/part", "subPathExpr": "etc/$(WHICH)"},
            {"name": "other", "mountPath": "/other"}]});
        let container: Container = serde_json::from_value(object).unwrap();
        let image = v1::ImageSpec {
            image: "sha256:1".into(),
            ..v1::ImageSpec::default()
        };
        let images = BTreeMap::from([("i".to_owned(), image)]);
        let env = [("WHICH".to_owned(), "one".to_owned())];
        let (mounts, parts) = mounts(&container, &images, &env).unwrap();
        let seen: Vec<_> = mounts
            .iter()
            .map(|mount| (&*mount.container_path, &*mount.host_path, mount.readonly))
            .collect();
        assert_eq!(seen, [("/data", "", true), ("/etc/part", "", true)]);
        assert_eq!(
            parts,
            HashMap::from([("/etc/part".to_owned(), "etc/one".to_owned())])
        );
        assert!(
            super::mounts(&container, &images, &[]).is_err(),
            "a variable is missing"
        );
    }
}
