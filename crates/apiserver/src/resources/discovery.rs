//! `discovery.k8s.io`: stored and shown.
use super::definition::Resource;
use super::rules::Rules;

pub const ENDPOINTSLICES: Resource = Resource::new(
    "discovery.k8s.io",
    "endpointslices",
    "endpointslice",
    "EndpointSlice",
)
.with_rules(Rules::WITH_GENERATION);
