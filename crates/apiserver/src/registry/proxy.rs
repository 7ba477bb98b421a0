//! `nodes/proxy`, `pods/proxy` and `services/proxy`: requests carried on to a node's agent, a pod or a service's pods
//! (contract §14).
use super::get;
use crate::admission::{self, Attempt, Operation};
use crate::http::{Answer, Body, Call, switch};
use crate::kubelet::{self, Wish};
use crate::resources;
use crate::status::ApiError;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, LOCATION, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use serde_json::{Value, json};
use std::net::IpAddr;

/// What a name in the path says: `[https:]name[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    secure: bool,
    name: String,
    port: String,
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        (matches!(scheme, "" | "http" | "https") && !name.is_empty()).then(|| Self {
            secure: scheme == "https",
            name: name.to_owned(),
            port: port.to_owned(),
        })
    }
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    address: IpAddr,
    port: u16,
    secure: bool,
}

pub async fn proxy(call: &Call) -> Result<Answer, ApiError> {
    let named = call.info.name.as_str();
    let target = Target::parse(named).ok_or_else(|| {
        ApiError::bad_request(format!("invalid {} request {named:?}", call.resource.singular))
    })?;
    let path = rest(&call.info.path);
    if path.is_empty() && matches!(call.method, Method::GET | Method::HEAD) {
        return Ok(redirect(&format!("{}/", call.info.path)));
    }
    admit(call, &target.name, path).await?;
    let path_and_query = match call.query.encoded().as_str() {
        "" => rooted(path),
        query => format!("{}?{query}", rooted(path)),
    };
    let mut headers = carried(&call.headers);
    switch::forget_token(&mut headers);
    let upgrade = call.upgrade.lock().take();
    if upgrade.is_some() {
        switch::carry(&call.headers, &mut headers);
    }
    let wish = Wish {
        method: call.method.clone(),
        path: path_and_query,
        headers,
        body: call.body.clone(),
    };
    let mut answer = match call.resource.plural {
        "nodes" if target.port.is_empty() => kubelet::send(&call.server, &target.name, wish).await?,
        plural => {
            let place = match plural {
                "nodes" => node(call, &target)?,
                "pods" => pod(&get::find(call, &target.name)?.value(), &target)?,
                _ => service(call, &target)?,
            };
            allowed(place.address)?;
            kubelet::send_to(place.address, place.port, place.secure, wish).await?
        }
    };
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client) = upgrade
    {
        switch::join(client, hyper::upgrade::on(&mut answer));
        let mut switched = Response::new(Body::Empty);
        *switched.status_mut() = answer.status();
        *switched.headers_mut() = carried(answer.headers());
        switch::carry(answer.headers(), switched.headers_mut());
        return Ok(Answer::Raw(switched));
    }
    Ok(Answer::Raw(returned(answer)))
}

async fn admit(call: &Call, name: &str, path: &str) -> Result<(), ApiError> {
    let kind = match call.resource.plural {
        "nodes" => "NodeProxyOptions",
        "pods" => "PodProxyOptions",
        _ => "ServiceProxyOptions",
    };
    let mut options = json!({"kind": kind, "apiVersion": "v1", "path": path});
    let mut attempt = Attempt {
        subresource: "proxy",
        object: Some(&mut options),
        ..Attempt::new(call, Operation::Connect, name, false)
    };
    admission::mutate(&mut attempt).await?;
    admission::validate(&attempt).await
}

/// What follows `/proxy` in a path.
fn rest(path: &str) -> &str {
    path.split_once("/proxy").map_or("", |(_, rest)| rest)
}

fn rooted(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

/// Links of a page without a trailing slash would lead beside it.
fn redirect(to: &str) -> Answer {
    let mut answer = Response::new(Body::Empty);
    *answer.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = to.parse() {
        answer.headers_mut().insert(LOCATION, location);
    }
    Answer::Raw(answer)
}

/// What concerns one connection only, or was said to us alone.
fn is_ours(name: &HeaderName) -> bool {
    [
        CONNECTION,
        TRANSFER_ENCODING,
        UPGRADE,
        HOST,
        CONTENT_LENGTH,
        AUTHORIZATION,
    ]
    .contains(name)
        || name.as_str().starts_with("impersonate-")
        || matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "te" | "trailer"
        )
}

