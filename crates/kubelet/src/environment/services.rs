//! Variables that lead to Services (contract, node agent §14.6).
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::runtime::watcher;
use orlop_api::pod::{is_static, namespace};
use orlop_client::informer::{Informer, ObjectKey, Projection};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// How long a container waits at most for the first list of Services; then its start is tried again.
const FIRST_LIST_MAX: Duration = Duration::from_secs(5);

const API_NAMESPACE: &str = "default";
const API_SERVICE: &str = "kubernetes";

/// What is remembered of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Empty: nothing leads there.
    pub address: String,
    pub ports: Vec<Port>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// May be empty.
    pub name: String,
    pub number: i32,
    pub protocol: String,
}

impl Projection for Target {
    type Object = Service;

    fn project(service: Service) -> Self {
        let spec = service.spec.unwrap_or_default();
        let address = spec.cluster_ip.filter(|ip| ip != "None").unwrap_or_default();
        let ports = spec.ports.into_iter().flatten().map(|port| Port {
            name: port.name.unwrap_or_default(),
            number: port.port,
            protocol: port.protocol.unwrap_or_else(|| "TCP".to_owned()),
        });
        Self {
            address,
            ports: ports.collect(),
        }
    }
}

/// The Services that the API server knows, and the API server itself.
pub struct Services {
    informer: Option<Arc<Informer<Target>>>,
    /// The API server's port on this node, where pods reach it without a service proxy.
    direct: Option<u16>,
    _watch: Option<AbortOnDropHandle<()>>,
}

impl Services {
    /// Starts a watch if there is an API server; must be called within a tokio runtime.
    pub fn start(client: Option<&kube::Client>, direct: Option<u16>) -> Self {
        let informer = client.map(|_| Arc::new(Informer::new()));
        let watch = client.zip(informer.clone()).map(|(client, informer)| {
            let api = Api::all(client.clone());
            AbortOnDropHandle::new(tokio::spawn(async move {
                informer.run(api, watcher::Config::default()).await;
            }))
        });
        Self {
            informer,
            direct,
            _watch: watch,
        }
    }

    /// The variables of a pod's containers. A static pod takes what is known; others wait for the first list.
    pub async fn variables(&self, pod: &Pod, host_ips: &[String]) -> Result<Vec<(String, String)>, String> {
        let Some(informer) = &self.informer else {
            return Ok(Vec::new());
        };
        if !is_static(pod)
            && tokio::time::timeout(FIRST_LIST_MAX, informer.synced())
                .await
                .is_err()
        {
            return Err("the Services could not be read from the API server yet".to_owned());
        }
        let mut known: Vec<(ObjectKey, Target)> = Vec::new();
        informer
            .store()
            .for_each(|service| known.push((service.key.clone(), service.object.clone())));
        let services = known
            .iter()
            .map(|(key, target)| (&*key.namespace, &*key.name, target));
        let mut chosen = chosen(pod, services);
        if let (Some(port), Some(host)) = (self.direct, host_ips.first()) {
            chosen.retain(|(name, _)| *name != API_SERVICE);
            chosen.push((API_SERVICE, itself(host, port)));
        }
        Ok(chosen
            .iter()
            .flat_map(|(name, target)| of_service(name, target))
            .collect())
    }
}

/// The API server as a Service that needs nobody to lead there.
fn itself(host: &str, port: u16) -> Target {
    Target {
        address: host.to_owned(),
        ports: vec![Port {
            name: "https".to_owned(),
            number: i32::from(port),
            protocol: "TCP".to_owned(),
        }],
    }
}

/// The Services that a pod is told of: the API server's always, those of its namespace unless it doesn't want them,
/// which win over one of the same name.
fn chosen<'s>(
    pod: &Pod,
    services: impl Iterator<Item = (&'s str, &'s str, &'s Target)>,
) -> Vec<(&'s str, Target)> {
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links) != Some(false);
    let mut chosen: Vec<(&str, &str, &Target)> = services
        .filter(|(in_namespace, name, target)| {
            let api = *in_namespace == API_NAMESPACE && *name == API_SERVICE;
            !target.address.is_empty() && (api || (links && *in_namespace == namespace(pod)))
        })
        .collect();
    // The API server's first: what comes later wins.
    chosen.sort_by_key(|(in_namespace, name, _)| (*in_namespace == namespace(pod), *name));
    chosen
        .into_iter()
        .map(|(_, name, target)| (name, target.clone()))
        .collect()
}

