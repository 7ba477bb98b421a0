//! What a container sees around it: variables, hosts and resolver configuration (contract, node agent §13, §14).
//!
//! A container that refers to no configMap or secret gets its environment without any network I/O.
pub mod dns;
pub mod field;
mod file_key;
pub mod hosts;
pub mod local;
pub mod objects;
pub mod resource;
mod services;
mod variables;

pub use services::Services;
pub use variables::{EnvContext, container_env};

/// Node-wide settings of what containers see.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The agent's directory, `/var/lib/kubelet`.
    pub root: std::path::PathBuf,
    /// `clusterDNS`.
    pub cluster_dns: Vec<String>,
    /// `clusterDomain`.
    pub cluster_domain: String,
    /// `resolvConf`.
    pub resolv_conf: std::path::PathBuf,
    /// What stands in for limits that containers do not have.
    pub node: resource::ThisNode,
}

/// Why a container's surroundings cannot be made; the text is the message of `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    #[error(transparent)]
    Object(#[from] objects::FetchError),
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    MissingKey {
        kind: &'static str,
        namespace: String,
        name: String,
        key: String,
    },
    #[error("unsupported fieldPath: {0}")]
    UnsupportedField(String),
    #[error(transparent)]
    Resource(#[from] resource::ResourceError),
    #[error("environment variable key {key:?} not found in file {path:?}")]
    FileKey { key: String, path: String },
    #[error("cannot read the file {path:?} of volume {volume:?}: {source}")]
    File {
        path: String,
        volume: String,
        source: std::io::Error,
    },
    #[error("line {line} of file {path:?} is not KEY='value'")]
    FileSyntax { path: String, line: usize },
    #[error("cannot write the hosts file {path}: {source}")]
    HostsFile {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
}
