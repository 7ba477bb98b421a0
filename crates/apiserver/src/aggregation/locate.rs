//! Where a Service leads. Its endpoints are reached directly: nothing leads to cluster addresses where no service proxy
//! runs. A Service without a selector and without endpoints is tried at its cluster address.
use super::Remote;
use crate::cache::Cache;
use crate::resources;
use serde_json::Value;

/// Why a Service leads nowhere: the reason of the condition, and the message.
#[derive(Debug, PartialEq, Eq)]
pub struct Nowhere {
    pub reason: &'static str,
    pub message: String,
}

/// Host and port of each server behind an APIService; there is one.
pub fn locate(cache: &Cache, remote: &Remote) -> Result<Vec<(String, u16)>, Nowhere> {
    let service = cache.core_object("services", &remote.namespace, &remote.service);
    let service = service.map(|service| service.value());
    let slices = resources::find("discovery.k8s.io", "v1", "endpointslices").and_then(|kind| {
        let storage = cache.storage(kind)?;
        let found = cache.snapshot_where(storage, &remote.namespace, |slice| {
            slice.label("kubernetes.io/service-name") == Some(&*remote.service)
        });
        Some(
            found
                .objects
                .iter()
                .map(|slice| slice.value())
                .collect::<Vec<_>>(),
        )
    });
    decide(remote, service.as_ref(), &slices.unwrap_or_default())
}

fn decide(remote: &Remote, service: Option<&Value>, slices: &[Value]) -> Result<Vec<(String, u16)>, Nowhere> {
    let (namespace, name) = (&remote.namespace, &remote.service);
    let Some(service) = service else {
        return Err(Nowhere {
            reason: "ServiceNotFound",
            message: format!("service/{name} in {namespace:?} is not present"),
        });
    };
    let spec = &service["spec"];
    if let (Some("ExternalName"), Some(host)) = (spec["type"].as_str(), spec["externalName"].as_str()) {
        return Ok(vec![(host.to_owned(), remote.port)]);
    }
    let ports = spec["ports"].as_array();
    let port = ports
        .into_iter()
        .flatten()
        .find(|port| port["port"] == remote.port);
    let Some(port) = port else {
        return Err(Nowhere {
            reason: "ServicePortError",
            message: format!(
                "service/{name} in {namespace:?} is not listening on port {}",
                remote.port
            ),
        });
    };
    let wanted = port["name"].as_str().unwrap_or_default();
    let of_slice = |slice: &Value| {
        let ports = slice["ports"].as_array()?;
        let port = ports
            .iter()
            .find(|port| port["name"].as_str().unwrap_or_default() == wanted)?;
        let port = port["port"].as_u64().and_then(|port| u16::try_from(port).ok())?;
        let endpoints = slice["endpoints"].as_array()?.iter();
        let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false);
        let hosts = ready.filter_map(|endpoint| endpoint["addresses"][0].as_str());
        Some(hosts.map(|host| (host.to_owned(), port)).collect::<Vec<_>>())
    };
    let ready: Vec<_> = slices.iter().filter_map(of_slice).flatten().collect();
    if !ready.is_empty() {
        return Ok(ready);
    }
    let selects = spec["selector"]
        .as_object()
        .is_some_and(|selector| !selector.is_empty());
    match spec["clusterIP"].as_str() {
        Some(address) if !selects && slices.is_empty() && address != "None" => {
            Ok(vec![(address.to_owned(), remote.port)])
        }
        _ if slices.is_empty() => Err(Nowhere {
            reason: "EndpointsNotFound",
            message: format!("cannot find endpointslices for service/{name} in {namespace:?}"),
        }),
        _ => Err(Nowhere {
            reason: "MissingEndpoints",
            message: format!(
                "endpoints for service/{name} in {namespace:?} have no addresses with port name {wanted:?}"
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_service_leads_to_its_ready_endpoint_or_says_why_not() {
        let remote = Remote::of(
            &json!({"metadata": {"name": "v1.x"}, "spec": {"group": "x", "version": "v1",
            "service": {"namespace": "n", "name": "s", "port": 443}}}),
        )
        .unwrap();
        let service = json!({"spec": {"clusterIP": "10.96.0.9", "selector": {"a": "b"},
            "ports": [{"name": "https", "port": 443}]}});
        let slice = |ready: bool| {
            json!({"ports": [{"name": "https", "port": 8443}], "endpoints": [{"addresses": ["10.1.1.1"],
                "conditions": {"ready": ready}}]})
        };
        let reason =
            |service: Option<&Value>, slices: &[Value]| decide(&remote, service, slices).unwrap_err().reason;
        assert_eq!(
            decide(&remote, Some(&service), &[slice(true)]),
            Ok(vec![("10.1.1.1".to_owned(), 8443)])
        );
        assert_eq!(reason(None, &[]), "ServiceNotFound");
        assert_eq!(reason(Some(&service), &[]), "EndpointsNotFound");
        assert_eq!(reason(Some(&service), &[slice(false)]), "MissingEndpoints");
        let mut other = service.clone();
        other["spec"]["ports"][0]["port"] = json!(80);
        assert_eq!(reason(Some(&other), &[slice(true)]), "ServicePortError");
        let mut by_hand = service.clone();
        by_hand["spec"]["selector"] = Value::Null;
        assert_eq!(
            decide(&remote, Some(&by_hand), &[]),
            Ok(vec![("10.96.0.9".to_owned(), 443)])
        );
        let external = json!({"spec": {"type": "ExternalName", "externalName": "localhost"}});
        assert_eq!(
            decide(&remote, Some(&external), &[]),
            Ok(vec![("localhost".to_owned(), 443)])
        );
    }
}
