//! Pods run as an account, whose token and pull secrets they get (contract §12.2). Mirror pods are copies
//! of what a node runs anyway: they are left untouched and may not name accounts, secrets or tokens. A
//! server that issues no tokens asks for no account: a pod must not wait for what nobody makes.
use super::{Attempt, Operation};
use crate::authz::{Reference, references};
use crate::registry::generated_name;
use crate::resources;
use crate::status::ApiError;
use serde_json::{Value, json};

const DEFAULT_ACCOUNT: &str = "default";
/// Where programs look for the token.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How the names of token volumes begin.
const VOLUME_PREFIX: &str = "kube-api-access-";

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    if !attempt.is("pods", "") || attempt.operation != Operation::Create {
        return Ok(());
    }
    let Some(pod) = attempt.object.as_deref() else {
        return Ok(());
    };
    if resources::is_mirror(pod) {
        return mirror(pod).map_or(Ok(()), |why| Err(attempt.forbidden(why)));
    }
    let server = attempt.server;
    let Some(pod) = attempt.object.as_deref_mut() else {
        return Ok(());
    };
    let spec = &mut pod["spec"];
    if spec["serviceAccountName"].as_str().unwrap_or_default().is_empty() {
        spec["serviceAccountName"] = json!(DEFAULT_ACCOUNT);
        spec["serviceAccount"] = json!(DEFAULT_ACCOUNT);
    }
    if server.accounts.is_none() {
        return Ok(());
    }
    let name = spec["serviceAccountName"].as_str().unwrap_or_default();
    match server
        .cache
        .core_object("serviceaccounts", attempt.namespace, name)
    {
        Some(account) => {
            let [secrets, mounts] = account.at(["/imagePullSecrets", "/automountServiceAccountToken"]);
            let account = json!({"imagePullSecrets": secrets, "automountServiceAccountToken": mounts});
            give(spec, &account, &generated_name(VOLUME_PREFIX));
            Ok(())
        }
        None => {
            let why = format!(
                "error looking up service account {}/{name}: serviceaccount {name:?} not found",
                attempt.namespace
            );
            Err(attempt.forbidden(&why))
        }
    }
}

/// Gives a pod's spec what its account has: pull secrets, and a volume with its token unless one of the two
/// doesn't want it. One volume is enough for all containers, also for those that a webhook adds afterwards.
fn give(spec: &mut Value, account: &Value, volume: &str) {
    let none = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    if none(&spec["imagePullSecrets"]) && !none(&account["imagePullSecrets"]) {
        spec["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    let wish = |value: &Value| value["automountServiceAccountToken"].as_bool();
    if !wish(spec).or(wish(account)).unwrap_or(true) {
        return;
    }
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let mut names = volumes.filter_map(|volume| volume["name"].as_str());
    let present = names
        .find(|name| name.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let volume = present.as_deref().unwrap_or(volume);
    let mut mounted = false;
    for kind in ["initContainers", "containers"] {
        // Not by index: that would leave a null where there is no list.
        let containers = spec.get_mut(kind).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let mounts = container["volumeMounts"].as_array();
            if mounts
                .into_iter()
                .flatten()
                .any(|mount| mount["mountPath"] == TOKEN_PATH)
            {
                continue;
            }
            let mount = json!({"name": volume, "readOnly": true, "mountPath": TOKEN_PATH});
            match container["volumeMounts"].as_array_mut() {
                Some(mounts) => mounts.push(mount),
                None => container["volumeMounts"] = json!([mount]),
            }
            mounted = true;
        }
    }
    if !mounted || present.is_some() {
        return;
    }
    let volume = json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}});
    match spec["volumes"].as_array_mut() {
        Some(volumes) => volumes.push(volume),
        None => spec["volumes"] = json!([volume]),
    }
}

fn mirror(pod: &Value) -> Option<&'static str> {
    let found = references(pod);
    let names = |kind: Reference| found.iter().any(|(k, _)| *k == kind);
    if names(Reference::ServiceAccount) {
        return Some("a mirror pod may not reference service accounts");
    }
    if names(Reference::Secret) {
        return Some("a mirror pod may not reference secrets");
    }
    let tokens = pod["spec"]["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|v| v["projected"]["sources"].as_array().into_iter().flatten())
        .any(|source| source["serviceAccountToken"].is_object());
    tokens.then_some("a mirror pod may not use ServiceAccountToken volume projections")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_that_mount_the_path_themselves_and_pods_that_want_none_are_left_alone() {
        let pod = || {
            json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "volumeMounts": [
                {"name": "own", "mountPath": TOKEN_PATH}]}], "initContainers": [{"name": "i"}]}})
        };
        let mut given = pod();
        give(
            &mut given["spec"],
            &json!({"imagePullSecrets": [{"name": "s"}]}),
            "v",
        );
        assert_eq!(given["spec"]["imagePullSecrets"][0]["name"], "s");
        assert_eq!(
            given["spec"]["volumes"][0]["projected"]["sources"]
                .as_array()
                .unwrap()
                .len(),
            3
        );
        assert_eq!(given["spec"]["containers"][0]["volumeMounts"][0]["name"], "v");
        assert_eq!(
            given["spec"]["initContainers"][0]["volumeMounts"][0]["readOnly"],
            true
        );
        assert_eq!(
            given["spec"]["containers"][1]["volumeMounts"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        let mut without = json!({"spec": {"containers": [{"name": "a"}]}});
        give(&mut without["spec"], &json!({}), "v");
        assert_eq!(without["spec"].get("initContainers"), None);
        for (in_pod, in_account, expected) in [
            (None, Some(false), false),
            (Some(true), Some(false), true),
            (Some(false), None, false),
        ] {
            let (mut given, mut account) = (pod(), json!({}));
            if let Some(wish) = in_pod {
                given["spec"]["automountServiceAccountToken"] = json!(wish);
            }
            if let Some(wish) = in_account {
                account["automountServiceAccountToken"] = json!(wish);
            }
            give(&mut given["spec"], &account, "v");
            assert_eq!(
                given["spec"]["volumes"].is_array(),
                expected,
                "{in_pod:?} {in_account:?}"
            );
        }
    }

    #[test]
    fn a_container_that_came_later_shares_the_volume_of_the_others() {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}]}});
        give(&mut pod["spec"], &json!({}), "kube-api-access-first");
        let injected = json!({"name": "sidecar"});
        pod["spec"]["containers"].as_array_mut().unwrap().push(injected);
        give(&mut pod["spec"], &json!({}), "kube-api-access-second");
        assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 1);
        for container in pod["spec"]["containers"].as_array().unwrap() {
            assert_eq!(
                container["volumeMounts"],
                json!([{"name": "kube-api-access-first", "readOnly": true, "mountPath": TOKEN_PATH}])
            );
        }
    }

    #[test]
    fn mirror_pods_name_no_accounts_secrets_or_tokens() {
        assert_eq!(mirror(&json!({"spec": {"containers": []}})), None);
        assert!(mirror(&json!({"spec": {"serviceAccountName": "x"}})).is_some());
        assert!(mirror(&json!({"spec": {"imagePullSecrets": [{"name": "x"}]}})).is_some());
        let token = json!({"spec": {"volumes": [{"projected": {"sources": [{"serviceAccountToken": {}}]}}]}});
        assert_eq!(
            mirror(&token),
            Some("a mirror pod may not use ServiceAccountToken volume projections")
        );
    }
}
