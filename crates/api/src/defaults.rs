//! The values Kubernetes fills in when nothing was said. Applying them twice changes nothing.

mod pod;
mod volume;
mod workload;

pub use pod::{pod, pod_spec, pod_template};
pub use workload::daemon_set;
