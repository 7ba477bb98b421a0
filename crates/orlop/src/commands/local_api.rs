//! The API of a lone node (`orlop kubelet --local-api`): an API server in memory, on loopback, in which users may look,
//! read logs and run commands in containers, and change nothing. The agent tells it of its pods as it tells any other.
use crate::paths::Root;
use anyhow::{Context, Result};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::PostParams;
use orlop_apiserver::{ADDRESSES_FIRST, ApiServer, Config, KubeletClientTls, TrustedAuthorities, UserInfo};
use orlop_client::in_process;
use orlop_metrics::CallMetrics;
use orlop_pki::{Authority, Identity, Kubeconfig, LeafRequest, Usage, server_config};
use orlop_store::embedded::EmbeddedStore;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// Who the kubeconfig speaks for; bound to the role of the same name.
const VIEWERS: &str = "orlop:local-viewers";

/// Where the kubeconfig is written.
pub fn kubeconfig(root: &Root) -> PathBuf {
    root.kubeconfig("local")
}

/// Starts it; the agent's client of it. It ends with `shutdown`.
pub async fn start(
    root: &Root,
    cert_dir: &Path,
    node_name: &str,
    port: u16,
    calls: &CallMetrics,
    shutdown: &CancellationToken,
) -> Result<kube::Client> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: choose another --local-api port"))?;
    let address = listener.local_addr()?;
    let authority = Authority::ensure(cert_dir, "kubelet-ca", node_name)?;
    let serving = authority.ensure_leaf(
        "local-api",
        &LeafRequest {
            identity: Identity::new("kube-apiserver", &[]),
            usage: Usage::Server,
            dns_names: vec!["localhost".to_owned()],
            addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        },
    )?;
    let caller = authority.ensure_leaf(
        "local-api-kubelet-client",
        &LeafRequest {
            identity: Identity::new("kube-apiserver-kubelet-client", &["system:masters"]),
            usage: Usage::Client,
            dns_names: Vec::new(),
            addresses: Vec::new(),
        },
    )?;
    let mut config = Config::new(address);
    config.shutdown = shutdown.clone();
    let client_ca = TrustedAuthorities::of_clients(authority.certificate())?;
    config.authentication.client_ca = Some(client_ca);
    config.kubelet_client = KubeletClientTls {
        // The agent is at hand, whoever signed its certificate.
        ca: None,
        identity: Some(caller.into()),
    };
    config.kubelet_address_types = ADDRESSES_FIRST.map(str::to_owned).to_vec();
    let server = ApiServer::start(config, EmbeddedStore::in_memory()?).await?;
    let admin = in_process(server.in_process(UserInfo::admin("orlop")));
    let_viewers_look(admin)
        .await
        .context("cannot set up the local API")?;
    let tls = server_config(&serving.certificate, &serving.key, authority.certificate())?;
    let path = kubeconfig(root);
    let url = format!("https://{address}");
    let config = Kubeconfig {
        server: &url,
        cluster: node_name,
        identity: Identity::new("local-viewer", &[VIEWERS]),
    };
    config.ensure(&path, &authority)?;
    tracing::info!(%address, kubeconfig = %path.display(), "this node's own API answers");
    let (serving, until) = (server.clone(), shutdown.clone());
    tokio::spawn(async move {
        if let Err(error) = serving.serve(listener, tls, until).await {
            tracing::error!(%error, "this node's own API stopped");
        }
    });
    let agent = UserInfo::node(node_name);
    Ok(super::in_process::client(
        &server, agent, "kubelet", calls, address,
    ))
}

async fn let_viewers_look(client: kube::Client) -> Result<()> {
    let role: ClusterRole = object(json!({
        "metadata": {"name": VIEWERS},
        "rules": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["pods/exec", "pods/attach", "pods/portforward"], "verbs": ["get", "create"]},
            {"nonResourceURLs": ["*"], "verbs": ["get"]},
        ],
    }))?;
    let binding: ClusterRoleBinding = object(json!({
        "metadata": {"name": VIEWERS},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": VIEWERS},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": VIEWERS}],
    }))?;
    let parameters = PostParams::default();
    Api::all(client.clone()).create(&parameters, &role).await?;
    Api::all(client).create(&parameters, &binding).await?;
    Ok(())
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{ConfigMap, Pod};

    #[tokio::test]
    async fn kubeconfig_of_a_lone_node_may_look_and_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(Some(dir.path())).unwrap();
        let shutdown = CancellationToken::new();
        let _end = shutdown.clone().drop_guard();
        let pki = dir.path().join("pki");
        let calls = CallMetrics::default();
        start(&root, &pki, "n1", 0, &calls, &shutdown).await.unwrap();
        let client = orlop_client::connect(&kubeconfig(&root)).await.unwrap();
        let pods: Api<Pod> = Api::all(client.clone());
        assert!(pods.list(&Default::default()).await.unwrap().items.is_empty());
        let maps: Api<ConfigMap> = Api::namespaced(client, "default");
        let map = object(json!({"metadata": {"name": "m"}})).unwrap();
        let refused = maps.create(&PostParams::default(), &map).await.unwrap_err();
        assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
    }
}
