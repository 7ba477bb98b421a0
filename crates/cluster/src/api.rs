//! Writing to the cluster's API so that doing it twice is doing it once.
use crate::ClusterError;
use crate::objects;
use kube::Client;
use serde_json::{Value, json};
use std::path::Path;

/// Who owns the fields.
const FIELD_MANAGER: &str = "kubeadm";

pub async fn connect(kubeconfig: &Path) -> Result<Client, ClusterError> {
    Ok(orlop_client::connect(kubeconfig).await?)
}

fn request(
    method: &str,
    path: &str,
    content_type: &str,
    body: Option<&Value>,
) -> Result<http::Request<Vec<u8>>, ClusterError> {
    let bytes = body.map(ToString::to_string).unwrap_or_default().into_bytes();
    http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, content_type)
        .body(bytes)
        .map_err(|error| ClusterError::Configuration(format!("{path:?} is no path of the API: {error}")))
}

/// Writes the fields of an object that is there, or makes it; the object as it is then.
pub async fn apply(client: &Client, object: &Value) -> Result<Value, ClusterError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    let path = objects::path(object)
        .ok_or_else(|| ClusterError::Configuration(format!("{kind} {name} has no place in the API")))?;
    let path = format!("{path}?fieldManager={FIELD_MANAGER}&force=true");
    let request = request("PATCH", &path, "application/apply-patch+yaml", Some(object))?;
    client
        .request::<Value>(request)
        .await
        .map_err(ClusterError::api(format!("write {kind} {name}")))
}

/// An object, `None` if there is none.
pub async fn get(client: &Client, path: &str) -> Result<Option<Value>, ClusterError> {
    match client
        .request::<Value>(request("GET", path, "application/json", None)?)
        .await
    {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(ClusterError::api(format!("read {path}"))(error)),
    }
}

/// Where the cluster says that it is reached, by its ConfigMap `cluster-info`.
pub async fn server(client: &Client) -> Result<String, ClusterError> {
    let info = get(client, "/api/v1/namespaces/kube-public/configmaps/cluster-info").await?;
    let text = info.as_ref().and_then(|info| info["data"]["kubeconfig"].as_str());
    let document = crate::yaml::read("cluster-info", text.unwrap_or("{}"))?;
    let server = document
        .pointer("/clusters/0/cluster/server")
        .and_then(Value::as_str);
    server.map(str::to_owned).ok_or_else(|| {
        ClusterError::Configuration(
            "the cluster's ConfigMap cluster-info names no server: `orlop init` makes it".to_owned(),
        )
    })
}

/// Deletes an object; `false` if there was none.
pub async fn delete(client: &Client, path: &str) -> Result<bool, ClusterError> {
    match client
        .request::<Value>(request("DELETE", path, "application/json", None)?)
        .await
    {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(ClusterError::api(format!("delete {path}"))(error)),
    }
}

pub async fn merge(client: &Client, path: &str, patch: &Value) -> Result<Value, ClusterError> {
    let path_of = format!("{path}?fieldManager={FIELD_MANAGER}");
    let request = request("PATCH", &path_of, "application/merge-patch+json", Some(patch))?;
    client
        .request::<Value>(request)
        .await
        .map_err(ClusterError::api(format!("change {path}")))
}

/// The merge patch that makes a node part of the control plane; its taints, which are a list, are written whole.
pub fn control_plane_patch(node: &Value) -> Value {
    let key = crate::kubelet::CONTROL_PLANE;
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    if !taints
        .iter()
        .any(|taint| taint["key"] == key && taint["effect"] == "NoSchedule")
    {
        taints.push(json!({"effect": "NoSchedule", "key": key}));
    }
    json!({
        "metadata": {
            "labels": {key: "", "node.kubernetes.io/exclude-from-external-load-balancers": ""},
            // Taints of somebody else in between must not get lost.
            "resourceVersion": node["metadata"]["resourceVersion"],
        },
        "spec": {"taints": taints},
    })
}

/// Marks a node as part of the control plane.
pub async fn mark_control_plane(client: &Client, name: &str) -> Result<(), ClusterError> {
    const ATTEMPTS: usize = 10;
    let path = format!("/api/v1/nodes/{name}");
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let Some(node) = get(client, &path).await? else {
            return Err(ClusterError::Configuration(format!(
                "node {name} is not registered"
            )));
        };
        match merge(client, &path, &control_plane_patch(&node)).await {
            Err(ClusterError::Api { error, .. }) if matches!(&*error, kube::Error::Api(status) if status.code == 409) =>
            {
                last = Some(ClusterError::Api {
                    what: format!("mark node {name}"),
                    error,
                });
            }
            other => return other.map(|_| ()),
        }
    }
    last.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marking_keeps_other_taints_and_adds_no_second() {
        let node = json!({"metadata": {"resourceVersion": "7"}, "spec": {"taints": [
            {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
        ]}});
        let patch = control_plane_patch(&node);
        assert_eq!(patch["spec"]["taints"].as_array().unwrap().len(), 2);
        assert_eq!(patch["metadata"]["labels"][crate::kubelet::CONTROL_PLANE], "");
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let marked = json!({"metadata": {"resourceVersion": "8"}, "spec": patch["spec"]});
        assert_eq!(control_plane_patch(&marked)["spec"], patch["spec"]);
    }
}