/// The variables of one Service.
fn of_service(name: &str, target: &Target) -> Vec<(String, String)> {
    let prefix = upper(name);
    let Some(first) = target.ports.first() else {
        return Vec::new();
    };
    let address = &target.address;
    // An IPv6 address stands in brackets before a port.
    let host = if address.contains(':') {
        format!("[{address}]")
    } else {
        address.clone()
    };
    let url = |port: &Port| format!("{}://{host}:{}", port.protocol.to_lowercase(), port.number);
    let mut variables = vec![
        (format!("{prefix}_SERVICE_HOST"), address.clone()),
        (format!("{prefix}_SERVICE_PORT"), first.number.to_string()),
    ];
    for port in target.ports.iter().filter(|port| !port.name.is_empty()) {
        variables.push((
            format!("{prefix}_SERVICE_PORT_{}", upper(&port.name)),
            port.number.to_string(),
        ));
    }
    variables.push((format!("{prefix}_PORT"), url(first)));
    for port in &target.ports {
        let link = format!("{prefix}_PORT_{}_{}", port.number, port.protocol.to_uppercase());
        variables.push((format!("{link}_PROTO"), port.protocol.to_lowercase()));
        variables.push((format!("{link}_PORT"), port.number.to_string()));
        variables.push((format!("{link}_ADDR"), address.clone()));
        variables.push((link, url(port)));
    }
    variables
}

fn upper(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(address: &str, ports: &[(&str, i32)]) -> Target {
        let port = |(name, number): &(&str, i32)| Port {
            name: (*name).to_owned(),
            number: *number,
            protocol: "TCP".to_owned(),
        };
        Target {
            address: address.to_owned(),
            ports: ports.iter().map(port).collect(),
        }
    }

    fn pod(links: Option<bool>) -> Pod {
        let spec = json!({"containers": [], "enableServiceLinks": links});
        serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "p"}, "spec": spec})).unwrap()
    }

    /// E06: the seven shapes.
    #[test]
    fn e06_a_service_has_seven_shapes_of_variables() {
        let variables = of_service("my-db", &target("10.96.0.7", &[("web", 80), ("", 81)]));
        let expected = [
            ("MY_DB_SERVICE_HOST", "10.96.0.7"),
            ("MY_DB_SERVICE_PORT", "80"),
            ("MY_DB_SERVICE_PORT_WEB", "80"),
            ("MY_DB_PORT", "tcp://10.96.0.7:80"),
            ("MY_DB_PORT_80_TCP_PROTO", "tcp"),
            ("MY_DB_PORT_80_TCP_PORT", "80"),
            ("MY_DB_PORT_80_TCP_ADDR", "10.96.0.7"),
            ("MY_DB_PORT_80_TCP", "tcp://10.96.0.7:80"),
            ("MY_DB_PORT_81_TCP_PROTO", "tcp"),
            ("MY_DB_PORT_81_TCP_PORT", "81"),
            ("MY_DB_PORT_81_TCP_ADDR", "10.96.0.7"),
            ("MY_DB_PORT_81_TCP", "tcp://10.96.0.7:81"),
        ];
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        assert_eq!(variables, expected);
        let six = of_service("s", &target("fd00::1", &[("", 80)]));
        assert!(six.contains(&("S_PORT".to_owned(), "tcp://[fd00::1]:80".to_owned())));
    }

    /// E06: only the API server's without links; headless ones never.
    #[test]
    fn e06_services_of_the_namespace_and_the_api_servers() {
        let (api, own) = (
            target("10.96.0.1", &[("https", 443)]),
            target("10.96.0.7", &[("", 80)]),
        );
        let headless = target("", &[("", 80)]);
        let all = [
            ("default", "kubernetes", &api),
            ("default", "other", &own),
            ("ns", "own", &own),
            ("ns", "headless", &headless),
        ];
        let names = |links| -> Vec<&str> {
            let chosen = chosen(&pod(links), all.into_iter());
            chosen.into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(None), ["kubernetes", "own"]);
        assert_eq!(names(Some(false)), ["kubernetes"]);
    }
}
