//! Runs one check: exec, httpGet, tcpSocket or grpc (contract, node agent §16.4, §16.6).
use super::decide::Outcome;
use super::{grpc, http};
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orlop_cri::RuntimeService;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a command's output that are kept.
const OUTPUT_MAX: usize = 10 * 1024;

/// What is probed.
pub struct Target {
    pub runtime: Arc<dyn RuntimeService>,
    pub container_id: String,
    pub container: Container,
    /// Where network checks go that name no host.
    pub host: Option<String>,
}

/// One run, at most `timeout` long.
pub async fn check(target: &Target, probe: &Probe, timeout: Duration) -> Outcome {
    if let Some(exec) = &probe.exec {
        return exec_check(target, exec.command.as_deref().unwrap_or_default(), timeout).await;
    }
    let pod_host = target.host.as_deref();
    if let Some(get) = &probe.http_get {
        return http::probe(get, &target.container, pod_host, timeout).await;
    }
    if let Some(tcp) = &probe.tcp_socket {
        let host = tcp.host.as_deref().filter(|host| !host.is_empty()).or(pod_host);
        return tcp_check(host, port_of(&tcp.port, &target.container), timeout).await;
    }
    if let Some(check) = &probe.grpc {
        let (Some(host), Ok(port)) = (pod_host, u16::try_from(check.port)) else {
            return unknown_address();
        };
        return grpc::check(host, port, check.service.as_deref().unwrap_or_default(), timeout).await;
    }
    Outcome::Errored("the probe names no check".to_owned())
}

/// A check that has no address yet.
pub fn unknown_address() -> Outcome {
    Outcome::Errored("the probe's port or the pod's address is not known".to_owned())
}

/// `10.0.0.1:80`, `[::1]:80`.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// A connection that failed, in the words people know from upstream.
pub fn dial_error(host: &str, port: u16, error: &std::io::Error) -> String {
    let what = match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {}: {what}", authority(host, port))
}

/// A port by number, or by the name of one of the container's ports.
pub fn port_of(port: &IntOrString, container: &Container) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let mut ports = container.ports.iter().flatten();
            match ports.find(|port| port.name.as_deref() == Some(text)) {
                Some(port) => port.container_port,
                None => text.parse().ok()?,
            }
        }
    };
    u16::try_from(number).ok().filter(|port| *port > 0)
}

async fn exec_check(target: &Target, command: &[String], timeout: Duration) -> Outcome {
    let command = expand(command, &target.container);
    let runs = target
        .runtime
        .exec_sync(&target.container_id, command.clone(), timeout);
    match runs.await {
        Ok(outcome) if outcome.exit_code == 0 => Outcome::Success,
        Ok(outcome) => {
            let mut text = [outcome.stdout, outcome.stderr].concat();
            text.truncate(OUTPUT_MAX);
            Outcome::Failure(String::from_utf8_lossy(&text).into_owned())
        }
        Err(error) if error.is_deadline_exceeded() => {
            let text = format!(
                "command {:?} timed out after {}s",
                command.join(" "),
                timeout.as_secs()
            );
            Outcome::Failure(text)
        }
        Err(error) => Outcome::Errored(error.to_string()),
    }
}

/// `$(NAME)` of variables with a literal value; what comes from elsewhere stays as it is written.
fn expand(command: &[String], container: &Container) -> Vec<String> {
    let lookup = |name: &str| {
        let mut variables = container.env.iter().flatten().rev();
        let found = variables.find(|variable| variable.name == name)?;
        found
            .value_from
            .is_none()
            .then(|| found.value.clone().unwrap_or_default())
    };
    let words = command.iter();
    words
        .map(|word| orlop_api::expand::expand(word, lookup))
        .collect()
}

async fn tcp_check(host: Option<&str>, port: Option<u16>, timeout: Duration) -> Outcome {
    let (Some(host), Some(port)) = (host, port) else {
        return unknown_address();
    };
    match tokio::time::timeout(timeout, tokio::net::TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(error)) => Outcome::Failure(dial_error(host, port, &error)),
        Err(_) => Outcome::Failure(dial_error(host, port, &ErrorKind::TimedOut.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(object: serde_json::Value) -> Container {
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn port_is_a_number_or_the_name_of_a_container_port() {
        let container = container(serde_json::json!({"name": "c",
            "ports": [{"name": "probe-port", "containerPort": 2381}]}));
        for (port, expected) in [
            (IntOrString::Int(80), Some(80)),
            (IntOrString::Int(0), None),
            (IntOrString::String("probe-port".into()), Some(2381)),
            (IntOrString::String("8080".into()), Some(8080)),
            (IntOrString::String("nowhere".into()), None),
        ] {
            assert_eq!(port_of(&port, &container), expected, "{port:?}");
        }
    }

    #[test]
    fn command_is_expanded_with_literal_values_only() {
        let container = container(serde_json::json!({"name": "c", "env": [
            {"name": "FILE", "value": "/tmp/health"},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ]}));
        let command = ["cat", "$(FILE)", "$(NODE)", "$$(FILE)"].map(str::to_owned);
        assert_eq!(
            expand(&command, &container),
            ["cat", "/tmp/health", "$(NODE)", "$(FILE)"]
        );
    }

    #[tokio::test]
    async fn tcp_check_only_connects() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let second = Duration::from_secs(1);
        assert_eq!(
            tcp_check(Some("127.0.0.1"), Some(port), second).await,
            Outcome::Success
        );
        drop(listener);
        let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        let outcome = tcp_check(Some("127.0.0.1"), Some(port), second).await;
        assert_eq!(outcome, Outcome::Failure(refused));
        assert_eq!(tcp_check(None, Some(port), second).await, unknown_address());
    }
}
