//! One write, as admission sees it.
use crate::ApiServer;
use crate::authn::UserInfo;
use crate::custom;
use crate::http::Call;
use crate::request::{self, Expected};
use crate::resources::Resource;
use crate::status::ApiError;
use orlop_api::apply::Managed;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// As rules and reviews name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
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
    pub dry_run: bool,
    pub round: Round,
    /// Set by a plugin of the first round, for another one.
    pub again: bool,
    /// Whether somebody else made the object what it is: what the written part does not include has to be restored.
    pub replaced: bool,
    /// Puts that back, before the server's own parts have the last word.
    pub restores: Option<&'a (dyn Fn(&mut Value) + Sync)>,
    /// Webhooks that were asked, with the object as it was after them.
    pub called: Vec<Called>,
}

/// A webhook that was asked.
pub struct Called {
    key: String,
    /// Whether it wants to be asked again about what changes after it.
    again: bool,
    left: Value,
}

/// What a client is told whose object came back with managed fields that nobody can read.
const SPOILT: &str = ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: they cannot be read";

/// Puts back the managed fields of `before` if those of `after` cannot be read; whether it did.
fn keeps_owners(before: &Value, after: &mut Value) -> bool {
    let list = &after["metadata"]["managedFields"];
    if list.is_null() || *list == before["metadata"]["managedFields"] || Managed::parse(list).is_some() {
        return false;
    }
    after["metadata"]["managedFields"] = before["metadata"]["managedFields"].clone();
    true
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
            replaced: false,
            restores: None,
            called: Vec::new(),
        }
    }

    /// Whether this is about `plural`, with this subresource.
    pub fn is(&self, plural: &str, subresource: &str) -> bool {
        self.resource.group.is_empty() && self.resource.plural == plural && self.subresource == subresource
    }

    /// Whether a webhook or policy is to see the attempt in this round: in the last one only what was asked before,
    /// wants to be asked again, and has not seen what changed since.
    pub fn is_due(&self, key: &str) -> bool {
        let called = self.called.iter().find(|called| called.key == key);
        self.round == Round::First || called.is_some_and(|called| self.has_changed_since(called))
    }

    fn has_changed_since(&self, called: &Called) -> bool {
        called.again && self.object.as_deref() != Some(&called.left)
    }

    /// Remembers that a webhook or policy has seen the attempt.
    pub fn note(&mut self, key: String, again: bool) {
        self.called.retain(|called| called.key != key);
        if let Some(left) = self.object.as_deref().cloned() {
            self.called.push(Called { key, again, left });
        }
    }

    /// Asks for another round if somebody wants to see what changed since, or changed what the plugins before have seen.
    pub fn ask_for_another_round(&mut self) {
        let wanted = self.called.iter().any(|called| self.has_changed_since(called));
        self.again |= self.round == Round::First && (wanted || self.replaced);
    }

    /// Group, version and kind of the object, when the request is taken for one about `form`.
    pub fn kind_as(&self, form: &Resource) -> (&'static str, &'static str, &'static str) {
        self.own_kind(form)
            .unwrap_or((form.group, form.version, form.kind))
    }

    fn own_kind(&self, form: &Resource) -> Option<(&'static str, &'static str, &'static str)> {
        form.subresource(self.subresource).and_then(|part| part.kind)
    }

    /// An object of the attempt in the form of `form`, as others see it.
    ///
    /// # Errors
    /// Who converts objects of its kind doesn't.
    pub async fn shown(&self, object: &Value, form: &'static Resource) -> Result<Value, ApiError> {
        let mut shown = object.clone();
        if self.own_kind(form).is_none() {
            form.show(&mut shown);
            shown = custom::converted(self.server, form, shown).await?;
        }
        let (group, version, kind) = self.kind_as(form);
        shown["apiVersion"] = crate::resources::api_version(group, version).into();
        shown["kind"] = kind.into();
        Ok(shown)
    }

    /// Takes an object in the form of `form` for the one to be stored: typed, defaulted, in stored form.
    ///
    /// # Errors
    /// It is no object of its kind.
    pub async fn take_over(&mut self, form: &'static Resource, shown: Value) -> Result<(), ApiError> {
        let mut object = match (self.own_kind(form), form.custom) {
            // Options of connections are no kind with a form of its own.
            (Some(_), _) if self.operation == Operation::Connect => shown,
            (None, Some(custom)) => custom::typed(form, custom, shown)?.0,
            _ => {
                let (group, version, kind) = self.kind_as(form);
                request::typed(&Expected { group, version, kind }, shown).map_err(ApiError::internal)?
            }
        };
        if self.own_kind(form).is_none() {
            form.store(&mut object);
            object = custom::converted(self.server, self.resource, object).await?;
            if self.subresource.is_empty() {
                (self.resource.rules.default)(&mut object);
            }
        }
        if let Some(place) = self.object.as_deref_mut() {
            if keeps_owners(place, &mut object) {
                self.call.warn(SPOILT.to_owned());
            }
            self.replaced |= *place != object;
            *place = object;
        }
        Ok(())
    }

    pub fn forbidden(&self, why: &str) -> ApiError {
        ApiError::forbidden(self.resource.group, self.resource.plural, self.name, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn managed_fields_stay_if_what_comes_back_cannot_be_read() {
        let object = |fields_type: &str| {
            json!({"metadata": {"managedFields": [
            {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": fields_type, "fieldsV1": {}}]}})
        };
        let before = object("FieldsV1");
        let mut after = object("");
        assert!(keeps_owners(&before, &mut after));
        assert_eq!(after, before);
        assert!(!keeps_owners(&before, &mut after));
        let mut without = json!({"metadata": {"name": "n"}});
        assert!(!keeps_owners(&before, &mut without));
        assert_eq!(without, json!({"metadata": {"name": "n"}}));
    }
}
