//! Rules about who may write what where, one a file, applied in upstream's order (contract §17).
//!
//! Every write passes two phases. In the mutating one plugins may change the object; then the resource's own rules
//! prepare and check it; in the validating one plugins see what will be stored. A plugin that decides alone is a plain
//! function; one that asks others is asynchronous.
//!
//! | file | does |
//! |---|---|
//! | `attempt` | one write, as admission sees it |
//! | `plugin` | what a plugin is, which are on, the two phases |
//! | `matching` | which requests a webhook or policy is about |
//! | `review` | AdmissionReview: what others are asked, what their answers mean |
//! | `conditions`, `scene` | expressions about requests, and what they see |
//! | `optional` | plugins that are off unless they are named |
//! | `settings` | what plugins are told beforehand, by a file |
//! | `hooks` | the webhooks and policies that hold now |
//! | `webhooks`, `policies` | asking them |
//!
//! To add a plugin: write its file and add its line to [`PLUGINS`], in upstream's order.
mod attempt;
mod conditions;
mod hooks;
mod matching;
mod optional;
mod plugin;
mod policies;
mod policy_status;
mod review;
mod scene;
mod settings;
mod webhooks;

mod certificates;
mod claim_resize;
mod default_class;
mod default_tolerations;
mod escalation;
mod event_rate;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod pod_resize;
mod pod_security;
mod priority;
mod runtime_class;
mod service_account;
mod storage_in_use;
mod taint_nodes;
mod topology_labels;

pub use attempt::{Admission, Attempt, Operation};
pub use hooks::Hooks;
pub use plugin::{Chain, UnknownPlugin};
pub use settings::AdmissionSettings;

use crate::http::Call;
use crate::metrics::Phase;
use crate::status::ApiError;
use plugin::{Mutating, Plugin};
use std::time::Instant;

/// The plugins, in upstream's order, which is that of both phases.
static PLUGINS: &[Plugin] = &[
    Plugin::new("NamespaceLifecycle").mutating_async(namespace_lifecycle::admit),
    Plugin::new("LimitPodHardAntiAffinityTopology")
        .validating(optional::anti_affinity::validate)
        .only_if_asked_for(),
    Plugin::new("LimitRanger")
        .mutating(limit_ranger::admit)
        .validating(limit_ranger::validate),
    Plugin::new("ServiceAccount").mutating(service_account::admit),
    Plugin::new("NodeRestriction").mutating(node_restriction::admit),
    Plugin::new("TaintNodesByCondition").mutating(taint_nodes::admit),
    Plugin::new("AlwaysPullImages")
        .mutating(optional::pull_always::admit)
        .validating(optional::pull_always::validate)
        .only_if_asked_for(),
    Plugin::new("PodSecurity").validating(pod_security::validate),
    Plugin::new("PodNodeSelector")
        .mutating(optional::node_selector::admit)
        .validating(optional::node_selector::validate)
        .only_if_asked_for(),
    Plugin::new("Priority")
        .mutating(priority::admit)
        .validating(priority::validate),
    Plugin::new("DefaultTolerationSeconds").mutating(default_tolerations::admit),
    Plugin::new("PodTolerationRestriction")
        .mutating(optional::toleration_restriction::admit)
        .validating(optional::toleration_restriction::validate)
        .only_if_asked_for(),
    Plugin::new("ExtendedResourceToleration")
        .mutating(optional::resource_tolerations::admit)
        .only_if_asked_for(),
    Plugin::new("DefaultStorageClass").mutating(default_class::storage),
    Plugin::new("StorageObjectInUseProtection").mutating(storage_in_use::admit),
    Plugin::new("OwnerReferencesPermissionEnforcement")
        .validating_async(optional::owners::validate)
        .only_if_asked_for(),
    Plugin::new("PersistentVolumeClaimResize").validating(claim_resize::validate),
    Plugin::new("RuntimeClass")
        .mutating(runtime_class::admit)
        .validating(runtime_class::validate),
    Plugin::new("CertificateApproval").validating_async(certificates::approval),
    Plugin::new("CertificateSigning").validating_async(certificates::signing),
    Plugin::new("CertificateSubjectRestriction").validating(certificates::subject),
    Plugin::new("DefaultIngressClass").mutating(default_class::ingress),
    Plugin::new("DenyServiceExternalIPs")
        .validating(optional::external_addresses::validate)
        .only_if_asked_for(),
    Plugin::new("EventRateLimit")
        .validating(event_rate::validate)
        .only_if_asked_for(),
    Plugin::new("PodTopologyLabels").mutating(topology_labels::admit),
    Plugin::new("PodResizeValidator").validating(pod_resize::validate),
    Plugin::new("MutatingAdmissionPolicy").mutating_async(policies::mutating::admit),
    Plugin::new("MutatingAdmissionWebhook").mutating_async(webhooks::mutating::admit),
    Plugin::new("ValidatingAdmissionPolicy").validating_async(policies::validating::validate),
    Plugin::new("ValidatingAdmissionWebhook").validating_async(webhooks::validating::validate),
    // Its work is done where objects are written: what is used is charged in the same transaction.
    Plugin::new(crate::registry::QUOTA_PLUGIN),
];

/// What upstream does elsewhere, after the mutating phase, and nobody can turn off.
static ALWAYS: &[Mutating] = &[
    Mutating::Asks(escalation::admit),
    Mutating::Pure(certificates::requestor),
    Mutating::Pure(policy_status::admit),
];

/// Whether webhooks or policies may be asked about writes of the call's resource.
pub fn asks_others(call: &Call) -> bool {
    call.server.hooks.current().concern(call.resource.plural)
}

/// Passes an attempt through the mutating phase.
pub async fn mutate(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    let (server, operation, began) = (attempt.server, attempt.operation, Instant::now());
    let result = server.admission.mutate(attempt).await;
    let metrics = &server.metrics.admission;
    metrics.step(Phase::Admit, operation, result.is_err(), began.elapsed());
    result
}

/// Passes an attempt through the validating phase.
pub async fn validate(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    let began = Instant::now();
    let result = attempt.server.admission.validate(attempt).await;
    let metrics = &attempt.server.metrics.admission;
    metrics.step(
        Phase::Validate,
        attempt.operation,
        result.is_err(),
        began.elapsed(),
    );
    result
}
