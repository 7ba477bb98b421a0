use super::blob_path;
use crate::spec::{
    ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, Descriptor, DockerManifest, ImageConfig, Index,
    MEDIA_TYPE_CONFIG, MEDIA_TYPE_LAYER, MEDIA_TYPE_MANIFEST, Manifest, Platform,
};
use crate::{OciError, reference, sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};
use std::sync::Arc;

/// Largest JSON document read into memory. Real ones are a few KiB; the limit keeps a hostile archive from filling it.
const DOCUMENT_SIZE_MAX: u64 = 8 * 1024 * 1024;
/// Most entries of an archive. An image has a few dozen blobs.
const ENTRIES_MAX: usize = 100_000;
/// Indexes below each other, and links to links: real archives have one. More could go round in a circle.
const DEPTH_MAX: usize = 8;

/// An opened image archive. Layers stay where they are and are read in pieces.
#[derive(Debug, Clone)]
pub struct Archive {
    source: Source,
    entries: Arc<HashMap<String, Span>>,
}

/// One image of an archive.
#[derive(Debug, Clone)]
pub struct ArchivedImage {
    /// Full names; empty when the archive doesn't tell.
    pub names: Vec<String>,
    /// Points to the manifest.
    pub descriptor: Descriptor,
    /// The manifest itself.
    pub manifest: Manifest,
    /// The manifest's bytes (its digest is over these).
    pub manifest_bytes: Vec<u8>,
    /// Where content lies in the archive when not at its OCI path (old Docker archives).
    locations: BTreeMap<String, String>,
}

/// A piece of content in the archive.
#[derive(Debug, Clone)]
pub struct Blob {
    source: Source,
    span: Span,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    offset: u64,
    size: u64,
}

#[derive(Debug, Clone)]
enum Source {
    Bytes(Arc<Vec<u8>>),
    File(Arc<File>),
}

impl Archive {
    /// Opens a tar file; reads only its table of contents.
    pub fn open(path: &Path) -> Result<Self, OciError> {
        let file = File::open(path).map_err(OciError::file("reading", path))?;
        let entries = scan(&file)?;
        Ok(Self {
            source: Source::File(Arc::new(file)),
            entries: Arc::new(entries),
        })
    }

