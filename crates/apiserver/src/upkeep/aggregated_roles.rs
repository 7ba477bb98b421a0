//! ClusterRoles with an `aggregationRule` have the rules of all that its selectors select.
use super::own_call;
use crate::ApiServer;
use crate::authz::RBAC_GROUP;
use http::{Method, StatusCode};
use orlop_api::aggregated_roles::changes;
use serde_json::json;
use std::sync::Arc;

pub const KINDS: &[(&str, &str)] = &[(RBAC_GROUP, "clusterroles")];

pub async fn write(server: Arc<ApiServer>) -> bool {
    // Ordered by name.
    let roles = server.cache.values_of(RBAC_GROUP, "clusterroles");
    let mut done = true;
    for (name, version, rules) in changes(&roles) {
        let path = format!("/apis/{RBAC_GROUP}/v1/clusterroles/{name}");
        let patch = json!({"metadata": {"resourceVersion": version}, "rules": rules});
        let code = own_call(&server, Method::PATCH, &path, patch).await;
        // Who changed or deleted it meanwhile has woken this task again.
        done &= code.is_success() || matches!(code, StatusCode::CONFLICT | StatusCode::NOT_FOUND);
    }
    done
}
