//! Labels and annotations of slices and Endpoints.

/// Of which Service a slice is.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Who keeps a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The keeper of slices of Services with a selector.
pub const SLICE_CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// The keeper of slices that mirror Endpoints.
pub const MIRROR_CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
/// Endpoints that aren't mirrored.
pub const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Who keeps an Endpoints.
pub const ENDPOINTS_MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// The keeper of Endpoints of Services with a selector.
pub const ENDPOINTS_CONTROLLER: &str = "endpoint-controller";
/// The Service has no address of its own.
pub const HEADLESS: &str = "service.kubernetes.io/headless";
/// Old leader elections keep their state in an Endpoints.
pub const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// When what led to a change happened.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Not all addresses are there.
pub const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Where a node is.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Hints by the share of each zone; whoever asks for these doesn't get those of `trafficDistribution`.
pub const TOPOLOGY: [&str; 2] = [
    "service.kubernetes.io/topology-aware-hints",
    "service.kubernetes.io/topology-mode",
];