    /// An archive in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, OciError> {
        let entries = scan(Cursor::new(bytes.as_slice()))?;
        Ok(Self {
            source: Source::Bytes(Arc::new(bytes)),
            entries: Arc::new(entries),
        })
    }

    /// The images in it that fit this machine.
    pub fn images(&self) -> Result<Vec<ArchivedImage>, OciError> {
        let images = if self.entries.contains_key("index.json") {
            let index: Index = self.json("index.json")?;
            let mut images: Vec<ArchivedImage> = Vec::new();
            for descriptor in index.manifests {
                let Some(image) = self.oci_image(descriptor)? else {
                    continue;
                };
                let digest = &image.descriptor.digest;
                match images.iter_mut().find(|known| known.descriptor.digest == *digest) {
                    Some(known) => known.names.extend(image.names),
                    None => images.push(image),
                }
            }
            images
        } else if self.entries.contains_key("manifest.json") {
            self.docker_images()?
        } else {
            return Err(OciError::Archive(
                "it holds neither index.json (OCI layout) nor manifest.json (docker save)".to_owned(),
            ));
        };
        if images.is_empty() {
            let host = Platform::host();
            return Err(OciError::Archive(format!(
                "no image for {}/{} in it",
                host.os, host.architecture
            )));
        }
        Ok(images)
    }

    /// The configuration a manifest points to.
    pub fn config(&self, manifest: &Manifest) -> Result<ImageConfig, OciError> {
        self.json(&blob_path(&manifest.config.digest))
    }

    /// Content by digest.
    pub fn blob(&self, image: &ArchivedImage, digest: &str) -> Result<Blob, OciError> {
        let path = image
            .locations
            .get(digest)
            .cloned()
            .unwrap_or_else(|| blob_path(digest));
        self.at(&path)
    }

    /// Where the image's configuration is, also in old Docker archives.
    pub fn config_of(&self, image: &ArchivedImage) -> Result<ImageConfig, OciError> {
        let blob = self.blob(image, &image.manifest.config.digest)?;
        parse("image configuration", &blob.read_document()?)
    }

    fn at(&self, path: &str) -> Result<Blob, OciError> {
        let span = self
            .entries
            .get(path)
            .ok_or_else(|| OciError::Archive(format!("{path} is missing from it")))?;
        Ok(Blob {
            source: self.source.clone(),
            span: *span,
        })
    }

    fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, OciError> {
        parse(path, &self.at(path)?.read_document()?)
    }

    fn oci_image(&self, top: Descriptor) -> Result<Option<ArchivedImage>, OciError> {
        let host = Platform::host();
        let names = names_of(&top.annotations)?;
        let mut descriptor = top;
        // An index in the index: one manifest a platform.
        for depth in 0.. {
            if !descriptor.is_index() {
                break;
            }
            if depth == DEPTH_MAX {
                return Err(OciError::Archive(format!(
                    "more than {DEPTH_MAX} indexes lead from one to the next in it"
                )));
            }
            let nested: Index = self.json(&blob_path(&descriptor.digest))?;
            let fitting = nested
                .manifests
                .into_iter()
                .find(|m| m.platform.as_ref().is_none_or(|p| *p == host));
            match fitting {
                Some(found) => descriptor = found,
                None => return Ok(None),
            }
        }
        if descriptor.platform.as_ref().is_some_and(|p| *p != host) {
            return Ok(None);
        }
        let bytes = self.at(&blob_path(&descriptor.digest))?.read_document()?;
        if sha256(&bytes) != descriptor.digest {
            return Err(OciError::Archive(format!(
                "the content of {} does not have that digest",
                descriptor.digest
            )));
        }
        let manifest: Manifest = parse(&descriptor.digest, &bytes)?;
        Ok(Some(ArchivedImage {
            names,
            descriptor,
            manifest,
            manifest_bytes: bytes,
            locations: BTreeMap::new(),
        }))
    }

    /// Older `docker save`: layers as `<id>/layer.tar`, no manifest. One is made from what is there.
    fn docker_images(&self) -> Result<Vec<ArchivedImage>, OciError> {
        let saved: Vec<DockerManifest> = self.json("manifest.json")?;
        saved.into_iter().map(|one| self.docker_image(one)).collect()
    }

    fn docker_image(&self, saved: DockerManifest) -> Result<ArchivedImage, OciError> {
        let mut locations = BTreeMap::new();
        let mut describe = |path: &String, media_type: &str| -> Result<Descriptor, OciError> {
            let blob = self.at(path)?;
            let digest = blob.digest()?;
            locations.insert(digest.clone(), path.clone());
            Ok(Descriptor {
                media_type: media_type.to_owned(),
                digest,
                size: blob.size(),
                platform: None,
                annotations: BTreeMap::new(),
            })
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MEDIA_TYPE_MANIFEST.to_owned()),
            config: describe(&saved.config, MEDIA_TYPE_CONFIG)?,
            layers: saved
                .layers
                .iter()
                .map(|path| describe(path, MEDIA_TYPE_LAYER))
                .collect::<Result<_, _>>()?,
        };
        let manifest_bytes = serde_json::to_vec(&manifest).map_err(|source| OciError::Json {
            document: "manifest".to_owned(),
            source,
        })?;
        let names = saved
            .repo_tags
            .unwrap_or_default()
            .iter()
            .map(|name| reference::full(name))
            .collect::<Result<_, _>>()?;
        Ok(ArchivedImage {
            names,
            descriptor: Descriptor {
                media_type: MEDIA_TYPE_MANIFEST.to_owned(),
                digest: sha256(&manifest_bytes),
                size: manifest_bytes.len() as u64,
                platform: None,
                annotations: BTreeMap::new(),
            },
            manifest,
            manifest_bytes,
            locations,
        })
    }
}

