//! `orlop kubelet`: the node agent alone, with or without an API server.
use super::agent::{self, AgentOptions};
use super::local_api;
use crate::cli::KubeletArgs;
use crate::doctor::{Ask, warn_at_start};
use crate::memory;
use crate::paths::Root;
use crate::signals;
use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Taint;
use orlop_api::taints;
use orlop_cri::images::Archives;
use orlop_cri::{Endpoint, Remote};
use orlop_kubelet::certificates::{ClientCertificate, ClientOptions, ServingCertificate};
use orlop_kubelet::config::KubeletConfiguration;
use orlop_kubelet::metrics::Metrics;
use orlop_kubelet::node::cloud;
use orlop_kubelet::{Providers, directories};
use orlop_pki::{Authority, Identity, LeafRequest, Pair, ServingFiles, Usage};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The runtime may be starting beside the agent, as at boot.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(4);

pub async fn kubelet(arguments: KubeletArgs) -> Result<()> {
    kubelet_with(arguments, None).await
}

/// The same with images beside the runtime that need no registry.
pub async fn kubelet_with(arguments: KubeletArgs, archives: Option<Arc<dyn Archives>>) -> Result<()> {
    let root = Root::new(arguments.root.root.as_deref())?;
    let shutdown = signals::shutdown_token()?;
    let given = agent::Given {
        file: arguments.config.as_deref(),
        drop_ins: arguments.config_dir.as_deref(),
        flags: &arguments.flags.0,
    };
    let mut configuration = agent::configuration(&root, &given)?;
    if let Some(path) = &arguments.pod_manifest_path {
        configuration.static_pod_path = std::path::absolute(path)?.display().to_string();
    }
    configuration.dead_containers = arguments.dead_containers.kept();
    agent::prepare_machine(&root, &configuration)?;
    agent::use_static_objects(&root, &mut configuration, arguments.static_objects.as_deref());
    use_taints(&mut configuration, &arguments.register_with_taints)?;
    use_cloud(&mut configuration, arguments.cloud_provider.as_deref())?;
    let node_name = agent::node_name(arguments.hostname_override.as_deref());
    let node_ips = arguments.node_ip.clone();
    let endpoint = arguments
        .container_runtime_endpoint
        .clone()
        .unwrap_or_else(|| configuration.container_runtime_endpoint.clone());
    let providers = (
        arguments.image_credential_provider_config.as_deref(),
        arguments.image_credential_provider_bin_dir.as_deref(),
    );
    let credential_providers = credential_providers(providers)?;
    // Beside the start: pods do not wait for what is only told.
    let (looked_at, runtime_endpoint) = (root.clone(), endpoint.clone());
    tokio::spawn(async move {
        let ask = Ask {
            ports: &[],
            runtime_endpoint: Some(&runtime_endpoint),
        };
        warn_at_start(&looked_at, ask).await;
    });
    let remote = Remote::connect_within(&Endpoint::parse(&endpoint)?, RUNTIME_PATIENCE).await?;
    let kubelet_root = arguments.root_dir.clone().unwrap_or_else(|| root.kubelet());
    // Before certificates are put into it.
    directories::make(&kubelet_root)?;
    let cert_dir = arguments
        .cert_dir
        .clone()
        .unwrap_or_else(|| kubelet_root.join("pki"));
    if let Some(rotate) = arguments.rotate_certificates {
        configuration.rotate_certificates = rotate;
    }
    let metrics = Metrics::default();
    let client = match (arguments.kubeconfig, arguments.local_api) {
        (Some(kubeconfig), _) => {
            let options = ClientOptions {
                node_name: node_name.clone(),
                kubeconfig,
                // kubeadm's unit names one that is gone once it was used.
                bootstrap_kubeconfig: arguments.bootstrap_kubeconfig.filter(|path| path.exists()),
                directory: cert_dir.clone(),
                rotate: configuration.rotate_certificates,
                calls: metrics.calls.clone(),
                counted: metrics.certificates.clone(),
            };
            let (client, certificate) = ClientCertificate::start(options).await?;
            spawn_until(&shutdown, certificate.run());
            Some(client)
        }
        (None, Some(port)) => {
            Some(local_api::start(&root, &cert_dir, &node_name, port, &metrics.calls, &shutdown).await?)
        }
        (None, None) => None,
    };
    let serving = Serving {
        cert_dir: &cert_dir,
        cluster_ca: &root.pki().join("ca.crt"),
        node_name: &node_name,
        has_local_api: arguments.local_api.is_some(),
    };
    let tls = serving.files(&configuration)?;
    if let Some(client) = client
        .as_ref()
        .filter(|_| arguments.local_api.is_none() && asks_for_serving(&configuration))
    {
        let addresses = orlop_kubelet::node::addresses(&node_ips, &node_name);
        let certificate = ServingCertificate::new(client.clone(), &node_name, addresses, &cert_dir)
            .counted(metrics.certificates.clone());
        spawn_until(&shutdown, certificate.run());
    }
    let options = AgentOptions {
        tls: Some(Arc::new(tls)),
        node_name,
        configuration,
        client,
        metrics,
        remote,
        node_ips,
        node_labels: arguments.node_labels.clone(),
        api_server_port: None,
        credential_providers,
        archives,
        kubelet_root,
        container_logs: root.container_logs(),
        control_socket: root.agent_socket(),
        addresses: None,
    };
    tokio::spawn(memory::settle());
    tokio::spawn(memory::follow_work());
    agent::run(options, shutdown).await
}

