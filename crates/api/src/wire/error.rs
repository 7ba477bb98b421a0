//! Why a body could not be decoded, in upstream's words.

/// Why a body could not be decoded. All of these are 400 BadRequest except where [`DecodeError::code`] says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes aren't the format they claim to be.
    #[error("couldn't get version/kind; json parse error: {0}")]
    Syntax(String),
    /// The body declares another kind than the URL.
    #[error(
        "{found} in version \"{found_version}\" cannot be handled as a {wanted}: converting ({found_go}) to ({wanted_go}): unknown conversion"
    )]
    WrongKind {
        found: String,
        found_version: String,
        wanted: String,
        found_go: String,
        wanted_go: String,
    },
    /// A field has a value its type doesn't take.
    #[error("{kind} in version \"{version}\" cannot be handled as a {kind}: {cause}")]
    Field {
        kind: String,
        version: String,
        cause: String,
    },
    /// The object isn't an object.
    #[error(
        "{kind} in version \"{version}\" cannot be handled as a {kind}: json: cannot unmarshal {found} into Go value of type {go}"
    )]
    NotAnObject {
        kind: String,
        version: String,
        found: &'static str,
        go: String,
    },
    /// No built-in kind of that name.
    #[error("no kind \"{kind}\" is registered for version \"{api_version}\"")]
    UnknownKind { api_version: String, kind: String },
    /// A protobuf body that breaks off or contradicts itself.
    #[error("the body is not valid protobuf of {message}: {cause}")]
    Protobuf { message: String, cause: String },
    /// A kind that has no protobuf form here.
    #[error(
        "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml"
    )]
    NoProtobuf,
}

impl DecodeError {
    /// What is wrong, without saying again which kind could not be handled as which: what follows
    /// `cannot be handled as a Pod: `, and what a patch's `Invalid value` ends with.
    pub fn cause(&self) -> String {
        match self {
            DecodeError::Field { cause, .. } => cause.clone(),
            DecodeError::NotAnObject { found, go, .. } => {
                format!("json: cannot unmarshal {found} into Go value of type {go}")
            }
            DecodeError::WrongKind {
                wanted_go, found_go, ..
            } => {
                format!("converting ({found_go}) to ({wanted_go}): unknown conversion")
            }
            other => other.to_string(),
        }
    }

    /// The HTTP status.
    pub fn code(&self) -> u16 {
        match self {
            DecodeError::NoProtobuf => 415,
            _ => 400,
        }
    }

    /// The Status reason.
    pub fn reason(&self) -> &'static str {
        match self {
            DecodeError::NoProtobuf => "UnsupportedMediaType",
            _ => "BadRequest",
        }
    }
}
