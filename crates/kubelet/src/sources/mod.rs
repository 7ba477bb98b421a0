//! Where desired pods come from: files and the API server.

/// One of the places pods come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A manifest on disk.
    File,
    /// The API server.
    Api,
}

impl Source {
    /// The value of the annotation `kubernetes.io/config.source`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => orlop_api::annotations::SOURCE_FILE,
            Self::Api => orlop_api::annotations::SOURCE_API,
        }
    }
}
