//! What expressions see of a request, and whom they may ask.
use super::Attempt;
use crate::ApiServer;
use crate::authn::UserInfo;
use crate::authz::{self, Attributes, Selected};
use orlop_api::cel::{Activation, Authorizer, Budget, Check, Context, Decision, Opaque, REQUEST_MAX, Value};
use serde_json::Value as Json;
use std::sync::Arc;

/// The values behind the names.
pub struct Scene<'s> {
    request: &'s Json,
    namespace: Json,
    asker: Asker<'s>,
}

impl<'s> Scene<'s> {
    /// `request`: as a review has it.
    pub fn of(attempt: &Attempt<'s>, request: &'s Json) -> Self {
        let namespace = match attempt.namespace {
            "" => None,
            name => attempt.server.cache.core_object("namespaces", "", name),
        };
        Self {
            request,
            namespace: namespace.map_or(Json::Null, |namespace| namespace.value()),
            asker: Asker {
                server: attempt.server,
                user: attempt.user,
                resource: Check {
                    group: attempt.resource.group.to_owned(),
                    resource: attempt.resource.plural.to_owned(),
                    subresource: attempt.subresource.to_owned(),
                    namespace: attempt.namespace.to_owned(),
                    name: attempt.name.to_owned(),
                    ..Check::default()
                },
            },
        }
    }

    /// The names, with or without parameters.
    pub fn names<'a>(&'a self, params: Option<&'a Json>) -> Activation<'a> {
        let names = Activation::default()
            .with("object", Value::of(&self.request["object"], None))
            .with("oldObject", Value::of(&self.request["oldObject"], None))
            .with("request", Value::of(self.request, None))
            .with("namespaceObject", Value::of(&self.namespace, None))
            .with("authorizer", Value::Opaque(Opaque::Authorizer(Arc::default())));
        match params {
            Some(params) => names.with("params", Value::of(params, None)),
            None => names,
        }
    }

    pub fn context(&self) -> Context<'_> {
        Context {
            budget: Budget::new(REQUEST_MAX),
            authorizer: Some(&self.asker),
        }
    }
}

fn selected(text: &str) -> Option<Selected> {
    (!text.is_empty()).then(|| Selected::Text(text.to_owned()))
}

/// Asks the authorizer as the request's user, or as an account.
struct Asker<'s> {
    server: &'s ApiServer,
    user: &'s UserInfo,
    resource: Check,
}

impl Authorizer for Asker<'_> {
    fn decide(&self, check: &Check, verb: &str) -> Decision {
        let account = check.account.as_ref().map(|(namespace, name)| {
            let groups = [
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ];
            UserInfo::new(format!("system:serviceaccount:{namespace}:{name}"), groups)
        });
        let asked = Attributes {
            is_resource: check.path.is_empty(),
            verb: verb.to_owned(),
            group: check.group.clone(),
            resource: check.resource.clone(),
            subresource: check.subresource.clone(),
            namespace: check.namespace.clone(),
            name: check.name.clone(),
            path: check.path.clone(),
            fields: selected(&check.field_selector),
            labels: selected(&check.label_selector),
            ..Attributes::default()
        };
        match authz::decide_now(self.server, account.as_ref().unwrap_or(self.user), &asked) {
            // An expression does not wait for others.
            None => Decision {
                allowed: false,
                reason: String::new(),
                error: Some("the authorization webhook has not answered this yet".to_owned()),
            },
            Some(authz::Decision::Allow(reason)) => Decision {
                allowed: true,
                reason: reason.as_deref().unwrap_or_default().to_owned(),
                error: None,
            },
            Some(authz::Decision::Deny(refusal)) => Decision {
                allowed: false,
                reason: refusal.reason,
                error: refusal.error,
            },
        }
    }

    fn request_resource(&self) -> Check {
        self.resource.clone()
    }
}
