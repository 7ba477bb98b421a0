//! Answers of the API server that mean something to controllers.

use crate::owned::ClaimError;

/// Why a sync must be repeated.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// It isn't known what belongs to the object.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The server refused or didn't answer.
    #[error("{}", orlop_client::message(.0))]
    Api(#[from] kube::Error),
    /// A request can't be serialised.
    #[error("cannot serialise a request: {0}")]
    Serialise(#[from] serde_json::Error),
}

impl SyncError {
    /// Whether the cache was merely late.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Claim(error) => error.is_ordinary(),
            Self::Api(error) => is_conflict(error),
            Self::Serialise(_) => false,
        }
    }
}

/// Whether the object isn't there.
pub fn is_not_found(error: &kube::Error) -> bool {
    code(error) == Some(404)
}

/// Whether the answer is about one object, rather than about a place that the server doesn't have.
pub fn names_object(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status
            .details
            .as_ref()
            .is_some_and(|details| !details.name.is_empty()),
        _ => false,
    }
}

/// Whether the server said that it doesn't have the place that was asked for.
pub fn is_unserved(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if orlop_client::is_unserved(status))
}

/// Whether somebody else was faster, or the name is taken.
pub fn is_conflict(error: &kube::Error) -> bool {
    code(error) == Some(409)
}

/// Whether an object of that name is there already.
pub fn is_already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.reason == "AlreadyExists")
}

/// Whether the object didn't pass validation, such as a patch whose preconditions no longer hold.
pub fn is_invalid(error: &kube::Error) -> bool {
    code(error) == Some(422)
}

/// Whether nothing can be created any more because the namespace is going away.
pub fn is_namespace_terminating(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.details.as_ref().is_some_and(|details| {
            details
                .causes
                .iter()
                .any(|cause| cause.reason == "NamespaceTerminating")
        }),
        _ => false,
    }
}

/// Whether the request may have been carried out all the same: no answer came, or one that doesn't say.
pub fn is_uncertain(error: &kube::Error) -> bool {
    code(error).is_none_or(|code| code >= 500)
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}
