//! One write, as admission sees it.
use crate::ApiServer;
use crate::authn::UserInfo;
use crate::http::Call;
use crate::resources::Resource;
use crate::status::ApiError;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// Whether a write still has to pass admission. What the server writes as part of a request that was admitted as
/// something else (a pod's node through a Binding) has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Due,
    Passed,
}

/// The rounds of the mutating phase: a webhook that asks for it sees again what others changed after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Round {
    #[default]
    First,
    /// The last one: pure plugins run again, webhooks where their configuration wants it.
    Again,
}

/// One write. Plugins of the mutating phase may change `object`; those of the validating phase see it as it will be
/// stored.
pub struct Attempt<'a> {
    #[allow(dead_code, reason = "for plugins that warn")]
    pub call: &'a Call,
    pub server: &'a ApiServer,
    pub user: &'a UserInfo,
    pub operation: Operation,
    pub resource: &'static Resource,
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// Empty when the name is still to be generated.
    pub name: &'a str,
    /// In stored form; of a subresource with a kind of its own (Scale, Eviction, PodExecOptions), that kind. None when
    /// something is deleted.
    pub object: Option<&'a mut Value>,
    /// None when something is created, or connected to.
    pub old: Option<&'a Value>,
    /// Nothing will be stored: whoever has side effects must have none now.
    #[allow(dead_code, reason = "no plugin has side effects yet")]
    pub dry_run: bool,
    pub round: Round,
    /// Set by a plugin of the first round, for another one.
    pub again: bool,
}

impl<'a> Attempt<'a> {
    /// An attempt on the resource of a call, without an object yet.
    pub fn new(call: &'a Call, operation: Operation, name: &'a str, dry_run: bool) -> Self {
        Self {
            call,
            server: &call.server,
            user: &call.user,
            operation,
            resource: call.resource,
            subresource: "",
            namespace: &call.info.namespace,
            name,
            object: None,
            old: None,
            dry_run,
            round: Round::First,
            again: false,
        }
    }

    /// Whether this is about `plural`, with this subresource.
    pub fn is(&self, plural: &str, subresource: &str) -> bool {
        self.resource.group.is_empty() && self.resource.plural == plural && self.subresource == subresource
    }

    pub fn forbidden(&self, why: &str) -> ApiError {
        ApiError::forbidden(self.resource.group, self.resource.plural, self.name, why)
    }
}
