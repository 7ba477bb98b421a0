//! Why volumes are not as they should be.
use crate::environment::objects::FetchError;
use std::path::{Path, PathBuf};

/// Why a pod's volumes are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {reason}")]
    SetUp { volume: String, reason: Fault },
    #[error("cannot find volume \"{volume}\" to mount into container \"{container}\"")]
    Unknown { volume: String, container: String },
    #[error("missing value for \"{0}\"")]
    MissingValue(String),
    #[error("subPath \"{0}\" of a volumeMount must be a relative path without '..'")]
    BadSubPath(String),
    #[error("failed to create subPath directory for volumeMount \"{volume}\" of container \"{container}\"")]
    SubPathDirectory { volume: String, container: String },
    #[error("failed to prepare subPath for volumeMount \"{volume}\" of container \"{container}\"")]
    SubPath { volume: String, container: String },
    /// The runtime would mount the whole in place of the part.
    #[error("{0}")]
    ImagePart(String),
    #[error("cannot tear down {path}: {source}")]
    TearDown { path: PathBuf, source: std::io::Error },
    #[error("pod uid {0:?} is not a file name")]
    BadUid(String),
}

/// Why one volume cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Object(#[from] FetchError),
    #[error("{0}")]
    Invalid(String),
    #[error("cannot get a token of service account \"{name}\": {reason}")]
    Token { name: String, reason: String },
    #[error("{what} {path}: {source}")]
    Io {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("volume type {0} is not supported by this node agent")]
    Unsupported(String),
}

impl Fault {
    pub(super) fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }

    /// The API server did not say no, it said nothing.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Object(FetchError::Unavailable { .. }) | Self::Token { .. }
        )
    }
}
