//! What containerd's configuration says of a runtime of runc's kind, and what is said of it in answer.

use super::Any;

/// Its name as a type.
pub const RUNC_OPTIONS: &str = "containerd.runc.v1.Options";

/// `containerd.runc.v1.Options`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Options {
    #[prost(bool, tag = "1")]
    pub no_pivot_root: bool,
    #[prost(bool, tag = "2")]
    pub no_new_keyring: bool,
    #[prost(string, tag = "3")]
    pub shim_cgroup: String,
    /// Whom the pipes of the container's output belong to.
    #[prost(uint32, tag = "4")]
    pub io_uid: u32,
    #[prost(uint32, tag = "5")]
    pub io_gid: u32,
    #[prost(string, tag = "6")]
    pub binary_name: String,
    #[prost(string, tag = "7")]
    pub root: String,
    #[prost(bool, tag = "9")]
    pub systemd_cgroup: bool,
}

/// Its name as a type.
pub const CHECKPOINT_OPTIONS: &str = "containerd.runc.v1.CheckpointOptions";

/// `containerd.runc.v1.CheckpointOptions`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckpointOptions {
    /// The container ends with it.
    #[prost(bool, tag = "1")]
    pub exit: bool,
    #[prost(bool, tag = "2")]
    pub open_tcp: bool,
    #[prost(bool, tag = "3")]
    pub external_unix_sockets: bool,
    #[prost(bool, tag = "4")]
    pub terminal: bool,
    #[prost(bool, tag = "5")]
    pub file_locks: bool,
    #[prost(string, repeated, tag = "6")]
    pub empty_namespaces: Vec<String>,
    #[prost(string, tag = "7")]
    pub cgroups_mode: String,
    /// Goes before the request's.
    #[prost(string, tag = "8")]
    pub image_path: String,
    #[prost(string, tag = "9")]
    pub work_path: String,
    #[prost(string, tag = "10")]
    pub parent_path: String,
}

/// `containerd.types.RuntimeInfo`: what a shim and the runtime below it are.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub version: Option<RuntimeVersion>,
    /// The runtime's features, as JSON.
    #[prost(message, optional, tag = "4")]
    pub features: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeVersion {
    #[prost(string, tag = "1")]
    pub version: String,
}
