//! What can go wrong with certificates.
use std::path::{Path, PathBuf};

/// Why a certificate or kubeconfig could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("cannot {action} {path}: {source}")]
    File {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is not a usable certificate or key: {reason}. Move it away to have it made anew")]
    Unusable { path: PathBuf, reason: String },
    #[error("cannot sign a certificate for {name}: {reason}")]
    Signing { name: String, reason: String },
    #[error("the key of service account tokens is unusable: {0}")]
    TokenKey(String),
    #[error("cannot set up TLS with {what}: {reason}")]
    Tls { what: &'static str, reason: String },
}

pub(crate) fn token_key(reason: impl Into<String>) -> PkiError {
    PkiError::TokenKey(reason.into())
}

/// One of two files that belong together is there alone.
pub(crate) fn half(missing: &Path, present: &Path) -> PkiError {
    PkiError::Unusable {
        path: present.to_path_buf(),
        reason: format!("{} is missing beside it", missing.display()),
    }
}
