//! The harness of the end-to-end tests: a real node under a root of its own, driven by the real
//! kubectl, on a real containerd.
//!
//! Every [`Node`] has its own directory, ports, network bridge and containerd, so that tests run
//! beside each other and beside the machine's own node, and it takes all of it down when dropped.
//! Nothing here knows how orlop works inside: it runs the binary and reads what users read.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod binaries;
mod cleanup;
mod clients;
mod cluster;
mod containerd;
mod control_plane;
mod kubectl;
mod masters;
mod node;
mod part;
pub mod registers;
mod registry;
mod runtime;
mod wait;

pub use binaries::{images, orlop};
pub use cleanup::mounted_below;
pub use clients::Clients;
pub use cluster::{CONTROL_PLANE, Cluster};
pub use containerd::SeparateContainerd;
pub use control_plane::ControlPlane;
pub use kubectl::Kubectl;
pub use masters::FAKETIME;
pub use node::{Node, NodeOptions};
pub use orlop_ports::free_port;
pub use part::Part;
pub use registry::Registry;
pub use runtime::Running;
pub use wait::{STEP_TIMEOUT, eventually};
