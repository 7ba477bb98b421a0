//! What is to be said about manifests before an agent sees them: what it would refuse, and what will bite when it runs
//! them. No I/O: files are given, and questions about the machine go to a [`World`].
mod finding;

pub use finding::{Finding, Severity};

use super::file::{leftover, too_long};
use super::order;
use finding::{passed_over, refused, unusable, whole};
use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use orlop_api::manifest::{self, Examined, LocalObject, StaticOrigin};
use orlop_api::pod::{containers_with_paths, full_name, host_ports, namespace};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a path of the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    Directory,
    File,
    /// A socket or device.
    Other,
}

/// The machine that the manifests are for. `None`: nobody knows.
pub trait World {
    /// What a path is; `Some(None)`: nothing.
    fn path(&self, path: &str) -> Option<Option<PathKind>>;
    /// Whether the runtime has an image.
    fn has_image(&self, image: &str) -> Option<bool>;
    /// What lies on the node for static pods; `None`: they may use nothing of the kind.
    fn objects(&self) -> Option<&[LocalObject]> {
        None
    }
}

/// A manifest that can be run.
struct Good<'a> {
    file: &'a Path,
    examined: Examined,
}

impl Good<'_> {
    fn warn(&self, rule: &'static str, field: String, message: String) -> Finding {
        let at = self.examined.tree.locate(&field);
        Finding {
            line: Some(at.line),
            column: Some(at.column),
            field: Some(field),
            ..whole(self.file, rule, message)
        }
    }
}

