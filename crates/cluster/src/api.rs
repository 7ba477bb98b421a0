//! Writing to the cluster's API so that doing it twice is doing it once.
use crate::ClusterError;
use crate::objects;
use kube::Client;
use orlop_client::is_transient;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Who owns the fields.
const FIELD_MANAGER: &str = "kubeadm";
/// How long a request is sent again that nobody answers, or whose server is not well: as long as one takes to come again.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two times.
const PAUSE: Duration = Duration::from_millis(500);

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

/// Sends what has the same effect when it is sent twice, again and again while that may help.
async fn send(
    client: &Client,
    method: &str,
    path: &str,
    content_type: &str,
    body: Option<&Value>,
    what: impl FnOnce() -> String,
) -> Result<Value, ClusterError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let sent = client.request(request(method, path, content_type, body)?).await;
        match sent {
            Err(error) if is_transient(&error) && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(PAUSE).await;
            }
            other => return other.map_err(ClusterError::api(what())),
        }
    }
}

/// `None` if there is none.
fn if_there(got: Result<Value, ClusterError>) -> Result<Option<Value>, ClusterError> {
    match got {
        Ok(object) => Ok(Some(object)),
        Err(ClusterError::Api { error, .. }) if matches!(&*error, kube::Error::Api(status) if status.code == 404) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Writes the fields of an object that is there, or makes it; the object as it is then.
pub async fn apply(client: &Client, object: &Value) -> Result<Value, ClusterError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    let path = objects::path(object)
        .ok_or_else(|| ClusterError::Configuration(format!("{kind} {name} has no place in the API")))?;
    let path = format!("{path}?fieldManager={FIELD_MANAGER}&force=true");
    let what = || format!("write {kind} {name}");
    send(
        client,
        "PATCH",
        &path,
        "application/apply-patch+yaml",
        Some(object),
        what,
    )
    .await
}

/// An object, `None` if there is none. Asked once.
pub async fn get(client: &Client, path: &str) -> Result<Option<Value>, ClusterError> {
    let got = client
        .request(request("GET", path, "application/json", None)?)
        .await;
    if_there(got.map_err(ClusterError::api(format!("read {path}"))))
}

/// The same in the midst of changes, which must not end for a moment's silence.
pub async fn get_patiently(client: &Client, path: &str) -> Result<Option<Value>, ClusterError> {
    let what = || format!("read {path}");
    if_there(send(client, "GET", path, "application/json", None, what).await)
}

/// Whether the API server can be asked things, where its clients reach it; the complaint otherwise.
pub async fn ready(client: &Client) -> Result<(), String> {
    let request = request("GET", "/readyz", "application/json", None).map_err(|error| error.to_string())?;
    let answered = client.request_text(request).await;
    answered
        .map(|_| ())
        .map_err(|error| ClusterError::api("ask whether it is ready")(error).to_string())
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
    change(client, path, "application/merge-patch+json", patch).await
}

/// The same by a strategic merge patch, which finds items of lists by their names.
pub async fn merge_strategically(client: &Client, path: &str, patch: &Value) -> Result<Value, ClusterError> {
    change(client, path, "application/strategic-merge-patch+json", patch).await
}

async fn change(
    client: &Client,
    path: &str,
    content_type: &str,
    patch: &Value,
) -> Result<Value, ClusterError> {
    let path_of = format!("{path}?fieldManager={FIELD_MANAGER}");
    let what = || format!("change {path}");
    send(client, "PATCH", &path_of, content_type, Some(patch), what).await
}

/// The merge patch that makes a node part of the control plane; its taints, which are a list, are written whole. `wanted`:
/// those that it is to have, as `key=value:effect`.
pub fn control_plane_patch(node: &Value, wanted: &[String]) -> Value {
    let key = crate::kubelet::CONTROL_PLANE;
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    for taint in wanted.iter().filter_map(|text| orlop_api::taints::read(text)) {
        let is_there = |there: &Value| there["key"] == taint.key && there["effect"] == taint.effect;
        if !taints.iter().any(is_there) {
            taints.push(json!(taint));
        }
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

/// Marks a node as part of the control plane, with these taints.
pub async fn mark_control_plane(client: &Client, name: &str, taints: &[String]) -> Result<(), ClusterError> {
    const ATTEMPTS: usize = 10;
    let path = format!("/api/v1/nodes/{name}");
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let Some(node) = get_patiently(client, &path).await? else {
            return Err(ClusterError::Configuration(format!(
                "node {name} is not registered"
            )));
        };
        match merge(client, &path, &control_plane_patch(&node, taints)).await {
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// What becomes of a write whose server answers these codes in turn, and how often it was sent.
    async fn written(codes: &'static [u16]) -> (Result<Value, ClusterError>, usize) {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = sent.clone();
        let client = crate::testing::api(move |_, _| {
            let code = codes[count.fetch_add(1, Ordering::SeqCst)];
            let body = match code {
                200 => json!({"kind": "ConfigMap"}),
                _ => json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "message": "not now", "reason": "Whatever", "code": code,
                }),
            };
            (code, body)
        });
        let object = json!({"kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}});
        let written = apply(&client.await, &object).await;
        (written, sent.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn a_write_outlives_what_passes() {
        let (written, sent) = written(&[500, 503, 502, 429, 200]).await;
        assert_eq!((written.unwrap()["kind"].as_str(), sent), (Some("ConfigMap"), 5));
    }

    #[tokio::test]
    async fn a_write_that_is_refused_is_not_sent_again() {
        let (written, sent) = written(&[403]).await;
        assert!(written.unwrap_err().to_string().contains("not now"));
        assert_eq!(sent, 1);
    }

    #[tokio::test]
    async fn nobody_answering_may_pass() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let client = crate::discovery::client(&url, None, None).unwrap();
        let asked = client.request::<Value>(request("GET", "/x", "application/json", None).unwrap());
        assert!(is_transient(&asked.await.unwrap_err()));
        assert!(ready(&client).await.is_err());
    }

    #[test]
    fn marking_keeps_other_taints_and_adds_no_second() {
        let node = json!({"metadata": {"resourceVersion": "7"}, "spec": {"taints": [
            {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
        ]}});
        let wanted = [format!("{}=:NoSchedule", crate::kubelet::CONTROL_PLANE)];
        let patch = control_plane_patch(&node, &wanted);
        assert_eq!(patch["spec"]["taints"].as_array().unwrap().len(), 2);
        assert_eq!(patch["metadata"]["labels"][crate::kubelet::CONTROL_PLANE], "");
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let marked = json!({"metadata": {"resourceVersion": "8"}, "spec": patch["spec"]});
        assert_eq!(control_plane_patch(&marked, &wanted)["spec"], patch["spec"]);
        let own = control_plane_patch(&node, &["a=b:NoExecute".to_owned()]);
        assert_eq!(
            own["spec"]["taints"][1],
            json!({"effect": "NoExecute", "key": "a", "value": "b"})
        );
    }
}
