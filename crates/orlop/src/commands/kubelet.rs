//! `orlop kubelet`: the node agent alone, with or without an API server.
use super::agent::{self, AgentOptions};
use super::local_api;
use crate::cli::KubeletArgs;
use crate::detach::notify_ready;
use crate::memory;
use crate::paths::Root;
use crate::signals;
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Taint;
use orlop_cri::{Endpoint, Remote};
use orlop_pki::{Authority, Identity, LeafRequest, Usage, server_config};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The runtime may be starting beside the agent, as at boot.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(4);

pub async fn kubelet(arguments: KubeletArgs) -> Result<()> {
    let root = Root::new(arguments.root.root.as_deref())?;
    let shutdown = signals::shutdown_token()?;
    let mut configuration = agent::configuration(&root, arguments.config.as_deref())?;
    if let Some(path) = &arguments.pod_manifest_path {
        configuration.static_pod_path = std::path::absolute(path)?.display().to_string();
    }
    for text in arguments
        .register_with_taints
        .iter()
        .filter(|text| !text.is_empty())
    {
        configuration.register_with_taints.push(taint(text)?);
    }
    let node_name = agent::node_name(arguments.hostname_override.as_deref());
    let endpoint = arguments
        .container_runtime_endpoint
        .clone()
        .unwrap_or_else(|| configuration.container_runtime_endpoint.clone());
    let remote = Remote::connect_within(&Endpoint::parse(&endpoint)?, RUNTIME_PATIENCE).await?;
    let kubelet_root = arguments.root_dir.clone().unwrap_or_else(|| root.kubelet());
    let cert_dir = arguments
        .cert_dir
        .clone()
        .unwrap_or_else(|| kubelet_root.join("pki"));
    let client = match (&arguments.kubeconfig, arguments.local_api) {
        (Some(path), _) => Some(orlop_client::connect(path).await?),
        (None, Some(port)) => Some(local_api::start(&root, &cert_dir, &node_name, port, &shutdown).await?),
        (None, None) => None,
    };
    let serving = Serving {
        cert_dir: &cert_dir,
        cluster_ca: &root.pki().join("ca.crt"),
        node_name: &node_name,
        has_local_api: arguments.local_api.is_some(),
    };
    let options = AgentOptions {
        tls: Some(serving_tls(&configuration, &serving)?),
        node_name,
        configuration,
        client,
        remote,
        node_ip: arguments.node_ip,
        node_labels: arguments.node_labels.clone(),
        api_server_port: None,
        kubelet_root,
        container_logs: root.container_logs(),
        control_socket: root.agent_socket(),
    };
    notify_ready();
    tokio::spawn(memory::settle());
    agent::run(options, shutdown).await
}

/// What the agent serves with.
struct Serving<'a> {
    cert_dir: &'a Path,
    cluster_ca: &'a Path,
    node_name: &'a str,
    /// An API server of this node's own calls, with a certificate that the agent signed.
    has_local_api: bool,
}

/// The configured serving certificate, or one that the agent signs itself.
fn serving_tls(
    configuration: &orlop_kubelet::config::KubeletConfiguration,
    serving: &Serving<'_>,
) -> Result<Arc<rustls::ServerConfig>> {
    let Serving {
        cert_dir,
        cluster_ca,
        node_name,
        ..
    } = *serving;
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let own = Authority::ensure(cert_dir, "kubelet-ca", node_name)?;
    let mut client_ca = match configuration.authentication.x509.client_ca_file.as_str() {
        "" if cluster_ca.is_file() => read(&cluster_ca.display().to_string())?,
        // Nobody is trusted but who the agent itself signed: nobody.
        "" => own.certificate().to_owned(),
        path => read(path)?,
    };
    if serving.has_local_api {
        client_ca = format!("{client_ca}\n{}", own.certificate());
    }
    let (stored, stored_key) = (cert_dir.join("kubelet.crt"), cert_dir.join("kubelet.key"));
    let given = match configuration.tls_cert_file.is_empty() {
        false => Some((
            read(&configuration.tls_cert_file)?,
            read(&configuration.tls_private_key_file)?,
        )),
        true if stored.is_file() && stored_key.is_file() => {
            let certificate = read(&stored.display().to_string())?;
            // One that somebody else signed is kept as it is; the agent's own is renewed below.
            match own.has_signed(&certificate) {
                true => None,
                false => Some((certificate, read(&stored_key.display().to_string())?)),
            }
        }
        true => None,
    };
    let (certificate, key) = if let Some(given) = given {
        given
    } else {
        let leaf = own.ensure_leaf(
            "kubelet",
            &LeafRequest {
                identity: Identity::new(format!("{node_name}@self-signed"), &[]),
                usage: Usage::Server,
                dns_names: vec![node_name.to_owned(), "localhost".to_owned()],
                addresses: orlop_kubelet::node::addresses(&[], node_name),
            },
        )?;
        (leaf.certificate, leaf.key)
    };
    Ok(server_config(&certificate, &key, &client_ca)?)
}

/// `key=value:effect` or `key:effect`.
fn taint(text: &str) -> Result<Taint> {
    let (front, effect) = text
        .rsplit_once(':')
        .with_context(|| format!("--register-with-taints: {text:?} is not key=value:effect"))?;
    let (key, value) = front
        .split_once('=')
        .map_or((front, None), |(key, value)| (key, Some(value)));
    Ok(Taint {
        key: key.to_owned(),
        value: value.filter(|value| !value.is_empty()).map(str::to_owned),
        effect: effect.to_owned(),
        time_added: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_read_in_kubeadms_form() {
        let taint = taint("node-role.kubernetes.io/control-plane=:NoSchedule").unwrap();
        assert_eq!(taint.key, "node-role.kubernetes.io/control-plane");
        assert_eq!((taint.value, taint.effect.as_str()), (None, "NoSchedule"));
        assert!(super::taint("x").is_err());
    }
}