/// The programs that say how to log in to registries, by both flags.
fn credential_providers(given: (Option<&Path>, Option<&Path>)) -> Result<Option<Arc<Providers>>> {
    let (config, programs) = given;
    let said = |path: Option<&Path>| path.is_some_and(|path| !path.as_os_str().is_empty());
    match (config, programs) {
        (Some(config), Some(programs)) if said(Some(config)) && said(Some(programs)) => {
            Ok(Some(Arc::new(Providers::open(config, programs)?)))
        }
        _ if said(config) || said(programs) => bail!(
            "--image-credential-provider-config and --image-credential-provider-bin-dir go together: one of them is missing"
        ),
        _ => Ok(None),
    }
}

fn spawn_until(shutdown: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        shutdown.run_until_cancelled(work).await;
    });
}

/// Whether the cluster is asked for a serving certificate.
fn asks_for_serving(configuration: &KubeletConfiguration) -> bool {
    configuration.server_tls_bootstrap && configuration.tls_cert_file.is_empty()
}

/// What the agent serves with.
struct Serving<'a> {
    cert_dir: &'a Path,
    cluster_ca: &'a Path,
    node_name: &'a str,
    /// An API server of this node's own calls, with a certificate that the agent signed.
    has_local_api: bool,
}

impl Serving<'_> {
    /// The configured serving certificate, the cluster's, or one that the agent signs itself.
    fn files(&self, configuration: &KubeletConfiguration) -> Result<ServingFiles> {
        let own = Authority::ensure(self.cert_dir, "kubelet-ca", self.node_name)?;
        let own_ca = self.cert_dir.join("kubelet-ca.crt");
        let mut client_cas = vec![match configuration.authentication.x509.client_ca_file.as_str() {
            "" if self.cluster_ca.is_file() => self.cluster_ca.to_path_buf(),
            // Nobody is trusted but who the agent itself signed: nobody.
            "" => own_ca.clone(),
            path => PathBuf::from(path),
        }];
        if self.has_local_api {
            client_cas.push(own_ca);
        }
        let limits = agent::tls_limits(configuration)?;
        if !configuration.tls_cert_file.is_empty() {
            let given = Pair {
                certificate: PathBuf::from(&configuration.tls_cert_file),
                key: PathBuf::from(&configuration.tls_private_key_file),
            };
            return Ok(ServingFiles::open_within(vec![given], client_cas, limits)?);
        }
        let mut pairs = Vec::new();
        if asks_for_serving(configuration) {
            let file = ServingCertificate::file(self.cert_dir);
            pairs.push(Pair {
                certificate: file.clone(),
                key: file,
            });
        }
        let stored = Pair {
            certificate: self.cert_dir.join("kubelet.crt"),
            key: self.cert_dir.join("kubelet.key"),
        };
        // One that somebody else signed is kept as it is; the agent's own is renewed.
        let certificate = std::fs::read_to_string(&stored.certificate).unwrap_or_default();
        if !stored.key.is_file() || certificate.is_empty() || own.has_signed(&certificate) {
            own.ensure_leaf(
                "kubelet",
                &LeafRequest {
                    identity: Identity::new(format!("{}@self-signed", self.node_name), &[]),
                    usage: Usage::Server,
                    dns_names: vec![self.node_name.to_owned(), "localhost".to_owned()],
                    addresses: orlop_kubelet::node::addresses(&[], self.node_name),
                },
            )?;
        }
        pairs.push(stored);
        Ok(ServingFiles::open_within(pairs, client_cas, limits)?)
    }
}

/// Takes the flag's taints instead of the configuration's, if it was given.
fn use_taints(configuration: &mut KubeletConfiguration, given: &[String]) -> Result<()> {
    if given.is_empty() {
        return Ok(());
    }
    // An empty text means none.
    let taints = given.iter().filter(|text| !text.is_empty());
    configuration.register_with_taints = taints.map(|text| taint(text)).collect::<Result<_>>()?;
    Ok(())
}

