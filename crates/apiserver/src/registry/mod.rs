//! The verbs, one a file. `dispatch` sends a routed request to its verb; `change` holds what all
//! writes to an existing object share.
mod allocation;
mod apply;
mod binding;
mod change;
mod connect;
mod create;
mod creators;
mod delete;
mod deletecollection;
mod event;
mod eviction;
mod get;
mod hint;
mod identity;
mod list;
mod log;
mod outgoing;
mod ownership;
mod pages;
mod patch;
mod present;
mod protobuf;
mod proxy;
mod quota;
mod reviews;
mod scale;
mod token;
mod update;
mod watch;

pub(crate) use allocation::offered;
pub use allocation::{BadRange, BadRanges, ServiceNetwork, ServiceRange};
pub(crate) use change::Part;
pub(crate) use identity::{assign, generated_name, microseconds, now, text, whole_seconds};
pub(crate) use present::{list as present_list, value as present_value};
pub(crate) use protobuf::Recent;
pub(crate) use quota::{PLUGIN as QUOTA_PLUGIN, Turns};

use crate::components;
use crate::http::{Answer, Call};
use crate::request::Shape;
use crate::resources::Subresource;
use crate::status::{ApiError, group_resource};
use crate::usage;
use http::Method;
use std::sync::Arc;

/// Answers one request for a resource.
pub(crate) async fn dispatch(call: Arc<Call>) -> Result<Answer, ApiError> {
    let info = &call.info;
    if call.method == Method::HEAD && info.subresource != "proxy" {
        return Err(ApiError::method_not_allowed());
    }
    // `name` of a collection request may come from a selector; the path decides.
    let collection = matches!(info.verb.as_str(), "list" | "watch" | "deletecollection")
        || (info.verb == "create" && info.name.is_empty());
    if !info.subresource.is_empty() {
        let Some(subresource) = call.resource.subresource(&info.subresource) else {
            return Err(ApiError::no_such_resource());
        };
        return dispatch_part(&call, subresource).await;
    }
    if call.resource.storage.is_empty() {
        // Of what is answered and not kept there is nothing by name.
        let is_stored_elsewhere = call.resource.group == usage::GROUP || components::concerns(call.resource);
        if !collection && !info.name.is_empty() && !is_stored_elsewhere {
            return Err(ApiError::no_such_resource());
        }
        return match (&call.method, call.resource.plural) {
            _ if call.resource.group == usage::GROUP => usage::answer(&call).await,
            _ if components::concerns(call.resource) => components::answer(&call).await,
            (&Method::POST, "bindings") => binding::bind_legacy(&call).await,
            (&Method::POST, _) if call.output.shape != Shape::Object => {
                let resource = group_resource(call.resource.group, call.resource.plural);
                Err(ApiError::not_acceptable(format!(
                    "the resource {resource} does not support being converted to a Table"
                )))
            }
            (&Method::POST, _) => reviews::answer(&call).await,
            _ => Err(ApiError::method_not_allowed()),
        };
    }
    if !info.verb.is_empty() && !call.resource.verbs.contains(&info.verb.as_str()) {
        return Err(ApiError::method_not_allowed());
    }
    // Objects are created and removed in bulk inside a namespace only.
    let everywhere = call.resource.namespaced && info.namespace.is_empty();
    if everywhere && !matches!(info.verb.as_str(), "list" | "watch") {
        return Err(if collection {
            ApiError::method_not_allowed()
        } else {
            ApiError::no_such_resource()
        });
    }
    match (info.verb.as_str(), collection) {
        ("list", _) => list::list(&call).await,
        ("watch", _) => watch::watch(&call).await,
        ("create", true) => create::create(&call).await,
        ("deletecollection", _) => deletecollection::delete_collection(&call).await,
        ("get", false) => get::get(&call).await,
        ("update", false) if !info.name.is_empty() => update::update(&call, Part::Main).await,
        ("patch", false) if !info.name.is_empty() => patch::patch(&call, Part::Main).await,
        ("delete", false) => delete::delete(&call).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

async fn dispatch_part(call: &Call, subresource: &Subresource) -> Result<Answer, ApiError> {
    let verb = call.info.verb.as_str();
    // To what is behind a proxy every method may mean something.
    let known = match subresource.name {
        "proxy" => proxy::METHODS.contains(&call.method),
        _ => subresource.verbs.contains(&verb),
    };
    if !known {
        return Err(ApiError::method_not_allowed());
    }
    if call.resource.namespaced && call.info.namespace.is_empty() {
        return Err(ApiError::no_such_resource());
    }
    match (subresource.name, verb) {
        ("binding", _) => binding::bind(call).await,
        ("eviction", _) => eviction::evict(call).await,
        ("attach" | "exec" | "portforward", _) => connect::connect(call).await,
        ("log", _) => log::log(call).await,
        ("proxy", _) => proxy::proxy(call).await,
        ("token", _) => token::request(call).await,
        ("scale", "get") => scale::get(call).await,
        ("scale", _) => scale::write(call).await,
        (name, verb) => {
            let part = match name {
                "status" => Part::Status,
                "finalize" => Part::Finalize,
                "approval" => Part::Approval,
                "ephemeralcontainers" => Part::EphemeralContainers,
                "resize" => Part::Resize,
                _ => return Err(ApiError::no_such_resource()),
            };
            match verb {
                "get" => get::get(call).await,
                "update" => update::update(call, part).await,
                _ => patch::patch(call, part).await,
            }
        }
    }
}
