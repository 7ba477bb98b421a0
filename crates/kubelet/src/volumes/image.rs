//! Volumes that show an image's files: the runtime mounts them, if it can (contract, node agent §15).
use super::VolumeError;
use super::mounts::sub_path_of;
use super::sub_path;
use k8s_openapi::api::core::v1::{Container, ImageVolumeSource, Pod, VolumeMount};
use orlop_cri::v1;
use std::collections::{BTreeMap, HashMap};

/// Runtimes that were there before such volumes, and the versions that brought them and brought parts of them. Older ones
/// pass over what they don't know: an image that isn't mounted, or the whole of one in place of its part.
const SINCE: [(&str, [u32; 2], [u32; 2]); 2] = [("containerd", [2, 1], [2, 2]), ("cri-o", [1, 31], [1, 33])];

/// What a runtime can't do with such volumes, each with why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// Mount them.
    pub whole: Option<String>,
    /// Mount a part of one.
    pub parts: Option<String>,
}

impl Lacks {
    /// Those of a runtime.
    pub fn of(runtime: &str, version: &str) -> Self {
        let known = SINCE.iter().find(|(name, ..)| *name == runtime);
        let (Some((name, whole, parts)), Some(own)) = (known, numbers(version)) else {
            return Self::default();
        };
        let lack = |what: &str, since: &[u32; 2]| {
            let [major, minor] = since;
            (own < *since).then(|| {
                format!("{what} need {name} {major}.{minor} or later; this node has {runtime} {version}")
            })
        };
        Self {
            whole: lack("image volumes", whole),
            parts: lack("parts of image volumes (subPath)", parts),
        }
    }
}

fn numbers(version: &str) -> Option<[u32; 2]> {
    let mut parts = version.trim_start_matches('v').split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse::<u32>().ok()
    });
    Some([parts.next()??, parts.next()??])
}

/// The image volumes of the pod that the container mounts, by name.
pub fn wanted<'a>(pod: &'a Pod, container: &'a Container) -> BTreeMap<&'a str, &'a ImageVolumeSource> {
    let volumes = orlop_api::pod::volumes(pod);
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
        for (runtime, version, whole, parts) in [
            ("containerd", "1.6.20~ds1", false, false),
            ("containerd", "v2.0.5", false, false),
            ("containerd", "v2.1.0-rc.1", true, false),
            ("containerd", "2.2.1", true, true),
            ("cri-o", "1.30.4", false, false),
            ("cri-o", "1.31.0", true, false),
            ("cri-o", "1.33.0", true, true),
            ("fake", "0", true, true),
            ("containerd", "main", true, true),
        ] {
            let lacks = Lacks::of(runtime, version);
            let can = (lacks.whole.is_none(), lacks.parts.is_none());
            assert_eq!(can, (whole, parts), "{runtime} {version}");
        }
        let lacks = Lacks::of("containerd", "1.6.20~ds1");
        assert_eq!(
            lacks.whole.unwrap(),
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
