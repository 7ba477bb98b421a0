//! Whoever makes something another object's may delete it, and who keeps that one's deletion waiting may delete that one
//! (`OwnerReferencesPermissionEnforcement`).
use super::super::{Attempt, Operation};
use crate::authz::{self, Attributes, Decision};
use crate::resources::{self, Resource};
use crate::status::ApiError;
use futures::future::BoxFuture;
use serde_json::Value;

pub fn validate<'b>(attempt: &'b Attempt<'_>) -> BoxFuture<'b, Result<(), ApiError>> {
    Box::pin(judge(attempt))
}

async fn judge(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    let writes = matches!(attempt.operation, Operation::Create | Operation::Update);
    let new = references(attempt.object.as_deref());
    let old = references(attempt.old);
    // A status of a pod changes no owners.
    if !writes || attempt.is("pods", "status") || new == old {
        return Ok(());
    }
    let resource = attempt.resource;
    let own = Attributes {
        is_resource: true,
        verb: "delete".to_owned(),
        group: resource.group.to_owned(),
        version: resource.version.to_owned(),
        resource: resource.plural.to_owned(),
        subresource: attempt.subresource.to_owned(),
        namespace: attempt.namespace.to_owned(),
        name: attempt.name.to_owned(),
        ..Attributes::default()
    };
    if let Some(why) = refused(attempt, &own).await {
        return Err(attempt.forbidden(&format!(
            "cannot set an ownerRef on a resource you can't delete: {why}"
        )));
    }
    for reference in newly_blocking(new, old) {
        keeps_waiting(attempt, reference).await?;
    }
    Ok(())
}

/// The owner cannot go while the object is there: as if the writer put a finalizer on it.
async fn keeps_waiting(attempt: &Attempt<'_>, reference: &Value) -> Result<(), ApiError> {
    let text = |member: &str| reference[member].as_str().unwrap_or_default();
    let owners = served(attempt, text("apiVersion"), text("kind"));
    if owners.is_empty() {
        return Err(attempt.forbidden(&format!(
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {} Kind {}",
            text("apiVersion"),
            text("kind")
        )));
    }
    for owner in owners {
        let asked = Attributes {
            is_resource: true,
            verb: "update".to_owned(),
            group: owner.group.to_owned(),
            version: owner.version.to_owned(),
            resource: owner.plural.to_owned(),
            subresource: "finalizers".to_owned(),
            namespace: match owner.namespaced {
                true => attempt.namespace.to_owned(),
                false => String::new(),
            },
            name: text("name").to_owned(),
            ..Attributes::default()
        };
        if let Some(why) = refused(attempt, &asked).await {
            return Err(attempt.forbidden(&format!(
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {why}"
            )));
        }
    }
    Ok(())
}

/// Why the user may not, if that is so.
async fn refused(attempt: &Attempt<'_>, asked: &Attributes) -> Option<String> {
    match authz::decide(attempt.server, attempt.user, asked).await {
        Decision::Allow(_) => None,
        Decision::Deny(refusal) => Some(format!("{}, <nil>", refusal.reason)),
    }
}

/// The resources of a kind.
fn served(attempt: &Attempt<'_>, api_version: &str, kind: &str) -> Vec<&'static Resource> {
    let own = |resource: &&'static Resource| resource.kind == kind && resource.api_version() == api_version;
    let built_in: Vec<_> = resources::all().iter().filter(own).collect();
    match built_in.is_empty() {
        false => built_in,
        true => attempt
            .server
            .cache
            .custom()
            .all()
            .into_iter()
            .filter(own)
            .collect(),
    }
}

fn references(object: Option<&Value>) -> &[Value] {
    let given = object.and_then(|object| object["metadata"]["ownerReferences"].as_array());
    given.map_or(&[], Vec::as_slice)
}

/// References that keep their owner's deletion waiting, and did not before.
fn newly_blocking<'v>(new: &'v [Value], old: &[Value]) -> Vec<&'v Value> {
    let blocks = |reference: &&Value| reference["blockOwnerDeletion"] == true;
    let did = |reference: &Value| {
        old.iter()
            .filter(blocks)
            .any(|old| old["uid"] == reference["uid"])
    };
    new.iter()
        .filter(blocks)
        .filter(|reference| !did(reference))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_blocks_anew_is_asked_about() {
        let reference = |uid: &str, blocks: bool| json!({"uid": uid, "blockOwnerDeletion": blocks});
        let new = [reference("a", true), reference("b", true), reference("c", false)];
        let old = [reference("a", true), reference("b", false)];
        assert_eq!(newly_blocking(&new, &old), vec![&new[1]]);
        assert_eq!(newly_blocking(&new, &[]), vec![&new[0], &new[1]]);
        assert!(newly_blocking(references(Some(&json!({}))), &[]).is_empty());
    }
}
