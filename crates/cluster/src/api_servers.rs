//! The API servers of a cluster, by their mirror pods, and of which version each is. The tag of its image says so; where that
//! says no version, as of an image that is named by its digest alone, the server does.
use crate::config::API_PORT;
use crate::versions::{minor, numbers};
use crate::{api, upgrade};
use kube::Client;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// Annotation of their pods: where each is reached.
const ENDPOINT: &str = "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint";
/// One that is well says at once what it is.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiServer {
    /// The node that it runs on.
    pub node: String,
    /// Such as `v1.36.0`; otherwise why it is not known.
    pub version: Result<String, String>,
}

impl ApiServer {
    /// Name of the node, and the version or why it is not known.
    fn told(&self) -> (&str, &str) {
        let version = self.version.as_deref();
        (&self.node, version.unwrap_or_else(|why| why.as_str()))
    }
}

/// Those of a list of the control plane's pods.
pub async fn of(client: &Client, pods: &Value) -> Vec<ApiServer> {
    let mut all = Vec::new();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let is_one = pod["metadata"]["labels"]["component"] == "kube-apiserver";
        if let (true, Some(node)) = (is_one, pod["spec"]["nodeName"].as_str()) {
            all.push(ApiServer {
                node: node.to_owned(),
                version: version(client, pod).await,
            });
        }
    }
    all
}

async fn version(client: &Client, pod: &Value) -> Result<String, String> {
    if let Some(version) = upgrade::version(pod).filter(|version| numbers(version).is_some()) {
        return Ok(version.to_owned());
    }
    let path = version_path(pod);
    let why = match tokio::time::timeout(TIMEOUT, api::get(client, &path)).await {
        Ok(Ok(Some(told))) => match own(&told) {
            Some(version) => return Ok(version.to_owned()),
            None => "it answers with no version".to_owned(),
        },
        Ok(Ok(None)) => "it has no mirror pod any more".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it did not answer within {TIMEOUT:?}"),
    };
    let image = upgrade::image_of(pod).unwrap_or("image");
    Err(format!(
        "version not known, for its {image} has none in its name, and it cannot be asked: {why}"
    ))
}

/// Where an API server says what it is, by way of the one that is asked.
fn version_path(pod: &Value) -> String {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let endpoint = pod["metadata"]["annotations"][ENDPOINT].as_str();
    let endpoint = endpoint.and_then(|endpoint| endpoint.parse::<SocketAddr>().ok());
    let port = endpoint.map_or(API_PORT, |endpoint| endpoint.port());
    format!("/api/v1/namespaces/kube-system/pods/https:{name}:{port}/proxy/version")
}

/// The version in what a server says of itself, without what its builder adds.
fn own(told: &Value) -> Option<&str> {
    let version = told["gitVersion"].as_str()?.split('+').next()?;
    numbers(version).is_some().then_some(version)
}

/// Those whose version is not known. Name of the node, and why.
pub fn unknown(all: &[ApiServer]) -> Vec<(&str, &str)> {
    let unknown = all.iter().filter(|server| server.version.is_err());
    unknown.map(ApiServer::told).collect()
}

/// Those that are too old to stand beside servers of a version: all of a cluster must be within one minor version. Name of the
/// node and version.
pub fn behind<'a>(all: &'a [ApiServer], version: &str) -> Vec<(&'a str, &'a str)> {
    let Some((_, wanted)) = minor(version) else {
        return Vec::new();
    };
    let is_behind = |server: &&ApiServer| {
        let now = server.version.as_deref().ok().and_then(minor);
        now.is_some_and(|(_, now)| now + 1 < wanted)
    };
    all.iter().filter(is_behind).map(ApiServer::told).collect()
}

/// Those that are not known to be of a version. Name of the node, and version or why it is not known.
pub fn of_others<'a>(all: &'a [ApiServer], version: &str) -> Vec<(&'a str, &'a str)> {
    let others = all
        .iter()
        .filter(|server| server.version.as_deref() != Ok(version));
    others.map(ApiServer::told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versions::listed;
    use serde_json::json;

    fn pod(component: &str, node: &str, image: &str) -> Value {
        json!({
            "metadata": {
                "annotations": {ENDPOINT: "10.0.0.1:7443"},
                "labels": {"component": component},
                "name": format!("{component}-{node}"),
            },
            "spec": {"nodeName": node, "containers": [{"image": format!("registry.k8s.io/{image}")}]},
        })
    }

    #[test]
    fn who_is_left_behind_is_named() {
        let of = |node: &str, version: Result<&str, &str>| ApiServer {
            node: node.to_owned(),
            version: version.map(str::to_owned).map_err(str::to_owned),
        };
        let all = [
            of("m1", Ok("v1.36.0")),
            of("m2", Ok("v1.35.0")),
            of("m3", Ok("v1.34.0")),
            of("m4", Err("who knows")),
        ];
        assert_eq!(listed(&behind(&all, "v1.36.0")), "m3 (v1.34.0)");
        assert_eq!(
            listed(&of_others(&all, "v1.36.0")),
            "m2 (v1.35.0), m3 (v1.34.0), m4 (who knows)"
        );
        assert_eq!(listed(&unknown(&all)), "m4 (who knows)");
    }

    /// Whose image is pinned by its digest, in either of the forms in which that is done, or has a name of somebody's own.
    #[tokio::test]
    async fn a_server_whose_image_tells_no_version_is_asked() {
        let client = crate::testing::api(|_, path| match path {
            "/api/v1/namespaces/kube-system/pods/https:kube-apiserver-m2:7443/proxy/version" => {
                (200, json!({"gitVersion": "v1.35.1+mine.2"}))
            }
            "/api/v1/namespaces/kube-system/pods/https:kube-apiserver-m3:7443/proxy/version" => {
                (200, json!({"gitVersion": "next"}))
            }
            _ => (404, json!({"kind": "Status", "code": 404})),
        })
        .await;
        let pods = json!({"items": [
            pod("kube-apiserver", "m1", "kube-apiserver:v1.36.0@sha256:0123"),
            pod("kube-apiserver", "m2", "kube-apiserver@sha256:0123"),
            pod("kube-apiserver", "m3", "kube-apiserver:mine"),
            pod("kube-scheduler", "m1", "kube-scheduler:v1.30.0"),
        ]});
        let all = super::of(&client, &pods).await;
        let known: Vec<&str> = all
            .iter()
            .filter_map(|server| server.version.as_deref().ok())
            .collect();
        assert_eq!(known, ["v1.36.0", "v1.35.1"]);
        let [(node, why)] = unknown(&all)[..] else {
            panic!("{all:?}")
        };
        assert_eq!(node, "m3");
        assert!(
            why.contains("registry.k8s.io/kube-apiserver:mine") && why.ends_with("with no version"),
            "{why}"
        );
    }
}
