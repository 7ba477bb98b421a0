//! An archive opened, and the images in it.
mod blob;
mod contents;

pub use blob::Blob;

use super::blob_path;
use crate::spec::{
    ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, Descriptor, DockerManifest, ImageConfig, Index,
    MEDIA_TYPE_CONFIG, MEDIA_TYPE_LAYER, MEDIA_TYPE_MANIFEST, Manifest, Platform,
};
use crate::{OciError, reference, sha256};
use blob::Source;
use contents::{Span, scan};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

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

#[cfg(test)]
mod tests;
