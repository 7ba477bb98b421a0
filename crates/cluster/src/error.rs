use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a node could not be made a member, or a cluster not be changed. Each is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("{0}")]
    Configuration(String),
    /// What the machine lacks, all of it.
    #[error("this machine is not ready: {}", .0.join("; "))]
    NotReady(Vec<String>),
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{what} cannot be used: {reason}")]
    Document { what: String, reason: String },
    #[error(transparent)]
    Pki(#[from] orlop_pki::PkiError),
    #[error(transparent)]
    Connect(#[from] orlop_client::ConnectError),
    /// The API server refused, or did not answer.
    #[error("the API server: cannot {what}: {}", told(error))]
    Api { what: String, error: Box<kube::Error> },
    #[error("{what} within {within:?}: {last}; {hint}")]
    TooLate {
        what: String,
        within: Duration,
        last: String,
        hint: String,
    },
    #[error(transparent)]
    Endpoint(#[from] crate::endpoint::EndpointError),
    #[error(transparent)]
    Token(#[from] crate::token::TokenError),
    #[error("etcd: cannot {what}: {reason}")]
    Etcd { what: &'static str, reason: String },
}

impl ClusterError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| ClusterError::File { action, path, source }
    }

    /// What a file holds cannot be used.
    pub(crate) fn unusable(path: &Path, reason: impl Into<String>) -> Self {
        ClusterError::Document {
            what: path.display().to_string(),
            reason: reason.into(),
        }
    }

    pub(crate) fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |error| ClusterError::Api {
            what,
            error: Box::new(error),
        }
    }
}

/// The server's own words, or why there are none.
fn told(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
