//! Who may do what: administrators everything, node agents what is theirs, everybody else (and they)
//! what stored roles allow.
mod node;
mod policy;
mod rbac;
mod references;

pub use policy::{Attributes, Decision, decide, rules_for, rules_of};
pub use rbac::{GROUP as RBAC_GROUP, Grants, Rbac, Rule};
pub(crate) use references::{Reference, references};

use crate::ApiServer;
use crate::authn::UserInfo;
use crate::request::{Query, RequestInfo};
use crate::status::ApiError;

/// Refuses a request its user may not make.
pub fn check(server: &ApiServer, user: &UserInfo, info: &RequestInfo, query: &Query) -> Result<(), ApiError> {
    let attributes = Attributes::of(info, query);
    match decide(server, user, &attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) => Err(refusal(user, info, &reason)),
    }
}

fn refusal(user: &UserInfo, info: &RequestInfo, reason: &str) -> ApiError {
    if !info.is_resource {
        return ApiError::forbidden_path(&user.name, &info.verb, &info.path);
    }
    let mut resource = info.resource.clone();
    if !info.subresource.is_empty() {
        resource = format!("{resource}/{}", info.subresource);
    }
    let scope = if info.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", info.namespace)
    };
    let mut why = format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?} {scope}",
        user.name, info.verb, info.group
    );
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    ApiError::forbidden(&info.group, &info.resource, &info.name, &why)
}
