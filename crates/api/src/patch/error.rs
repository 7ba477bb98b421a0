//! Why a patch could not be applied, with the status the contract gives each cause (§9).

use super::JSON_PATCH_OPERATIONS_MAX;

/// Why a patch could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The body isn't a patch of its type.
    #[error("error decoding patch: {0}")]
    Malformed(String),
    /// More operations than one request may carry.
    #[error(
        "Request entity too large: The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {0}"
    )]
    TooManyOperations(usize),
    /// A `test` failed, a path isn't there, or the object would grow past all bounds. The cause is for the log; users see upstream's sentence.
    #[error("the server rejected our request due to an error in our request")]
    NotApplicable { operation: usize, cause: String },
    /// An element of a keyed list lacks the key.
    #[error("map: {element} does not contain declared merge key: {key}")]
    MissingMergeKey { element: String, key: &'static str },
    /// A `$patch` value that isn't delete, replace or merge.
    #[error("unknown patch type: {directive} in map: {element}")]
    UnknownDirective { directive: String, element: String },
    /// The body says nothing that could be done.
    #[error("{0}")]
    Invalid(String),
    /// A directive that is known but malformed.
    #[error("invalid patch format of {0}")]
    BadDirective(&'static str),
    /// Directives that contradict the list they are about.
    #[error("{0}")]
    Contradiction(String),
    /// Strategic merge needs to know the kind's lists.
    #[error(
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    )]
    UnknownKind(String),
}

impl PatchError {
    /// The HTTP status.
    pub fn code(&self) -> u16 {
        match self {
            PatchError::Malformed(_) | PatchError::Invalid(_) | PatchError::BadDirective(_) => 400,
            PatchError::TooManyOperations(_) => 413,
            PatchError::NotApplicable { .. } => 422,
            PatchError::MissingMergeKey { .. }
            | PatchError::UnknownDirective { .. }
            | PatchError::Contradiction(_) => 500,
            PatchError::UnknownKind(_) => 415,
        }
    }

    /// The Status reason; empty where upstream's is.
    pub fn reason(&self) -> &'static str {
        match self {
            PatchError::Malformed(_) | PatchError::Invalid(_) | PatchError::BadDirective(_) => "BadRequest",
            PatchError::TooManyOperations(_) => "RequestEntityTooLarge",
            PatchError::NotApplicable { .. } => "Invalid",
            PatchError::MissingMergeKey { .. }
            | PatchError::UnknownDirective { .. }
            | PatchError::Contradiction(_) => "",
            PatchError::UnknownKind(_) => "UnsupportedMediaType",
        }
    }
}
