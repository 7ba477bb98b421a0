//! What Kubernetes objects *mean*: quantities, names, defaults, selectors, taints, placement, static-pod
//! manifests and validation, as pure functions over `k8s-openapi` types.
//!
//! No tasks, no I/O, no clocks: everything here is a function of its arguments, so the kubelet, the
//! controllers, the scheduler and the API server agree by construction. `apply`, `patch`, `table` and `wire` (the API
//! server's view of bytes) live here for the same reason.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod age;
pub mod aggregated_roles;
pub mod annotations;
pub mod apply;
pub mod cel;
pub mod cidr;
pub mod conditions;
pub mod continue_token;
pub mod cron;
pub mod defaults;
pub mod duration;
pub mod expand;
pub mod fnv;
pub mod limit_range;
pub mod manifest;
pub mod names;
pub mod patch;
pub mod percent;
pub mod placement;
pub mod pod;
pub mod pod_security;
pub mod quantity;
pub mod quota;
pub mod regexp;
pub mod selector;
pub mod shared;
pub mod signals;
pub mod structural;
pub mod table;
pub mod taints;
pub mod validation;
pub mod wire;
pub mod yaml;

/// The version of Kubernetes whose API this is.
pub const KUBERNETES_VERSION: &str = "v1.36.0";
