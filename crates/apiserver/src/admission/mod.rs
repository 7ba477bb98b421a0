//! Rules about who may write what where, one a file, applied in upstream's order (contract §17).
mod custom_names;
mod default_tolerations;
mod escalation;
mod namespace_lifecycle;
mod node_restriction;
mod priority;
mod service_account;
mod taint_nodes;

use crate::ApiServer;
use crate::authn::UserInfo;
use crate::resources::Resource;
use crate::status::ApiError;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
}

/// One write, as admission sees it.
pub struct Attempt<'a> {
    pub server: &'a ApiServer,
    pub user: &'a UserInfo,
    pub operation: Operation,
    pub resource: &'static Resource,
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// Empty when the name is still to be generated.
    pub name: &'a str,
    /// What is to be stored; plugins may change it.
    pub object: Option<&'a mut Value>,
    pub old: Option<&'a Value>,
}

impl Attempt<'_> {
    /// Whether this is about `plural`, with this subresource.
    fn is(&self, plural: &str, subresource: &str) -> bool {
        self.resource.group.is_empty() && self.resource.plural == plural && self.subresource == subresource
    }

    fn forbidden(&self, why: &str) -> ApiError {
        ApiError::forbidden(self.resource.group, self.resource.plural, self.name, why)
    }
}

/// A plugin: changes the attempt or refuses it.
type Plugin = fn(&mut Attempt<'_>) -> Result<(), ApiError>;

/// Under upstream's names, by which they can be turned off.
static PLUGINS: &[(&str, Plugin)] = &[
    ("NamespaceLifecycle", namespace_lifecycle::admit),
    ("ServiceAccount", service_account::admit),
    ("NodeRestriction", node_restriction::admit),
    ("TaintNodesByCondition", taint_nodes::admit),
    ("Priority", priority::admit),
    ("DefaultTolerationSeconds", default_tolerations::admit),
];

/// What upstream does elsewhere, and nobody can turn off.
static ALWAYS: &[Plugin] = &[escalation::admit, custom_names::admit];

/// Passes an attempt through every plugin.
pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    let server = attempt.server;
    let disabled = &server.disabled_admission;
    for (_, plugin) in PLUGINS
        .iter()
        .filter(|(name, _)| !disabled.iter().any(|d| d == name))
    {
        plugin(attempt)?;
    }
    ALWAYS.iter().try_for_each(|plugin| plugin(attempt))
}