/// Everything to be said about the files of one node, in order of file and line.
pub fn check(files: &[(PathBuf, Vec<u8>)], node_name: &str, world: &dyn World) -> Vec<Finding> {
    let (mut findings, mut good, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    let names: BTreeSet<&Path> = files.iter().map(|(file, _)| file.as_path()).collect();
    for (file, bytes) in files {
        let original = leftover::original_of(file);
        if let Some(original) = original.filter(|original| names.contains(original.as_path())) {
            findings.push(whole(
                file,
                "leftover",
                format!(
                    "looks like a copy of {} that an editor or package manager left: the agent ignores it",
                    original.display()
                ),
            ));
            continue;
        }
        if let Some(message) = too_long(bytes) {
            findings.push(unusable(file, message));
            continue;
        }
        let origin = StaticOrigin {
            node_name: node_name.to_owned(),
            source: manifest::Source::File(file.clone()),
        };
        let examined = match world.objects() {
            None => manifest::examine(bytes, &origin),
            Some(_) => manifest::examine_bundle(bytes, &origin).map(|bundle| {
                beside.extend(bundle.objects);
                bundle.examined
            }),
        };
        match examined {
            Ok(examined) => good.push(Good { file, examined }),
            Err(errors) => {
                findings.extend(errors.into_iter().map(|error| refused(file, error)));
                let unknown = manifest::unknown_fields(bytes, world.objects().is_some());
                findings.extend(unknown.into_iter().map(|unknown| passed_over(file, unknown)));
            }
        }
    }
    collisions(&good, &mut findings);
    ports(&good, &mut findings);
    cycles(&good, &mut findings);
    beside.extend(world.objects().into_iter().flatten().cloned());
    for manifest in &good {
        alone(manifest, world, &mut findings);
        absent_objects(manifest, &beside, &mut findings);
    }
    findings.sort_by(|a, b| {
        (&a.file, a.line, a.column, a.severity).cmp(&(&b.file, b.line, b.column, b.severity))
    });
    findings
}

/// Two files, one name.
fn collisions(good: &[Good<'_>], findings: &mut Vec<Finding>) {
    let mut owners: BTreeMap<String, &Path> = BTreeMap::new();
    for manifest in good {
        let name = full_name(&manifest.examined.pod);
        match owners.get(&name) {
            None => {
                owners.insert(name, manifest.file);
            }
            Some(owner) => {
                let message = format!(
                    "pod {name} comes from {} too: the agent runs one of them",
                    owner.display()
                );
                findings.push(manifest.warn("name-collision", "metadata.name".into(), message));
            }
        }
    }
}

/// Ports of the host that two want.
fn ports(good: &[Good<'_>], findings: &mut Vec<Finding>) {
    for (index, manifest) in good.iter().enumerate() {
        let Some(spec) = manifest.examined.pod.spec.as_ref() else {
            continue;
        };
        for earlier in &good[..index] {
            let Some(other) = earlier.examined.pod.spec.as_ref() else {
                continue;
            };
            let taken = host_ports(other);
            for port in host_ports(spec) {
                if !taken.iter().any(|taken| taken.conflicts(&port)) {
                    continue;
                }
                let number = port.port;
                let field = port_field(&manifest.examined.pod, number);
                let message = format!(
                    "host port {number} is taken by the pod of {}: only one of them is let in",
                    earlier.file.display()
                );
                findings.push(manifest.warn("host-port", field, message));
            }
        }
    }
}

fn port_field(pod: &Pod, number: i32) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut ports = containers_with_paths(&spec).flat_map(|(path, container)| {
        let ports = container.ports.clone().unwrap_or_default();
        ports
            .into_iter()
            .enumerate()
            .map(move |(index, port)| (format!("{path}.ports[{index}]"), port))
    });
    let found = ports.find(|(_, port)| port.host_port == Some(number) || port.container_port == number);
    found.map_or_else(|| "spec.containers".to_owned(), |(field, _)| field)
}

/// Pods that wait for each other.
fn cycles(good: &[Good<'_>], findings: &mut Vec<Finding>) {
    let pods: Vec<&Pod> = good.iter().map(|manifest| &manifest.examined.pod).collect();
    for index in order::in_a_cycle(&pods) {
        let field = format!("metadata.annotations[{}]", order::AFTER);
        let message = "waits for a pod that waits for this one: the agent starts them in no order".to_owned();
        findings.push(good[index].warn("order-cycle", field, message));
    }
}

/// What a manifest says by itself.
fn alone(manifest: &Good<'_>, world: &dyn World, findings: &mut Vec<Finding>) {
    if let Some(at) = manifest.examined.next_document {
        findings.push(Finding {
            line: Some(at.line),
            column: Some(at.column),
            ..whole(
                manifest.file,
                "more-documents",
                "the file goes on with another document: the agent reads only the first".into(),
            )
        });
    }
    let unknown = manifest.examined.unknown_fields().into_iter();
    findings.extend(unknown.map(|unknown| passed_over(manifest.file, unknown)));
    let Some(spec) = manifest.examined.pod.spec.as_ref() else {
        return;
    };
    for (path, container) in containers_with_paths(spec) {
        if let Some(message) = absent_image(container, world) {
            findings.push(manifest.warn("image-absent", format!("{path}.image"), message));
        }
    }
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        if let Some(message) = bad_path(volume, world) {
            let field = format!("spec.volumes[{index}].hostPath.path");
            findings.push(manifest.warn("host-path", field, message));
        }
    }
}

/// ConfigMaps and Secrets that no file holds.
fn absent_objects(manifest: &Good<'_>, objects: &[LocalObject], findings: &mut Vec<Finding>) {
    let pod = &manifest.examined.pod;
    for used in manifest::references(pod)
        .into_iter()
        .filter(|used| !used.optional)
    {
        let has = |object: &&LocalObject| {
            (object.kind(), object.namespace(), object.name())
                == (used.kind, namespace(pod), used.name.as_str())
        };
        if !objects.iter().any(|object| has(&object)) {
            let message = format!(
                "{} {}/{} lies in no file: containers that need it don't start",
                used.kind,
                namespace(pod),
                used.name
            );
            findings.push(manifest.warn("object-absent", used.field, message));
        }
    }
}

/// What is wrong with files of ConfigMaps and Secrets, and what is in the others.
pub fn check_objects(files: &[(PathBuf, Vec<u8>)]) -> (Vec<LocalObject>, Vec<Finding>) {
    let (mut objects, mut findings) = (Vec::new(), Vec::new());
    for (file, bytes) in files {
        if let Some(message) = too_long(bytes) {
            findings.push(unusable(file, message));
            continue;
        }
        match manifest::local_objects(bytes) {
            Ok(found) => objects.extend(found),
            Err(errors) => findings.extend(errors.into_iter().map(|error| refused(file, error))),
        }
    }
    (objects, findings)
}

fn absent_image(container: &Container, world: &dyn World) -> Option<String> {
    let image = container.image.as_deref()?;
    let never = container.image_pull_policy.as_deref() == Some("Never");
    (never && world.has_image(image) == Some(false)).then(|| {
        format!("image {image:?} is not on this machine and imagePullPolicy Never keeps it from being pulled")
    })
}

fn bad_path(volume: &Volume, world: &dyn World) -> Option<String> {
    let source = volume.host_path.as_ref()?;
    let found = world.path(&source.path)?;
    let wanted = source.type_.as_deref().unwrap_or_default();
    let missing = || Some(format!("{} does not exist", source.path));
    match (wanted, found) {
        ("DirectoryOrCreate" | "FileOrCreate", None) => None,
        ("", None) => Some(format!(
            "{} does not exist: the runtime makes an empty directory there",
            source.path
        )),
        (_, None) => missing(),
        ("Directory" | "DirectoryOrCreate", Some(kind)) if kind != PathKind::Directory => {
            Some(format!("{} is not a directory", source.path))
        }
        ("File" | "FileOrCreate", Some(kind)) if kind != PathKind::File => {
            Some(format!("{} is not a file", source.path))
        }
        ("Socket" | "CharDevice" | "BlockDevice", Some(kind)) if kind != PathKind::Other => {
            Some(format!("{} is not a {wanted}", source.path))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
