//! One file a command: each takes its arguments and does the job, in terms of the parts.
pub mod agent;
pub mod apiserver;
mod ask_agent;
pub mod check;
pub mod cluster;
pub mod doctor;
pub mod down;
pub mod etcd;
pub mod hollow;
pub mod insight;
pub mod kubelet;
pub mod led;
pub mod listings;
pub mod local_api;
pub mod status;
pub mod store;
pub mod up;
pub mod wait;
