//! `orlop config`: configuration files of kubeadm's, for people to begin with and to check.
use super::{addons, documents, given, node};
use crate::cli::{ConfigArgs, ConfigCommand, ConfigImages, ConfigImagesArgs, ConfigPrint, ListOutput};
use anyhow::{Context, Result, bail, ensure};
use orlop_api::KUBERNETES_VERSION;
use orlop_cluster::config::ClusterConfig;
use orlop_cluster::endpoint::Endpoint;
use orlop_cluster::given::{Given, Init, Join};
use orlop_cluster::{defaults, images, kubelet, versions};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// How long a token lasts that says nothing of it; here it only has to be one.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

pub async fn config(arguments: ConfigArgs) -> Result<()> {
    match arguments.command {
        ConfigCommand::Print { which } => {
            let text = documents(ListOutput::Yaml, &printed(&which)?)?;
            print!("{}", text.unwrap_or_default());
        }
        ConfigCommand::Images {
            command: ConfigImages::List(arguments),
        } => {
            let all = images::list(&meant(&arguments)?, node::ETCD_TAG);
            let text = documents(arguments.output, &[images::described(&all)])?;
            print!("{}", text.unwrap_or_else(|| format!("{}\n", all.join("\n"))));
        }
        ConfigCommand::Validate { config } => {
            validate(&config)?;
            println!("ok");
        }
    }
    Ok(())
}

fn printed(which: &ConfigPrint) -> Result<Vec<Value>> {
    match which {
        ConfigPrint::InitDefaults { component_configs } => {
            let mut all = defaults::of_init(KUBERNETES_VERSION)?.to_vec();
            if !component_configs.is_empty() {
                all.push(kubelet::configuration(&ClusterConfig::new(KUBERNETES_VERSION))?);
            }
            Ok(all)
        }
        ConfigPrint::JoinDefaults => Ok(vec![defaults::of_join()]),
    }
}

/// The cluster whose images are asked for.
fn meant(arguments: &ConfigImagesArgs) -> Result<ClusterConfig> {
    let cluster = match &arguments.config {
        Some(path) => by(&given::read(Some(path))?)?,
        None => {
            let version = &arguments.kubernetes_version;
            let is_bare = version.starts_with(|first: char| first.is_ascii_digit());
            let version = format!("{}{version}", if is_bare { "v" } else { "" });
            ClusterConfig {
                image_repository: arguments.image_repository.clone(),
                ..ClusterConfig::new(&version)
            }
        }
    };
    let version = &cluster.kubernetes_version;
    ensure!(
        versions::numbers(version).is_some(),
        "{version:?} is no version such as {KUBERNETES_VERSION}"
    );
    Ok(cluster)
}

/// The cluster that a file says, or the usual one.
fn by(given: &Given) -> Result<ClusterConfig> {
    Ok(match &given.cluster {
        Some(document) => ClusterConfig::from_given(document, KUBERNETES_VERSION)?,
        None => ClusterConfig::new(KUBERNETES_VERSION),
    })
}

/// Fails for what `init` or `join` would refuse, whatever the machine and the cluster are like.
fn validate(path: &Path) -> Result<()> {
    let given = given::read(Some(path))?;
    ensure!(
        given != Given::default(),
        "{} has no document that is known",
        path.display()
    );
    let cluster = by(&given)?;
    let version = &cluster.kubernetes_version;
    let complaints = versions::init_complaints(version, KUBERNETES_VERSION);
    if let Some((_, why)) = complaints.iter().find(|(check, _)| *check == "KubernetesVersion") {
        bail!("the configuration file: kubernetesVersion: {why}");
    }
    cluster.service_address(1)?;
    if let Some(endpoint) = &cluster.control_plane_endpoint {
        endpoint.parse::<Endpoint>().context("controlPlaneEndpoint")?;
    }
    let cluster = ClusterConfig {
        kubelet: given.kubelet.clone(),
        ..cluster
    };
    let agent = orlop_kubelet::config::of_document(path, &kubelet::configuration(&cluster)?)?;
    for warning in agent.warnings {
        eprintln!("{warning}");
    }
    given.init.as_ref().map_or(Ok(()), of_init)?;
    given.join.as_ref().map_or(Ok(()), of_join)
}