impl Blob {
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.span.size
    }

    /// Reads at an offset; shorter than the buffer only at the end, 0 behind it.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let left = self.span.size.saturating_sub(offset);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let start = self.span.offset + offset;
        let buffer = &mut buffer[..wanted];
        match &self.source {
            Source::Bytes(bytes) => {
                let start = usize::try_from(start).unwrap_or(usize::MAX);
                let piece = bytes
                    .get(start..start.saturating_add(wanted))
                    .ok_or(std::io::ErrorKind::UnexpectedEof)?;
                buffer.copy_from_slice(piece);
            }
            Source::File(file) => file.read_exact_at(buffer, start)?,
        }
        Ok(wanted)
    }

    fn read_document(&self) -> Result<Vec<u8>, OciError> {
        if self.span.size > DOCUMENT_SIZE_MAX {
            return Err(OciError::Archive(format!(
                "a JSON document of {} bytes is in it (at most {DOCUMENT_SIZE_MAX} are read)",
                self.span.size
            )));
        }
        let mut bytes = vec![0; usize::try_from(self.span.size).unwrap_or(0)];
        self.read_at(&mut bytes, 0).map_err(OciError::Tar)?;
        Ok(bytes)
    }

    fn digest(&self) -> Result<String, OciError> {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 * 1024];
        let mut offset = 0;
        loop {
            let read = self.read_at(&mut buffer, offset).map_err(OciError::Tar)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            offset += read as u64;
        }
        let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(format!("sha256:{hex}"))
    }
}

fn parse<T: serde::de::DeserializeOwned>(document: &str, bytes: &[u8]) -> Result<T, OciError> {
    serde_json::from_slice(bytes).map_err(|source| OciError::Json {
        document: document.to_owned(),
        source,
    })
}

/// The full name from the annotations; a bare tag alone names nothing.
fn names_of(annotations: &BTreeMap<String, String>) -> Result<Vec<String>, OciError> {
    if let Some(name) = annotations.get(ANNOTATION_IMAGE_NAME) {
        return Ok(vec![reference::full(name)?]);
    }
    match annotations.get(ANNOTATION_REF_NAME) {
        Some(name) if name.contains(['/', ':']) => Ok(vec![reference::full(name)?]),
        _ => Ok(Vec::new()),
    }
}

fn scan<R: Read + Seek>(source: R) -> Result<HashMap<String, Span>, OciError> {
    let not_tar =
        |error: std::io::Error| OciError::Archive(format!("it can't be read as a tar file: {error}"));
    let mut tar = tar::Archive::new(source);
    let (mut entries, mut links) = (HashMap::new(), HashMap::new());
    for entry in tar.entries_with_seek().map_err(not_tar)? {
        let entry = entry.map_err(not_tar)?;
        if entries.len() + links.len() >= ENTRIES_MAX {
            return Err(OciError::Archive(format!(
                "it has more than {ENTRIES_MAX} entries"
            )));
        }
        let kind = entry.header().entry_type();
        let path = entry.path().map_err(not_tar)?;
        let name = path.to_string_lossy();
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name().map_err(not_tar)?.unwrap_or_default();
            let base = path.parent().filter(|_| kind.is_symlink());
            links.insert(name, inside(base, &target));
            continue;
        }
        if !kind.is_file() {
            continue;
        }
        entries.insert(
            name,
            Span {
                offset: entry.raw_file_position(),
                size: entry.size(),
            },
        );
    }
    for (name, target) in &links {
        let mut target = target;
        // Where none of them leads to a file, nothing is there by that name.
        for _ in 0..DEPTH_MAX {
            let Some(next) = links.get(target) else { break };
            target = next;
        }
        if let Some(span) = entries.get(target).copied() {
            entries.insert(name.clone(), span);
        }
    }
    Ok(entries)
}

/// The name in the archive of what a link leads to: from the archive's root, or from the directory `base`. Older
/// `docker save` writes a layer that several images share once, and links to it.
fn inside(base: Option<&Path>, target: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in base
        .into_iter()
        .flat_map(Path::components)
        .chain(target.components())
    {
        match part {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir => parts.clear(),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests;
