//! `ImageBuilder`: one layer, its configuration, and the archive that holds both.

use crate::spec::{
    ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, Descriptor, DockerManifest, ImageConfig, Index,
    MEDIA_TYPE_CONFIG, MEDIA_TYPE_INDEX, MEDIA_TYPE_LAYER, MEDIA_TYPE_MANIFEST, Manifest, Platform, RootFs,
    RunConfig,
};
use crate::{Layer, OciError, archive, debian, reference, sha256, shared_libraries};
use std::collections::BTreeMap;
use std::path::Path;

/// The search path programs get, as other base images set it.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Builds an image archive with one layer.
///
/// ```
/// let archive = orlop_oci::ImageBuilder::new("orlop.local/hello:1")?
///     .file("/hello", "#!/bin/sh\necho hello\n", 0o755)?
///     .entrypoint(["/hello"])
///     .to_archive()?;
/// assert!(!archive.is_empty());
/// # Ok::<(), orlop_oci::OciError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    name: String,
    further_names: Vec<String>,
    layer: Layer,
    run: RunConfig,
}

impl ImageBuilder {
    /// An empty image under this name (completed as runtimes do: `busybox` → `docker.io/library/busybox:latest`).
    pub fn new(name: &str) -> Result<Self, OciError> {
        Ok(Self {
            name: reference::full(name)?,
            further_names: Vec::new(),
            layer: Layer::new(),
            run: RunConfig {
                env: vec![DEFAULT_PATH.to_owned()],
                ..RunConfig::default()
            },
        })
    }

    /// The image's full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A further name of the same image.
    pub fn also_named(mut self, name: &str) -> Result<Self, OciError> {
        self.further_names.push(reference::full(name)?);
        Ok(self)
    }

    /// All its full names, the first one first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name)
            .chain(&self.further_names)
            .map(String::as_str)
    }

    /// The tree, for what the short forms below don't cover.
    pub fn layer(&mut self) -> &mut Layer {
        &mut self.layer
    }

    /// The directories, users and links an ordinary program expects: `/tmp`, `/etc/passwd`, merged `/usr`, ...
    pub fn base(mut self) -> Result<Self, OciError> {
        self.layer
            .merged_usr()
            .directory("/tmp", 0o1777)?
            .directory("/var/tmp", 0o1777)?
            .directory("/root", 0o700)?
            .directory("/run", 0o755)?
            .directory("/proc", 0o555)?
            .directory("/sys", 0o555)?
            .directory("/dev", 0o755)?
            .file(
                "/etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
                0o644,
            )?
            .file("/etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644)?
            .file(
                "/etc/nsswitch.conf",
                "passwd: files\ngroup: files\nhosts: files dns\n",
                0o644,
            )?;
        Ok(self)
    }

    /// A file from memory.
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>, mode: u32) -> Result<Self, OciError> {
        self.layer.file(path, content, mode)?;
        Ok(self)
    }

    /// A file of this machine, and, when it is a dynamically linked program, the libraries it needs.
    pub fn host_file(mut self, source: &Path, path: &str) -> Result<Self, OciError> {
        self.layer.host_file(path, source)?;
        self.add_libraries_of(source)?;
        Ok(self)
    }

    /// An empty directory.
    pub fn directory(mut self, path: &str, mode: u32) -> Result<Self, OciError> {
        self.layer.directory(path, mode)?;
        Ok(self)
    }

    /// A symbolic link at `path`.
    pub fn symlink(mut self, path: &str, target: &str) -> Result<Self, OciError> {
        self.layer.symlink(path, target)?;
        Ok(self)
    }

    /// The run-time files of an installed Debian package (no documentation, no units) and the libraries of its programs.
    pub fn package(mut self, package: &str) -> Result<Self, OciError> {
        for path in debian::runtime_files(package)? {
            let text = path.to_string_lossy().into_owned();
            let kind = path
                .symlink_metadata()
                .map_err(OciError::file("reading", &path))?
                .file_type();
            if kind.is_symlink() {
                let target = std::fs::read_link(&path).map_err(OciError::file("reading", &path))?;
                self.layer.symlink(&text, &target.to_string_lossy())?;
            } else if kind.is_file() {
                self.layer.host_file(&text, &path)?;
                self.add_libraries_of(&path)?;
            }
        }
        Ok(self)
    }

    /// Links for all applets of the busybox at `busybox` on this machine, which must be in the image as `/bin/busybox`.
    pub fn busybox_applets(mut self, busybox: &Path) -> Result<Self, OciError> {
        for applet in debian::busybox_applets(busybox)? {
            let path = format!("/bin/{applet}");
            if !self.layer.contains(&path) {
                self.layer.symlink(&path, "busybox")?;
            }
        }
        Ok(self)
    }

    /// Program and fixed arguments.
    pub fn entrypoint<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.run.entrypoint = words.into_iter().map(Into::into).collect();
        self
    }

    /// Default arguments.
    pub fn cmd<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.run.cmd = words.into_iter().map(Into::into).collect();
        self
    }

    /// An environment variable, `NAME=value`; replaces one of the same name.
    pub fn env(mut self, variable: &str) -> Self {
        let name = variable.split('=').next().unwrap_or(variable);
        let prefix = format!("{name}=");
        self.run.env.retain(|known| !known.starts_with(&prefix));
        self.run.env.push(variable.to_owned());
        self
    }

    /// User, or `uid[:gid]`.
    pub fn user(mut self, user: &str) -> Self {
        self.run.user = user.to_owned();
        self
    }

    /// Working directory.
    pub fn working_dir(mut self, path: &str) -> Self {
        self.run.working_dir = path.to_owned();
        self
    }

    /// A label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.run.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The archive's bytes: an OCI layout that also carries Docker's `manifest.json`.
    pub fn to_archive(&self) -> Result<Vec<u8>, OciError> {
        let layer = self.layer.to_tar()?;
        let layer_digest = sha256(&layer);
        let platform = Platform::host();
        let config = to_json(&ImageConfig {
            created: Some("1970-01-01T00:00:00Z".to_owned()),
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            config: self.run.clone(),
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: vec![layer_digest.clone()],
            },
        })?;
        let config_digest = sha256(&config);
        let manifest = to_json(&Manifest {
            schema_version: 2,
            media_type: Some(MEDIA_TYPE_MANIFEST.to_owned()),
            config: descriptor(MEDIA_TYPE_CONFIG, &config_digest, config.len()),
            layers: vec![descriptor(MEDIA_TYPE_LAYER, &layer_digest, layer.len())],
        })?;
        let manifest_digest = sha256(&manifest);
        let entry = |name: &str| {
            let mut top = descriptor(MEDIA_TYPE_MANIFEST, &manifest_digest, manifest.len());
            top.platform = Some(platform.clone());
            top.annotations = BTreeMap::from([
                (ANNOTATION_IMAGE_NAME.to_owned(), name.to_owned()),
                (
                    ANNOTATION_REF_NAME.to_owned(),
                    reference::tag(name).unwrap_or("latest").to_owned(),
                ),
            ]);
            top
        };
        let index = to_json(&Index {
            schema_version: 2,
            media_type: Some(MEDIA_TYPE_INDEX.to_owned()),
            manifests: self.names().map(entry).collect(),
        })?;
        let docker = to_json(&[DockerManifest {
            config: archive::blob_path(&config_digest),
            repo_tags: Some(self.names().map(str::to_owned).collect()),
            layers: vec![archive::blob_path(&layer_digest)],
        }])?;
        archive::write(
            &index,
            &docker,
            &[
                (manifest_digest, manifest),
                (config_digest, config),
                (layer_digest, layer),
            ],
        )
    }

    /// Writes the archive beside `path` and renames it into place, so that a watcher of the directory sees it whole.
    pub fn write_archive(&self, path: &Path) -> Result<(), OciError> {
        let bytes = self.to_archive()?;
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        std::fs::write(&partial, bytes).map_err(OciError::file("writing", &partial))?;
        std::fs::rename(&partial, path).map_err(OciError::file("writing", path))
    }

    fn add_libraries_of(&mut self, program: &Path) -> Result<(), OciError> {
        for library in shared_libraries::needed_by(program)? {
            let path = library.to_string_lossy().into_owned();
            if !self.layer.contains(&path) {
                self.layer.host_file(&path, &library)?;
            }
        }
        Ok(())
    }
}

