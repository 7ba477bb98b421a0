use std::path::PathBuf;

/// What can go wrong when an image is built or an archive read.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// A file could not be read or written.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was tried: `reading`, `writing`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A path that can't stand in an image.
    #[error("{0:?} is not a path inside an image: it must be absolute and must not contain '..'")]
    ImagePath(String),
    /// A command of the system that isn't there or failed.
    #[error("running `{command}`: {reason}")]
    Command {
        /// The command line.
        command: String,
        /// What it said.
        reason: String,
    },
    /// The Debian package isn't installed.
    #[error("Debian package {0} is not installed: run `apt-get install {0}`")]
    PackageMissing(String),
    /// A program links to a library that isn't installed.
    #[error("{} needs the shared library {library}, which is not installed", program.display())]
    LibraryMissing {
        /// The program.
        program: PathBuf,
        /// Its missing library.
        library: String,
    },
    /// The name is no image reference.
    #[error("{name:?} is not an image name: {reason}")]
    Reference {
        /// The name as given.
        name: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// The tar file is no image archive.
    #[error("not an OCI image archive: {0}")]
    Archive(String),
    /// A JSON document of the archive doesn't parse.
    #[error("{document} in the image archive: {source}")]
    Json {
        /// Its path in the archive.
        document: String,
        /// Parser's words.
        #[source]
        source: serde_json::Error,
    },
    /// Tar stream I/O.
    #[error("image archive: {0}")]
    Tar(#[source] std::io::Error),
}

impl OciError {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| OciError::File { action, path, source }
    }
}
