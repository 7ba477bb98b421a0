//! The messages of `v1alpha1.Pods`. Pods lie in them in the API's own protobuf form.
use prost::Message;

/// What became of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum EventType {
    Added = 0,
    Modified = 1,
    Deleted = 2,
}

#[derive(Clone, PartialEq, Message)]
pub struct WatchPodsEvent {
    #[prost(enumeration = "EventType", tag = "1")]
    pub event_type: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub pod: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ListPodsResponse {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub pods: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetPodRequest {
    #[prost(string, tag = "1")]
    pub pod_uid: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetPodResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub pod: Vec<u8>,
}