fn to_json<T: serde::Serialize + ?Sized>(document: &T) -> Result<Vec<u8>, OciError> {
    serde_json::to_vec(document).map_err(|source| OciError::Json {
        document: "image document".to_owned(),
        source,
    })
}

fn descriptor(media_type: &str, digest: &str, size: usize) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_owned(),
        size: size as u64,
        platform: None,
        annotations: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Archive;

    fn hello() -> ImageBuilder {
        ImageBuilder::new("orlop.local/hello:1")
            .unwrap()
            .base()
            .unwrap()
            .file("/bin/hello", "hi", 0o755)
            .unwrap()
            .entrypoint(["/bin/hello"])
            .cmd(["world"])
            .env("A=1")
            .env("A=2")
            .user("65534")
            .label("k", "v")
    }

    #[test]
    fn same_input_gives_the_same_bytes() {
        assert_eq!(
            sha256(&hello().to_archive().unwrap()),
            sha256(&hello().to_archive().unwrap())
        );
    }

    #[test]
    fn archive_reads_back_with_name_and_configuration() {
        let archive = Archive::from_bytes(hello().to_archive().unwrap()).unwrap();
        let images = archive.images().unwrap();
        assert_eq!(images.len(), 1);
        assert_eq!(images[0].names, ["orlop.local/hello:1"]);
        let config = archive.config(&images[0].manifest).unwrap();
        assert_eq!(config.config.entrypoint, ["/bin/hello"]);
        assert_eq!(config.config.cmd, ["world"]);
        assert_eq!(config.config.env, [DEFAULT_PATH, "A=2"]);
        assert_eq!(config.config.user, "65534");
        assert_eq!(config.rootfs.diff_ids[0], images[0].manifest.layers[0].digest);
    }

    #[test]
    fn an_image_with_several_names_is_in_the_archive_once() {
        let image = hello().also_named("orlop.local/greeter:2").unwrap();
        let archive = Archive::from_bytes(image.to_archive().unwrap()).unwrap();
        let images = archive.images().unwrap();
        assert_eq!(images.len(), 1);
        assert_eq!(images[0].names, ["orlop.local/hello:1", "orlop.local/greeter:2"]);
    }

    #[test]
    fn written_archive_appears_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hello.tar");
        hello().write_archive(&path).unwrap();
        let left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["hello.tar"]);
        assert_eq!(std::fs::read(&path).unwrap(), hello().to_archive().unwrap());
    }
}
