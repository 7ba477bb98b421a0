//! Nothing is created in a namespace that is missing or going; three namespaces never go.
use super::{Attempt, Operation};
use crate::resources;
use crate::status::{ApiError, Cause};
use futures::future::BoxFuture;

const PROTECTED: &[&str] = &["default", "kube-system", "kube-public"];

pub fn admit<'b>(attempt: &'b mut Attempt<'_>) -> BoxFuture<'b, Result<(), ApiError>> {
    Box::pin(check(attempt))
}

async fn check(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    if attempt.is("namespaces", "") {
        if attempt.operation == Operation::Delete && PROTECTED.contains(&attempt.name) {
            return Err(attempt.forbidden("this namespace may not be deleted"));
        }
        return Ok(());
    }
    if !attempt.resource.namespaced || attempt.operation != Operation::Create {
        return Ok(());
    }
    // Who asks what somebody may do there is not told whether there is such a namespace.
    if attempt.resource.plural == "localsubjectaccessreviews" {
        return Ok(());
    }
    let namespaces = resources::find("", "v1", "namespaces").ok_or_else(ApiError::no_such_resource)?;
    let find = || attempt.server.cache.object(namespaces, "", attempt.namespace);
    let namespace = match find() {
        Some(namespace) => namespace,
        // Another server of the same store may just have made it.
        None => {
            attempt.server.reach_now().await?;
            find().ok_or_else(|| ApiError::not_found(namespaces, attempt.namespace))?
        }
    };
    if namespaces.field(&namespace, "status.phase") != Some("Terminating") {
        return Ok(());
    }
    let name = attempt.namespace;
    Err(attempt
        .forbidden(&format!(
            "unable to create new content in namespace {name} because it is being terminated"
        ))
        .with_causes(vec![Cause::new(
            "NamespaceTerminating",
            "metadata.namespace",
            format!("namespace {name} is being terminated"),
        )]))
}
