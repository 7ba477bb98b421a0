//! One file a command: each takes its arguments and does the job, in terms of the parts.
pub mod agent;
pub mod apiserver;
pub mod down;
pub mod etcd;
pub mod kubelet;
pub mod led;
pub mod listings;
pub mod store;
pub mod up;
