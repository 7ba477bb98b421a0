use super::content::{self, Content};
use super::registry::{self, Lease};
use super::{ImportError, unpack};
use crate::{Remote, RuntimeService, containerd, pause};
use containerd_client::types::Descriptor;
use orlop_oci::archive::ArchivedImage;
use orlop_oci::{Archive, reference, spec};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long CRI may take to show an image it was given. It learns of new names by an event and tells nobody when it has
/// taken it in, hence the looking.
const VISIBLE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_FIRST: Duration = Duration::from_millis(2);

/// What became of one image of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Its full name.
    pub name: String,
    /// Its manifest's digest.
    pub digest: String,
    /// It was there already, nothing was done.
    pub was_present: bool,
}

/// What keeps the layers: the managed containerd is set up with it.
const SNAPSHOTTER: &str = "overlayfs";

/// Imports archives into a containerd.
#[derive(Debug)]
pub struct Importer {
    remote: Remote,
    /// One at a time: two imports of the same layers would unpack them twice.
    turn: Mutex<()>,
}

impl Importer {
    /// An importer into the containerd behind `remote`, with its `overlayfs` snapshotter.
    pub fn new(remote: &Remote) -> Result<Self, ImportError> {
        if remote.runtime_name() == "containerd" {
            Ok(Self {
                remote: remote.clone(),
                turn: Mutex::new(()),
            })
        } else {
            Err(ImportError::NotContainerd {
                runtime: remote.runtime_name().to_owned(),
            })
        }
    }

