//! The messages on the wire, by containerd's field numbers; only what is read or written here.

pub mod events;
pub mod options;
pub mod stats;
pub mod task;
pub mod ttrpc;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A message of some type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

impl Any {
    /// A message under containerd's name for its type, which has no host in front.
    pub fn of(type_url: &str, message: &impl prost::Message) -> Self {
        Self {
            type_url: type_url.to_owned(),
            value: message.encode_to_vec(),
        }
    }

    /// Whether it is of this type, whatever stands in front of the name.
    pub fn is(&self, name: &str) -> bool {
        self.type_url
            .rsplit_once('/')
            .map_or(&*self.type_url, |(_, last)| last)
            == name
    }
}

/// A moment.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
        }
    }
}

/// An answer that says nothing but "done".
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Empty {}

/// `containerd.types.Mount`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Mount {
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(string, tag = "2")]
    pub source: String,
    #[prost(string, tag = "3")]
    pub target: String,
    #[prost(string, repeated, tag = "4")]
    pub options: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_is_known_with_and_without_a_host_in_front() {
        let any = |url: &str| Any {
            type_url: url.to_owned(),
            value: Vec::new(),
        };
        assert!(any("containerd.runc.v1.Options").is("containerd.runc.v1.Options"));
        assert!(any("types.containerd.io/containerd.runc.v1.Options").is("containerd.runc.v1.Options"));
        assert!(!any("containerd.runc.v1.OptionsX").is("containerd.runc.v1.Options"));
    }
}
