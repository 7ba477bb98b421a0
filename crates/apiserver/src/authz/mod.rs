//! Who may do what: administrators everything, node agents what is theirs, everybody else (and they)
//! what stored roles allow.
mod node;
mod policy;
mod rbac;
mod references;

pub use policy::{Attributes, Decision, decide, rules_for, rules_review};
pub use rbac::{GROUP as RBAC_GROUP, Grants, Rbac, Rule, rules_of};
pub(crate) use references::{Reference, references};

use crate::ApiServer;
use crate::authn::{self, UserInfo};
use crate::request::{Query, RequestInfo};
use crate::status::ApiError;
use http::HeaderMap;
use std::sync::Arc;

/// Refuses a request its user may not make.
pub fn check(server: &ApiServer, user: &UserInfo, info: &RequestInfo, query: &Query) -> Result<(), ApiError> {
    let attributes = Attributes::of(info, query);
    match decide(server, user, &attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) => Err(refusal(user, &attributes, &reason)),
    }
}

/// The user a request is made as: the caller, or whom its headers name, if the caller may act as them.
pub fn acting_user(
    server: &ApiServer,
    caller: Arc<UserInfo>,
    headers: &HeaderMap,
) -> Result<Arc<UserInfo>, ApiError> {
    let Some(wanted) = authn::requested_impersonation(headers)? else {
        return Ok(caller);
    };
    for need in &wanted.needs {
        if let Decision::Deny(reason) = decide(server, &caller, need) {
            return Err(refusal(&caller, need, &reason));
        }
    }
    Ok(Arc::new(wanted.user))
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
