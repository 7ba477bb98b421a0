//! The messages of `pluginregistration.Registration`.
use prost::Message;

#[derive(Clone, Copy, PartialEq, Message)]
pub struct InfoRequest {}

#[derive(Clone, PartialEq, Message)]
pub struct PluginInfo {
    /// What it is for: `DevicePlugin`, `CSIPlugin`, `DRAPlugin`.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// Of a device plugin, its resource.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Where it serves what it is for; empty: on the socket that was asked.
    #[prost(string, tag = "3")]
    pub endpoint: String,
    #[prost(string, repeated, tag = "4")]
    pub supported_versions: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RegistrationStatus {
    #[prost(bool, tag = "1")]
    pub plugin_registered: bool,
    #[prost(string, tag = "2")]
    pub error: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct RegistrationStatusResponse {}