    /// Imports all images of an archive file that fit this machine.
    pub async fn import_file(&self, path: &Path) -> Result<Vec<Imported>, ImportError> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || read(Archive::open(&path)?)).await;
        self.import(joined(opened)?).await
    }

    /// Imports all images of an archive in memory.
    pub async fn import_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Imported>, ImportError> {
        let opened = tokio::task::spawn_blocking(move || read(Archive::from_bytes(bytes)?)).await;
        self.import(joined(opened)?).await
    }

    /// Imports our sandbox image under our name.
    pub async fn import_pause(&self) -> Result<Vec<Imported>, ImportError> {
        self.import_bytes(pause::archive()?).await
    }

    /// Sees to it that the runtime has the sandbox image it is configured to use. Where that is missing, our program goes
    /// in under its name: a runtime that somebody else configured then works without a registry too.
    pub async fn ensure_sandbox_image(&self) -> Result<(), ImportError> {
        let status = self.remote.status(true).await?;
        let shown = status.info.get("config");
        let name = match shown.and_then(|config| sandbox_image_of(config)) {
            Some(name) => Some(name),
            // Only of this one it is known what its program does when it is asked.
            None if self.remote.runtime_name() == "containerd" => {
                containerd::sandbox_image(self.remote.endpoint()).await
            }
            None => None,
        };
        let Some(name) = name else {
            return Ok(());
        };
        if self.remote.image_status(&name).await?.is_some() {
            return Ok(());
        }
        self.import_bytes(pause::archive_as(&name)?).await?;
        tracing::info!(image = name, "sandbox image was missing; our own took its name");
        Ok(())
    }

    async fn import(
        &self,
        (archive, images): (Archive, Vec<ArchivedImage>),
    ) -> Result<Vec<Imported>, ImportError> {
        let _turn = self.turn.lock().await;
        let mut imported = Vec::new();
        for image in images {
            if image.names.is_empty() {
                return Err(ImportError::Unnamed {
                    digest: image.descriptor.digest,
                });
            }
            let config = archive.config_of(&image)?;
            let was_present = self.is_present(&image, &config).await?;
            if !was_present {
                self.store(&archive, &image, &config).await?;
            }
            imported.extend(image.names.iter().map(|name| Imported {
                name: name.clone(),
                digest: image.descriptor.digest.clone(),
                was_present,
            }));
        }
        Ok(imported)
    }

    /// All names stand for this manifest already and its layers are unpacked.
    async fn is_present(
        &self,
        image: &ArchivedImage,
        config: &spec::ImageConfig,
    ) -> Result<bool, ImportError> {
        for name in &image.names {
            let target = registry::target_of(self.remote.channel(), name)
                .await
                .map_err(ImportError::containerd("looking up the name", name))?;
            if target.as_deref() != Some(&image.descriptor.digest) {
                return Ok(false);
            }
        }
        match unpack::chain_ids(&config.rootfs.diff_ids).last() {
            None => Ok(true),
            Some(top) => unpack::is_unpacked(self.remote.channel(), SNAPSHOTTER, top)
                .await
                .map_err(ImportError::containerd("looking for a snapshot", top)),
        }
    }

    async fn store(
        &self,
        archive: &Archive,
        image: &ArchivedImage,
        config: &spec::ImageConfig,
    ) -> Result<(), ImportError> {
        let first_name = image.names.first().map_or("", String::as_str);
        let lease = Lease::take(self.remote.channel(), first_name).await?;
        let outcome = self.store_under(&lease, archive, image, config).await;
        lease.release().await;
        outcome?;
        for name in &image.names {
            self.wait_until_visible(name).await?;
        }
        Ok(())
    }

    async fn store_under(
        &self,
        lease: &Lease,
        archive: &Archive,
        image: &ArchivedImage,
        config: &spec::ImageConfig,
    ) -> Result<(), ImportError> {
        let manifest = &image.manifest;
        let put = |digest: &str, content, labels| {
            let digest = digest.to_owned();
            async move { content::put(self.remote.channel(), lease.id(), &digest, content, labels).await }
        };
        let mut references = HashMap::new();
        for (index, layer) in manifest.layers.iter().enumerate() {
            let blob = archive.blob(image, &layer.digest)?;
            put(&layer.digest, Content::Blob(blob), HashMap::new()).await?;
            references.insert(
                format!("containerd.io/gc.ref.content.l.{index}"),
                layer.digest.clone(),
            );
        }
        let layers: Vec<Descriptor> = manifest.layers.iter().map(descriptor).collect();
        let diff_ids = &config.rootfs.diff_ids;
        unpack::unpack(&self.remote.channel(), lease.id(), SNAPSHOTTER, &layers, diff_ids).await?;

        let mut config_labels = HashMap::new();
        if let Some(top) = unpack::chain_ids(diff_ids).last() {
            config_labels.insert(
                format!("containerd.io/gc.ref.snapshot.{SNAPSHOTTER}"),
                top.clone(),
            );
        }
        let config_digest = &manifest.config.digest;
        let blob = archive.blob(image, config_digest)?;
        put(config_digest, Content::Blob(blob), config_labels).await?;
        references.insert(
            "containerd.io/gc.ref.content.config".to_owned(),
            config_digest.clone(),
        );
        put(
            &image.descriptor.digest,
            Content::Bytes(image.manifest_bytes.clone()),
            references,
        )
        .await?;
        self.set_names(image).await
    }

    /// The names CRI itself gives an image it pulled: its id, `repository@digest`, and the tag. The tag comes last: it is
    /// what `is_present` asks for, so a half-done import is done again.
    async fn set_names(&self, image: &ArchivedImage) -> Result<(), ImportError> {
        let target = descriptor(&image.descriptor);
        let id = image.manifest.config.digest.clone();
        let digests = image
            .names
            .iter()
            .map(|name| format!("{}@{}", reference::repository(name), target.digest));
        let pinned = image.names.iter().any(|name| name == pause::IMAGE);
        for name in std::iter::once(id)
            .chain(digests)
            .chain(image.names.iter().cloned())
        {
            registry::set_target(self.remote.channel(), &name, target.clone(), pinned).await?;
        }
        Ok(())
    }

    async fn wait_until_visible(&self, name: &str) -> Result<(), ImportError> {
        let give_up = tokio::time::Instant::now() + VISIBLE_WITHIN;
        let mut wait = LOOK_FIRST;
        loop {
            let reason = match self.remote.image_status(name).await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => format!("it answers \"not found\" after {VISIBLE_WITHIN:?}"),
                Err(error) => error.to_string(),
            };
            if tokio::time::Instant::now() >= give_up {
                return Err(ImportError::NotVisible {
                    image: name.to_owned(),
                    reason,
                });
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_millis(100));
        }
    }
}

/// Out of the configuration that containerd 1.x shows in its verbose status.
fn sandbox_image_of(config: &str) -> Option<String> {
    let config: serde_json::Value = serde_json::from_str(config).ok()?;
    let name = config.get("sandboxImage")?.as_str()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn read(archive: Archive) -> Result<(Archive, Vec<ArchivedImage>), ImportError> {
    let images = archive.images()?;
    Ok((archive, images))
}

fn joined<T>(outcome: Result<Result<T, ImportError>, tokio::task::JoinError>) -> Result<T, ImportError> {
    outcome.unwrap_or_else(|error| {
        Err(orlop_oci::OciError::Archive(format!("reading it was cut short: {error}")).into())
    })
}

fn descriptor(descriptor: &spec::Descriptor) -> Descriptor {
    Descriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.clone(),
        size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
        ..Descriptor::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandbox_image_is_read_from_the_configuration_that_is_shown() {
        let cases = [
            (r#"{"sandboxImage":"a.b/pause:1"}"#, Some("a.b/pause:1")),
            (r#"{"sandboxImage":""}"#, None),
            ("{}", None),
            ("no json", None),
        ];
        for (config, want) in cases {
            assert_eq!(sandbox_image_of(config).as_deref(), want, "{config}");
        }
    }
}