fn carried(headers: &HeaderMap) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| !is_ours(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn returned(answer: Response<hyper::body::Incoming>) -> Response<Body> {
    let (status, headers) = (answer.status(), carried(answer.headers()));
    let mut returned = Response::new(kubelet::stream(answer));
    *returned.status_mut() = status;
    *returned.headers_mut() = headers;
    returned
}

/// What only this machine reaches is nobody else's to reach.
fn allowed(address: IpAddr) -> Result<(), ApiError> {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    if address.is_loopback() || link_local || address.is_unspecified() {
        return Err(ApiError::bad_request("address not allowed"));
    }
    Ok(())
}

fn unavailable(why: String) -> ApiError {
    ApiError::service_unavailable(&why)
}

fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

fn node(call: &Call, target: &Target) -> Result<Place, ApiError> {
    let node = get::find(call, &target.name)?.value();
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let address = addresses
        .filter_map(|a| a["address"].as_str()?.parse().ok())
        .next();
    let address = address.ok_or_else(|| unavailable(format!("node {:?} has no address", target.name)))?;
    let port = number(&target.port)
        .ok_or_else(|| ApiError::bad_request(format!("invalid port {:?}", target.port)))?;
    Ok(Place {
        address,
        port,
        secure: target.secure,
    })
}

fn pod(pod: &Value, target: &Target) -> Result<Place, ApiError> {
    let address = pod["status"]["podIP"].as_str().and_then(|ip| ip.parse().ok());
    let Some(address) = address else {
        return Err(ApiError::bad_request("address not allowed"));
    };
    let ports = || {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        containers.flat_map(|container| container["ports"].as_array().into_iter().flatten())
    };
    let of = |port: &Value| {
        port["containerPort"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
    };
    let port = match target.port.as_str() {
        // The first port there is, as upstream takes it.
        "" => ports()
            .find_map(of)
            .or(Some(if target.secure { 443 } else { 80 })),
        text => number(text).or_else(|| ports().find(|port| port["name"] == text).and_then(of)),
    };
    let port =
        port.ok_or_else(|| unavailable(format!("no port {:?} of pod {:?}", target.port, target.name)))?;
    Ok(Place {
        address,
        port,
        secure: target.secure,
    })
}

fn service(call: &Call, target: &Target) -> Result<Place, ApiError> {
    let service = get::find(call, &target.name)?.value();
    let none = || unavailable(format!("no endpoints available for service {:?}", target.name));
    let port = service_port(&service, &target.port).ok_or_else(|| {
        unavailable(format!(
            "no service port {:?} found for service {:?}",
            target.port, target.name
        ))
    })?;
    let cache = &call.server.cache;
    let slices = resources::find("discovery.k8s.io", "v1", "endpointslices")
        .and_then(|slices| cache.storage(slices))
        .map(|id| cache.snapshot(id, &call.info.namespace).objects)
        .unwrap_or_default();
    let mut places = Vec::new();
    for slice in slices {
        if slice.label("kubernetes.io/service-name") == Some(target.name.as_str()) {
            places.extend(endpoints(&slice.value(), port));
        }
    }
    let chosen = rand::random::<u64>() % u64::try_from(places.len().max(1)).unwrap_or(1);
    let (address, port) = places
        .into_iter()
        .nth(usize::try_from(chosen).unwrap_or_default())
        .ok_or_else(none)?;
    Ok(Place {
        address,
        port,
        secure: target.secure,
    })
}

/// The name of the port that is meant: the only one, or the one of that name or number.
fn service_port<'s>(service: &'s Value, wanted: &str) -> Option<&'s str> {
    let ports = service["spec"]["ports"].as_array()?;
    let is = |port: &&'s Value| {
        port_name(port) == wanted || port["port"].as_u64().is_some_and(|n| n.to_string() == wanted)
    };
    match (wanted, ports.as_slice()) {
        ("", [only]) => Some(port_name(only)),
        ("", _) => ports.iter().map(port_name).find(|name| name.is_empty()),
        _ => ports.iter().find(is).map(port_name),
    }
}

