//! `orlop check`: reads manifests and this machine, and prints what is to be said.
use crate::cli::{CheckArgs, Output};
use crate::commands::agent::node_name;
use crate::commands::listings::recorded_endpoint;
use crate::paths::Root;
use anyhow::{Context, Result, bail};
use orlop_api::manifest::LocalObject;
use orlop_cri::{Endpoint, Remote, RuntimeService};
use orlop_kubelet::sources::check::{Finding, PathKind, Severity, World, check as find, check_objects};
use orlop_kubelet::sources::file::read_limited;
use serde_json::json;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The runtime is asked for its images if it is there; nobody waits for it.
const RUNTIME_PATIENCE: Duration = Duration::from_millis(500);

/// This machine.
struct Here {
    images: Option<HashSet<String>>,
    objects: Option<Vec<LocalObject>>,
}

impl World for Here {
    fn path(&self, path: &str) -> Option<Option<PathKind>> {
        match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => Some(Some(PathKind::Directory)),
            Ok(found) if found.is_file() => Some(Some(PathKind::File)),
            Ok(_) => Some(Some(PathKind::Other)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(None),
            Err(_) => None,
        }
    }

    fn has_image(&self, image: &str) -> Option<bool> {
        let images = self.images.as_ref()?;
        Some(names(image).iter().any(|name| images.contains(name)))
    }

    fn objects(&self) -> Option<&[LocalObject]> {
        self.objects.as_deref()
    }
}

/// An image as people write it and as runtimes list it.
fn names(image: &str) -> Vec<String> {
    let last = image.rsplit('/').next().unwrap_or_default();
    let tagged = if last.contains(':') || image.contains('@') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    };
    vec![
        format!("docker.io/library/{tagged}"),
        format!("docker.io/{tagged}"),
        tagged,
    ]
}

/// Another machine, of which nothing is known.
struct Elsewhere {
    objects: Option<Vec<LocalObject>>,
}

impl World for Elsewhere {
    fn path(&self, _: &str) -> Option<Option<PathKind>> {
        None
    }
    fn has_image(&self, _: &str) -> Option<bool> {
        None
    }
    fn objects(&self) -> Option<&[LocalObject]> {
        self.objects.as_deref()
    }
}

pub async fn check(arguments: &CheckArgs) -> Result<()> {
    let mut files = Vec::new();
    for path in &arguments.paths {
        files.extend(read(path)?);
    }
    let (objects, wrong) = match &arguments.static_objects {
        None => (None, Vec::new()),
        Some(path) => {
            let (objects, wrong) = check_objects(&read(path)?);
            (Some(objects), wrong)
        }
    };
    let node_name = node_name(arguments.node_name.as_deref());
    let mut findings = wrong;
    findings.extend(if arguments.elsewhere {
        find(&files, &node_name, &Elsewhere { objects })
    } else {
        let images = images(&Root::new(arguments.root.root.as_deref())?).await;
        find(&files, &node_name, &Here { images, objects })
    });
    let count = |severity| findings.iter().filter(|found| found.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    print(arguments.output, &findings, files.len());
    if errors > 0 || (arguments.strict && warnings > 0) {
        bail!("{}, {}", counted(errors, "error"), counted(warnings, "warning"));
    }
    Ok(())
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn print(output: Output, findings: &[Finding], files: usize) {
    match output {
        Output::Text => findings.iter().for_each(|finding| println!("{finding}")),
        Output::Json => println!("{:#}", json!({"files": files, "findings": findings})),
    }
}

fn read(path: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let read = |file: PathBuf| {
        let bytes = read_limited(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok((file, bytes))
    };
    files_of(path)?.into_iter().map(read).collect()
}

/// A file itself; of a directory what the agent reads.
fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    let found = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !found.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let hidden = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b".")
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && !hidden(path))
        .collect();
    files.sort();
    Ok(files)
}

/// The names of the images that the node's runtime has, if it answers.
async fn images(root: &Root) -> Option<HashSet<String>> {
    let endpoint = recorded_endpoint(root).ok()??;
    let endpoint = Endpoint::parse(&endpoint).ok()?;
    let remote = Remote::connect_within(&endpoint, RUNTIME_PATIENCE).await.ok()?;
    let images = remote.list_images(None).await.ok()?;
    let names = images.into_iter().flat_map(|image| {
        let digests = image.repo_digests.into_iter();
        digests.chain(image.repo_tags).chain([image.id])
    });
    Some(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_read_as_the_agent_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        for file in ["b.yaml", "a.txt", ".hidden"] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let files = files_of(dir.path()).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap()).collect();
        assert_eq!(names, ["a.txt", "b.yaml"]);
        assert!(files_of(&dir.path().join("gone")).is_err());
    }

    /// As docs/running.md shows it.
    #[test]
    fn example_of_a_static_pod_is_good_until_it_is_misspelt() {
        let example = include_str!("../../../../examples/hello.yaml");
        let found = |text: &str| -> Vec<String> {
            let files = [(PathBuf::from("hello.yaml"), text.as_bytes().to_vec())];
            let findings = find(&files, "n1", &Elsewhere { objects: None });
            findings.iter().map(ToString::to_string).collect()
        };
        assert_eq!(found(example), [""; 0]);
        assert_eq!(
            found(&example.replace("Always", "Allways")),
            [
                "hello.yaml:7:18: error: spec.restartPolicy: Unsupported value: \"Allways\": supported values: \
                 \"Always\", \"OnFailure\", \"Never\""
            ]
        );
    }

    #[test]
    fn one_is_no_plural() {
        assert_eq!(counted(1, "error"), "1 error");
        assert_eq!(counted(0, "warning"), "0 warnings");
    }

    #[test]
    fn images_are_known_by_short_and_full_names() {
        let images = ["docker.io/library/busybox:latest", "registry.local/a/b:1"];
        let here = Here {
            images: Some(images.map(str::to_owned).into()),
            objects: None,
        };
        for (image, has) in [
            ("busybox", true),
            ("busybox:latest", true),
            ("registry.local/a/b:1", true),
            ("busybox:1", false),
        ] {
            assert_eq!(here.has_image(image), Some(has), "{image}");
        }
        assert_eq!(
            Here {
                images: None,
                objects: None
            }
            .has_image("busybox"),
            None
        );
    }
}
