//! A pod, as the checks look at it.

use k8s_openapi::api::core::v1::{
    ContainerPort, Lifecycle, PodSecurityContext, PodSpec, Probe, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// A container of any of the three sorts.
pub(super) struct Part<'a> {
    pub name: &'a str,
    pub security: Option<&'a SecurityContext>,
    pub ports: &'a [ContainerPort],
    pub probes: [Option<&'a Probe>; 3],
    pub lifecycle: Option<&'a Lifecycle>,
}

/// A pod or a template of pods.
pub(super) struct Subject<'a> {
    pub metadata: &'a ObjectMeta,
    pub spec: &'a PodSpec,
    /// Init containers, containers, ephemeral ones.
    pub parts: Vec<Part<'a>>,
}

macro_rules! part {
    ($container:expr) => {
        Part {
            name: &$container.name,
            security: $container.security_context.as_ref(),
            ports: $container.ports.as_deref().unwrap_or_default(),
            probes: [
                $container.liveness_probe.as_ref(),
                $container.readiness_probe.as_ref(),
                $container.startup_probe.as_ref(),
            ],
            lifecycle: $container.lifecycle.as_ref(),
        }
    };
}

impl<'a> Subject<'a> {
    pub fn new(metadata: &'a ObjectMeta, spec: &'a PodSpec) -> Subject<'a> {
        let init = spec.init_containers.iter().flatten();
        let mut parts: Vec<Part<'a>> = init
            .chain(&spec.containers)
            .map(|container| part!(container))
            .collect();
        let ephemeral = spec.ephemeral_containers.iter().flatten();
        parts.extend(ephemeral.map(|container| part!(container)));
        Subject {
            metadata,
            spec,
            parts,
        }
    }

    pub fn security(&self) -> Option<&'a PodSecurityContext> {
        self.spec.security_context.as_ref()
    }

    /// Names of the containers that `is` holds for.
    pub fn named(&self, is: impl Fn(&Part<'a>) -> bool) -> Vec<&'a str> {
        self.parts
            .iter()
            .filter(|part| is(part))
            .map(|part| part.name)
            .collect()
    }

    pub fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let annotations = self.metadata.annotations.iter().flatten();
        annotations.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub fn is_windows(&self) -> bool {
        self.spec.os.as_ref().is_some_and(|os| os.name == "windows")
    }

    /// Users inside are not users of the host.
    pub fn has_own_users(&self) -> bool {
        self.spec.host_users == Some(false)
    }
}
