//! A client from a kubeconfig file, or around a service living in this process.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::header::{HeaderValue, USER_AGENT};
use http::{Request, Response};
use kube::client::Body;
use kube::config::{AuthInfo, KubeConfigOptions};
use orlop_metrics::CallMetrics;
use tower::{BoxError, Service};

use crate::transport::builder;
use crate::{Measure, kubeconfig};

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file is missing or isn't a kubeconfig.
    #[error("cannot use kubeconfig {path}: {source}; check the path, or write one with `orlop up`")]
    Kubeconfig {
        /// The file that was tried.
        path: PathBuf,
        /// What is wrong with it.
        source: kube::config::KubeconfigError,
    },
    /// The kubeconfig is readable, but its certificates or addresses can't be used.
    #[error("cannot make a client from kubeconfig {path}: {source}")]
    Client {
        /// The file that was tried.
        path: PathBuf,
        /// What is wrong with its contents.
        source: Box<kube::Error>,
    },
}

/// A client for the API server named by the current context of `kubeconfig`.
///
/// Nothing is sent yet: an unreachable server shows at the first request.
pub async fn connect(kubeconfig: &Path) -> Result<kube::Client, ConnectError> {
    let config = config(kubeconfig, None).await?;
    connect_to(config).map_err(|source| unusable(kubeconfig, source))
}

/// A client of the server that a configuration tells of, where no kubeconfig lies in a file.
pub fn connect_to(config: kube::Config) -> Result<kube::Client, kube::Error> {
    Ok(builder(config)?.build())
}

/// As [`connect_measured`], with another identity than the one that `kubeconfig` gives: a certificate and its key, PEM.
pub async fn connect_as(
    kubeconfig: &Path,
    certificate: &str,
    key: &str,
    metrics: CallMetrics,
) -> Result<kube::Client, ConnectError> {
    let config = config(kubeconfig, Some((certificate, key))).await?;
    measured(config, kubeconfig, metrics)
}

/// As [`connect`], with calls counted among `metrics`.
pub async fn connect_measured(kubeconfig: &Path, metrics: CallMetrics) -> Result<kube::Client, ConnectError> {
    measured(config(kubeconfig, None).await?, kubeconfig, metrics)
}

fn measured(
    config: kube::Config,
    kubeconfig: &Path,
    metrics: CallMetrics,
) -> Result<kube::Client, ConnectError> {
    let host = config.cluster_url.authority().map(ToString::to_string);
    let measure = Measure::new(metrics, &host.unwrap_or_default());
    let builder = builder(config).map_err(|source| unusable(kubeconfig, source))?;
    Ok(builder.with_layer(&measure).build())
}

/// As [`connect_measured`], as nobody: to that server, without the identity that `kubeconfig` gives.
pub async fn connect_bare(kubeconfig: &Path, metrics: CallMetrics) -> Result<kube::Client, ConnectError> {
    let mut config = config(kubeconfig, None).await?;
    config.auth_info = AuthInfo::default();
    measured(config, kubeconfig, metrics)
}

fn unusable(kubeconfig: &Path, source: kube::Error) -> ConnectError {
    ConnectError::Client {
        path: kubeconfig.to_owned(),
        source: Box::new(source),
    }
}

async fn config(path: &Path, identity: Option<(&str, &str)>) -> Result<kube::Config, ConnectError> {
    let mut file = kubeconfig::read(path)?;
    if let Some((certificate, key)) = identity {
        kubeconfig::identify(&mut file, certificate, key);
    }
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|source| ConnectError::Kubeconfig {
            path: path.to_owned(),
            source,
        })?;
    if let Ok(agent) = HeaderValue::from_str(&agent(std::env::args())) {
        config.headers.push((USER_AGENT, agent));
    }
    Ok(config)
}

/// What this program calls itself, by upstream's names: who reads managed fields and audit logs knows these.
fn agent(mut arguments: impl Iterator<Item = String>) -> String {
    let program = arguments.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    let name = match (program, arguments.next().as_deref()) {
        ("orlop", Some("kubelet")) => "kubelet",
        ("orlop", Some("controller-manager")) => "kube-controller-manager",
        ("orlop", Some("scheduler")) => "kube-scheduler",
        ("", _) => "orlop",
        (program, _) => program,
    };
    format!("{name}/{} orlop", env!("CARGO_PKG_VERSION"))
}

/// A client around an API server in this process. Same type, same behaviour, no socket.
///
/// Must be called within a tokio runtime: the client keeps one small task that serialises requests
/// into `service`.
pub fn in_process<S, B>(service: S) -> kube::Client
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    kube::Client::new(service, "default")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named_in_the_error() {
        let error = connect(Path::new("/nonexistent/admin.conf")).await.err().unwrap();
        assert!(error.to_string().contains("/nonexistent/admin.conf"), "{error}");
    }

    #[tokio::test]
    async fn an_in_process_service_answers_requests() {
        let service = tower::service_fn(|request: Request<Body>| async move {
            assert_eq!(request.uri().path(), "/version");
            let body = serde_json::json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "",
                "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
            Ok::<_, std::convert::Infallible>(Response::new(Body::from(body.to_string().into_bytes())))
        });
        let version = in_process(service).apiserver_version().await.unwrap();
        assert_eq!(version.minor, "36");
    }

    #[test]
    fn parts_call_themselves_by_upstreams_names() {
        for (line, expected) in [
            (
                "target/release/orlop controller-manager --v=2",
                "kube-controller-manager",
            ),
            ("/usr/bin/kube-scheduler --v=2", "kube-scheduler"),
            ("orlop kubelet", "kubelet"),
            ("orlop why pod/p", "orlop"),
            ("", "orlop"),
        ] {
            let agent = agent(line.split(' ').map(str::to_owned));
            assert_eq!(agent.split('/').next(), Some(expected), "{line}");
        }
    }
}
