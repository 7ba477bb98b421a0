//! Where what is known of the cluster comes from: any API server, or a file.
use crate::cli::ClusterArgs;
use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

/// Objects in one answer.
const PAGE: u32 = 1000;

/// A cluster that can be asked.
pub enum Cluster {
    Server(kube::Client),
    File(Vec<Value>),
}

/// Which pods.
#[derive(Clone, Debug)]
pub enum Pods<'a> {
    All,
    In(&'a str),
    OnNode(&'a str),
}

impl Cluster {
    pub async fn of(arguments: &ClusterArgs) -> Result<Self> {
        if let Some(path) = &arguments.from {
            return Self::read(path);
        }
        let path = kubeconfig(arguments.kubeconfig.as_deref())?;
        Ok(Self::Server(orlop_client::connect(&path).await?))
    }

    fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let list: Value = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is not the JSON that kubectl get -o json prints",
                path.display()
            )
        })?;
        match &list["items"] {
            Value::Array(items) => Ok(Self::File(items.clone())),
            _ => bail!("{} is no list: kubectl get … -o json prints one", path.display()),
        }
    }

    pub async fn nodes(&self) -> Result<Vec<Node>> {
        match self {
            Self::Server(client) => all(Api::all(client.clone()), ListParams::default()).await,
            Self::File(items) => of_kind(items, "Node"),
        }
    }

    pub async fn pods(&self, which: Pods<'_>) -> Result<Vec<Pod>> {
        match (self, which) {
            (Self::Server(client), Pods::All) => all(Api::all(client.clone()), ListParams::default()).await,
            (Self::Server(client), Pods::In(namespace)) => {
                all(Api::namespaced(client.clone(), namespace), ListParams::default()).await
            }
            (Self::Server(client), Pods::OnNode(node)) => {
                let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
                all(Api::all(client.clone()), on_node).await
            }
            (Self::File(items), which) => {
                let mut pods: Vec<Pod> = of_kind(items, "Pod")?;
                pods.retain(|pod| match which {
                    Pods::All => true,
                    Pods::In(namespace) => pod.metadata.namespace.as_deref() == Some(namespace),
                    Pods::OnNode(node) => {
                        pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node)
                    }
                });
                Ok(pods)
            }
        }
    }

    pub async fn revisions(&self, namespace: &str) -> Result<Vec<ControllerRevision>> {
        match self {
            Self::Server(client) => {
                all(Api::namespaced(client.clone(), namespace), ListParams::default()).await
            }
            Self::File(items) => of_kind(items, "ControllerRevision"),
        }
    }

    pub async fn daemon_set(&self, namespace: &str, name: &str) -> Result<Option<DaemonSet>> {
        match self {
            Self::Server(client) => {
                let api: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
                Ok(api.get_opt(name).await?)
            }
            Self::File(items) => {
                let sets: Vec<DaemonSet> = of_kind(items, "DaemonSet")?;
                Ok(sets.into_iter().find(|set| {
                    set.metadata.name.as_deref() == Some(name)
                        && set.metadata.namespace.as_deref() == Some(namespace)
                }))
            }
        }
    }
}

/// The first kubeconfig that is there.
fn kubeconfig(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let named = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
    std::env::split_paths(&named)
        .chain(home)
        .chain([PathBuf::from("/etc/kubernetes/admin.conf")])
        .find(|path| path.is_file())
        .context("there is no kubeconfig: name one with --kubeconfig")
}

async fn all<K>(api: Api<K>, parameters: ListParams) -> Result<Vec<K>>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut parameters = parameters.limit(PAGE);
    let mut items = Vec::new();
    loop {
        let page = api.list(&parameters).await?;
        items.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(items),
        }
    }
}

fn of_kind<K: DeserializeOwned>(items: &[Value], kind: &str) -> Result<Vec<K>> {
    items
        .iter()
        .filter(|item| item["kind"] == kind)
        .map(|item| {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            serde_json::from_value(item.clone()).with_context(|| format!("{kind} {name} cannot be read"))
        })
        .collect()
}