fn of_init(init: &Init) -> Result<()> {
    addons::skipped(&init.skip_phases)?;
    for token in &init.tokens {
        given::checked(token, TOKEN_TTL)?;
    }
    Ok(())
}

fn of_join(join: &Join) -> Result<()> {
    let by_token = join.endpoint.is_some() && join.discovery.is_some();
    ensure!(
        by_token || join.discovery_file.is_some(),
        "the configuration file: JoinConfiguration.discovery says by what the cluster is to be trusted neither with bootstrapToken (apiServerEndpoint and token) nor with file (kubeConfigPath)"
    );
    ensure!(
        !by_token || join.any_authority || !join.hashes.is_empty(),
        "the configuration file: JoinConfiguration.discovery.bootstrapToken has no caCertHashes: without them unsafeSkipCAVerification has to be true"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command, parse};

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn what_is_printed_is_valid() {
        let init = ConfigPrint::InitDefaults {
            component_configs: vec!["KubeletConfiguration".to_owned()],
        };
        for which in [init, ConfigPrint::JoinDefaults] {
            let text = documents(ListOutput::Yaml, &printed(&which).unwrap()).unwrap();
            validate(file(&text.unwrap()).path()).unwrap();
        }
    }

    #[test]
    fn what_would_be_refused_is_told() {
        for (kind, fields, want) in [
            (
                "ClusterConfiguration",
                "kubernetesVersion: v1.99.0",
                "kubernetesVersion: ",
            ),
            (
                "ClusterConfiguration",
                "etcd: {external: {endpoints: [a]}}",
                "etcd.external",
            ),
            (
                "ClusterConfiguration",
                "controlPlaneEndpoint: \"a:b:c\"",
                "controlPlaneEndpoint",
            ),
            (
                "ClusterConfiguration",
                "networking: {serviceSubnet: none}",
                "service range",
            ),
            ("InitConfiguration", "skipPhases: [preflight]", "preflight"),
            (
                "InitConfiguration",
                "bootstrapTokens: [{token: abcdef.0123456789abcdef, groups: [mine]}]",
                "token abcdef",
            ),
            ("JoinConfiguration", "discovery: {}", "discovery says by what"),
            (
                "JoinConfiguration",
                "discovery: {bootstrapToken: {apiServerEndpoint: \"a:1\", token: abcdef.0123456789abcdef}}",
                "no caCertHashes",
            ),
            ("Nonsense", "a: b", "Nonsense of kubeadm.k8s.io/v1beta4"),
        ] {
            let text = format!("apiVersion: kubeadm.k8s.io/v1beta4\nkind: {kind}\n{fields}\n");
            let error = format!("{:#}", validate(file(&text).path()).unwrap_err());
            assert!(error.contains(want), "{error}");
        }
        let kubelet =
            "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: many\n";
        let error = format!("{:#}", validate(file(kubelet).path()).unwrap_err());
        assert!(error.contains("maxPods"), "{error}");
        assert!(validate(file("").path()).is_err());
    }

    #[test]
    fn images_are_those_of_a_version_or_of_a_file() {
        let meant = |line: &str| {
            let line = format!("orlop config images list {line}");
            let Cli { command } = parse(line.split_whitespace().map(Into::into)).unwrap();
            let Command::Config(ConfigArgs {
                command:
                    ConfigCommand::Images {
                        command: ConfigImages::List(arguments),
                    },
            }) = command
            else {
                panic!("{line}")
            };
            super::meant(&arguments).map(|cluster| cluster.image("kube-apiserver"))
        };
        let usual = format!("registry.k8s.io/kube-apiserver:{KUBERNETES_VERSION}");
        assert_eq!(meant("").unwrap(), usual);
        let line = "--kubernetes-version=1.35.2 --image-repository=a.b/c";
        assert_eq!(meant(line).unwrap(), "a.b/c/kube-apiserver:v1.35.2");
        assert!(meant("--kubernetes-version=stable-1").is_err());
        let file = file(
            "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: 1.35.1\n",
        );
        let line = format!("--config={}", file.path().display());
        assert_eq!(meant(&line).unwrap(), "registry.k8s.io/kube-apiserver:v1.35.1");
    }
}