fn port_name(port: &Value) -> &str {
    port["name"].as_str().unwrap_or_default()
}

/// The ready addresses of a slice, with its port of that name.
fn endpoints(slice: &Value, port: &str) -> Vec<(IpAddr, u16)> {
    let ports = slice["ports"].as_array().into_iter().flatten();
    let mut of_name = ports.filter(|p| p["name"].as_str().unwrap_or_default() == port);
    let Some(number) = of_name.find_map(|p| u16::try_from(p["port"].as_u64()?).ok()) else {
        return Vec::new();
    };
    let ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != false;
    let all = slice["endpoints"].as_array().into_iter().flatten().filter(ready);
    all.filter_map(|endpoint| endpoint["addresses"][0].as_str()?.parse().ok())
        .map(|address| (address, number))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_scheme_and_port() {
        let target = |text: &str| Target::parse(text).map(|t| (t.secure, t.name, t.port));
        assert_eq!(target("n"), Some((false, "n".to_owned(), String::new())));
        assert_eq!(target("n:80"), Some((false, "n".to_owned(), "80".to_owned())));
        assert_eq!(
            target("https:n:web"),
            Some((true, "n".to_owned(), "web".to_owned()))
        );
        assert_eq!(target("https:n:"), Some((true, "n".to_owned(), String::new())));
        assert_eq!(target("ftp:n:1"), None);
        assert_eq!(target("a:b:c:d"), None);
    }

    #[test]
    fn what_only_this_machine_reaches_is_not_proxied() {
        for address in ["127.0.0.1", "::1", "169.254.1.1", "fe80::1", "0.0.0.0"] {
            assert!(allowed(address.parse().unwrap()).is_err(), "{address}");
        }
        assert!(allowed("10.0.0.1".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_pods_port_is_the_named_one_or_its_first() {
        let made = json!({"status": {"podIP": "10.1.0.9"}, "spec": {"containers": [
            {"ports": [{"containerPort": 8080, "name": "web"}, {"containerPort": 9090, "name": "metrics"}]}]}});
        let port = |text: &str| pod(&made, &Target::parse(text).unwrap()).map(|place| place.port);
        assert_eq!(port("p").unwrap(), 8080);
        assert_eq!(port("p:metrics").unwrap(), 9090);
        assert_eq!(port("p:5").unwrap(), 5);
        assert!(port("p:other").is_err());
    }

    #[test]
    fn a_services_endpoints_are_the_ready_ones() {
        let service = json!({"spec": {"ports": [{"name": "web", "port": 80}, {"name": "tls", "port": 443}]}});
        assert_eq!(service_port(&service, "443"), Some("tls"));
        assert_eq!(service_port(&service, "web"), Some("web"));
        assert_eq!(service_port(&service, ""), None);
        let slice = json!({"ports": [{"name": "web", "port": 8080}], "endpoints": [
            {"addresses": ["10.1.0.1"]}, {"addresses": ["10.1.0.2"], "conditions": {"ready": false}}]});
        assert_eq!(endpoints(&slice, "web"), [("10.1.0.1".parse().unwrap(), 8080)]);
        assert!(endpoints(&slice, "tls").is_empty());
    }

    #[test]
    fn what_was_said_to_the_server_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("impersonate-user", "u"),
            ("accept", "a/b"),
            ("host", "h"),
        ] {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        assert_eq!(carried(&headers).keys().collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn paths_are_what_follows() {
        assert_eq!(rest("/api/v1/nodes/n/proxy/stats/summary"), "/stats/summary");
        assert_eq!(rest("/api/v1/nodes/n/proxy"), "");
        assert_eq!(rooted(""), "/");
    }
}
