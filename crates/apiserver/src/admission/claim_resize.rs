//! A claim grows only if it is bound and its class lets volumes grow (`PersistentVolumeClaimResize`).
use super::{Attempt, Operation};
use crate::resources::{self, amount};
use crate::status::ApiError;
use serde_json::Value;

pub fn validate(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    if !attempt.is("persistentvolumeclaims", "") || attempt.operation != Operation::Update {
        return Ok(());
    }
    let (Some(new), Some(old)) = (attempt.object.as_deref(), attempt.old) else {
        return Ok(());
    };
    if !grows(new, old) {
        return Ok(());
    }
    if old["status"]["phase"] != "Bound" {
        return Err(attempt.forbidden("Only bound persistent volume claims can be expanded"));
    }
    let name = old["spec"]["storageClassName"].as_str().unwrap_or_default();
    let class = resources::find("storage.k8s.io", "v1", "storageclasses")
        .and_then(|classes| attempt.server.cache.object(classes, "", name));
    if class.is_some_and(|class| class.value()["allowVolumeExpansion"] == true) {
        return Ok(());
    }
    Err(attempt.forbidden(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    ))
}

fn grows(new: &Value, old: &Value) -> bool {
    let size = |claim: &Value| amount(&claim["spec"]["resources"]["requests"]["storage"]);
    match (size(new), size(old)) {
        (Some(new), Some(old)) => new > old,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_more_is_growth() {
        let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
        assert!(grows(&claim("2Gi"), &claim("1Gi")));
        assert!(!grows(&claim("1024Mi"), &claim("1Gi")));
        assert!(!grows(&claim("1Gi"), &claim("2Gi")));
        assert!(!grows(&json!({}), &claim("2Gi")));
    }
}
