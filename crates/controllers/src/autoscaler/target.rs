//! What an autoscaler scales, or measures: which resource a reference means.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use k8s_openapi::api::core::v1::ReplicationController;
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::pinned_kind;
use orlop_api::wire::group_and_version;

use crate::resources::discover;

/// The resource of a reference, or why there is none.
pub async fn resource(
    client: &kube::Client,
    of: &CrossVersionObjectReference,
) -> Result<ApiResource, String> {
    let version = of.api_version.as_deref().unwrap_or_default();
    let (group, version) = group_and_version(version);
    if let Some(known) = known(group, &of.kind) {
        return Ok(known);
    }
    // The version that is named usually is served; then one question is enough.
    let kind = GroupVersionKind::gvk(group, version, &of.kind);
    if let Ok((resource, _)) = pinned_kind(client, &kind).await {
        return Ok(resource);
    }
    let discovered = discover(client).await.map_err(|error| error.to_string())?;
    let mut served = discovered.served.into_iter().map(|served| served.resource);
    served
        .find(|resource| resource.group == group && resource.kind == of.kind)
        .ok_or_else(|| {
            format!(
                "unable to determine resource for scale target reference: no matches for kind {:?} in group {group:?}",
                of.kind
            )
        })
}

/// What every cluster has needn't be asked after.
fn known(group: &str, kind: &str) -> Option<ApiResource> {
    let all = [
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<ReplicaSet>(&()),
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<ReplicationController>(&()),
    ];
    all.into_iter()
        .find(|resource| resource.group == group && resource.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_cluster_has_is_known_by_group_and_kind() {
        let plural = |group: &str, kind: &str| known(group, kind).map(|resource| resource.plural);
        assert_eq!(plural("apps", "Deployment").as_deref(), Some("deployments"));
        assert_eq!(
            plural("", "ReplicationController").as_deref(),
            Some("replicationcontrollers")
        );
        assert_eq!(plural("", "Deployment"), None);
    }
}
