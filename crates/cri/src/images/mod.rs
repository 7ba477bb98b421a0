//! Images without a registry: archives go through containerd's own API into the place where its CRI half looks.
//!
//! - [`Importer`]: one archive, skipped within milliseconds when it is there already.
//! - [`Directory`]: every `*.tar` of a directory, now and when one is dropped in.
//! - [`Archives`]: what lies there, for an image that the runtime has lost.

mod content;
mod directory;
mod import;
mod registry;
mod unpack;

pub use directory::{Archives, Directory};
pub(crate) use registry::{NAMESPACE, in_cri_namespace};

pub use import::{Imported, Importer};

use crate::CriError;
use orlop_oci::OciError;
use std::path::PathBuf;

/// Why an archive was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is no usable archive.
    #[error(transparent)]
    Archive(#[from] OciError),
    /// An image in it has no name, so no pod could ask for it.
    #[error(
        "image {digest} in the archive has no name: it needs the annotation io.containerd.image.name (or a full org.opencontainers.image.ref.name) in index.json"
    )]
    Unnamed {
        /// Its manifest.
        digest: String,
    },
    /// containerd refused a step.
    #[error("{step} for image {image}: {message}")]
    Containerd {
        /// What was done.
        step: &'static str,
        /// The image's name or a digest.
        image: String,
        /// containerd's words.
        message: String,
        /// Its gRPC code.
        code: tonic::Code,
    },
    /// The runtime has no containerd API.
    #[error("the runtime is {runtime}, not containerd: load image archives with its own tools")]
    NotContainerd {
        /// What it is.
        runtime: String,
    },
    /// The image was imported, but CRI doesn't show it.
    #[error("image {image} was imported, but the runtime does not show it through CRI: {reason}")]
    NotVisible {
        /// Its name.
        image: String,
        /// What CRI answered.
        reason: String,
    },
    /// CRI itself failed.
    #[error("asking the runtime: {0}")]
    Cri(#[from] CriError),
    /// The images directory.
    #[error("images directory {}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl ImportError {
    fn containerd(step: &'static str, image: &str) -> impl FnOnce(tonic::Status) -> Self {
        let image = image.to_owned();
        move |status| ImportError::Containerd {
            step,
            image,
            message: status.message().to_owned(),
            code: status.code(),
        }
    }
}