/// A node of a cloud begins with the taint that the cloud's controller takes away.
fn use_cloud(configuration: &mut KubeletConfiguration, provider: Option<&str>) -> Result<()> {
    match provider.unwrap_or_default() {
        "" => {}
        "external" if cloud::is_asked(configuration) => {}
        "external" => configuration.register_with_taints.push(cloud::taint()),
        other => bail!("--cloud-provider: {other:?} is not external: clouds have controllers of their own"),
    }
    Ok(())
}

/// `key=value:effect` or `key:effect`.
fn taint(text: &str) -> Result<Taint> {
    let taint = taints::read(text)
        .with_context(|| format!("--register-with-taints: {text:?} is not key=value:effect"))?;
    // The Node would be refused for it, again and again.
    if let Err(reason) = taints::check(&taint) {
        bail!("--register-with-taints: {text:?} is not key=value:effect: {reason}");
    }
    Ok(taint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_speaks_no_older_tls_than_the_configuration_lets_it() {
        let dir = tempfile::tempdir().unwrap();
        let serving = Serving {
            cert_dir: dir.path(),
            cluster_ca: &dir.path().join("none"),
            node_name: "n1",
            has_local_api: false,
        };
        let config = |version: &str| {
            let configuration = KubeletConfiguration {
                tls_min_version: version.to_owned(),
                ..KubeletConfiguration::default()
            };
            serving.files(&configuration).map(|files| files.current().0)
        };
        let speaks_older = |config: &rustls::ServerConfig| {
            // What a client of TLS 1.2 alone is answered.
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let client = rustls::ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&rustls::version::TLS12])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(orlop_pki::any_certificate())
                .with_no_client_auth();
            let name = "localhost".try_into().unwrap();
            let mut client = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
            let mut hello = Vec::new();
            client.write_tls(&mut hello).unwrap();
            let mut server = rustls::ServerConnection::new(Arc::new(config.clone())).unwrap();
            server.read_tls(&mut &hello[..]).unwrap();
            server.process_new_packets().is_ok()
        };
        assert!(speaks_older(&config("").unwrap()));
        assert!(!speaks_older(&config("VersionTLS13").unwrap()));
        let error = format!("{:#}", config("VersionTLS99").unwrap_err());
        assert!(error.contains("tlsMinVersion"), "{error}");
    }

    #[test]
    fn credential_providers_need_both_flags() {
        let open = |config: &str, programs: &str| {
            credential_providers((Some(Path::new(config)), Some(Path::new(programs))))
        };
        assert!(open("", "").unwrap().is_none());
        assert!(open("/tmp/x", "").is_err_and(|error| error.to_string().contains("bin-dir")));
        assert!(open("/nonexistent", "/tmp").is_err_and(|error| error.to_string().contains("/nonexistent")));
    }

    #[test]
    fn taints_are_read_in_kubeadms_form() {
        let taint = taint("node-role.kubernetes.io/control-plane=:NoSchedule").unwrap();
        assert_eq!(taint.key, "node-role.kubernetes.io/control-plane");
        assert_eq!((taint.value, taint.effect.as_str()), (None, "NoSchedule"));
        for wrong in ["x", "a=b:Nothing", ":NoExecute", "a:"] {
            assert!(super::taint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn node_of_a_cloud_keeps_pods_away_until_the_cloud_knows_it() {
        let taints = |provider: &str| {
            let mut configuration = KubeletConfiguration::default();
            use_cloud(&mut configuration, Some(provider)).map(|()| configuration.register_with_taints)
        };
        assert_eq!(taints("external").unwrap(), [cloud::taint()]);
        assert!(taints("").unwrap().is_empty());
        assert!(taints("aws").is_err());
    }

    #[test]
    fn c05_taints_of_the_flag_go_before_those_of_the_file() {
        let used = |given: &[&str]| {
            let mut configuration = KubeletConfiguration {
                register_with_taints: vec![taints::taint("of-file", taints::NO_SCHEDULE)],
                ..KubeletConfiguration::default()
            };
            let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
            use_taints(&mut configuration, &given).unwrap();
            let all = configuration.register_with_taints.iter();
            all.map(taints::display).collect::<Vec<_>>()
        };
        assert_eq!(used(&[]), ["of-file:NoSchedule"]);
        assert_eq!(
            used(&["a=b:NoExecute", "c:NoSchedule"]),
            ["a=b:NoExecute", "c:NoSchedule"]
        );
        assert!(used(&[""]).is_empty());
    }
}
