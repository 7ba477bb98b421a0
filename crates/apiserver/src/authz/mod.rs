//! Who may do what: administrators everything, node agents what is theirs, everybody else (and they)
//! what stored roles allow.
mod chain;
mod conditions;
mod node;
mod policy;
mod rbac;
mod references;
mod selected;
mod structured;
mod webhook;

pub(crate) use chain::Authorizers;
pub use policy::{
    Attributes, AuthorizationMode, Decision, Refusal, UnknownMode, decide, decide_now, rules_for,
    rules_review,
};
pub use rbac::{GROUP as RBAC_GROUP, Grants, Rbac, Rule, rules_of};
pub(crate) use references::{Reference, audiences, drivers_and_claims, references};
pub(crate) use selected::Selected;
pub use structured::StructuredAuthorization;
pub(crate) use webhook::AccessWebhook;
pub use webhook::AccessWebhookConfig;

use crate::ApiServer;
use crate::authn::{self, UserInfo};
use crate::request::{Query, RequestInfo};
use crate::status::ApiError;
use http::HeaderMap;
use std::sync::Arc;

/// Refuses a request its user may not make.
pub async fn check(
    server: &ApiServer,
    user: &UserInfo,
    info: &RequestInfo,
    query: &Query,
) -> Result<(), ApiError> {
    require(server, user, &Attributes::of(info, query)).await
}

/// Refuses what a user may not do.
pub async fn require(server: &ApiServer, user: &UserInfo, asked: &Attributes) -> Result<(), ApiError> {
    enforce(user, asked, decide(server, user, asked).await)
}

/// The refusal of what was decided against.
pub fn enforce(user: &UserInfo, asked: &Attributes, decision: Decision) -> Result<(), ApiError> {
    match decision {
        Decision::Allow(_) => Ok(()),
        // Nobody knows whether it is allowed.
        Decision::Deny(Refusal {
            error: Some(error), ..
        }) => Err(ApiError::internal(error)),
        Decision::Deny(refused) => Err(refusal(user, asked, &refused.reason)),
    }
}

/// The user a request is made as: the caller, or whom its headers name, if the caller may act as them.
pub async fn acting_user(
    server: &ApiServer,
    caller: Arc<UserInfo>,
    headers: &HeaderMap,
    asked: &Attributes,
) -> Result<Arc<UserInfo>, ApiError> {
    let Some(wanted) = authn::requested_impersonation(headers)? else {
        return Ok(caller);
    };
    let mut refused = None;
    for mode in wanted.modes(&caller) {
        let needs = wanted.act(mode, asked).into_iter().chain(wanted.needs(mode));
        let mut lacking = None;
        for need in needs {
            lacking = require(server, &caller, &need).await.err();
            if lacking.is_some() {
                break;
            }
        }
        match lacking {
            None => return Ok(Arc::new(wanted.user(mode))),
            Some(error) => refused = refused.or(Some(error)),
        }
    }
    // The last mode is always tried, so there is a refusal.
    Err(refused.unwrap_or_else(ApiError::unauthorized))
}

fn refusal(user: &UserInfo, asked: &Attributes, reason: &str) -> ApiError {
    if !asked.is_resource {
        return ApiError::forbidden_path(&user.name, &asked.verb, &asked.path);
    }
    let scope = if asked.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", asked.namespace)
    };
    let mut why = format!(
        "User {:?} cannot {} resource {:?} in API group {:?} {scope}",
        user.name,
        asked.verb,
        asked.target(),
        asked.group
    );
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    ApiError::forbidden(&asked.group, &asked.resource, &asked.name, &why)
}
