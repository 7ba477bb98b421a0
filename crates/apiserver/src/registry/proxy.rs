//! `nodes/proxy`, `pods/proxy` and `services/proxy`: requests carried on to a node's agent, a pod or a service's pods
//! (contract §14).
use super::get;
use super::pages::{self, Links};
use crate::admission::{self, Attempt, Operation};
use crate::http::{Answer, Body, Call, switch};
use crate::kubelet::{self, Wish};
use crate::outbound;
use crate::status::ApiError;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

/// Methods that are carried on.
pub const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

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
    let (before, path) = divided(call);
    admit(call, &target.name, path).await?;
    let query = match call.query.encoded().as_str() {
        "" => String::new(),
        query => format!("?{query}"),
    };
    let upgrade = call.upgrade.lock().take();
    let is_page = matches!(call.method, Method::GET | Method::HEAD) && upgrade.is_none();
    if path.is_empty() && is_page {
        return Ok(redirect(&format!("{}/{query}", call.info.path)));
    }
    let path_and_query = format!("{}{query}", rooted(path));
    let mut headers = carried(&call.headers);
    switch::forget_token(&mut headers);
    if upgrade.is_some() {
        switch::carry(&call.headers, &mut headers);
    }
    let wish = Wish {
        method: call.method.clone(),
        path: path_and_query,
        headers,
        body: std::mem::take(&mut *call.passed.lock()).pass_on(),
    };
    let mut answered = String::new();
    let mut answer = match call.resource.plural {
        "nodes" if is_agent(call, &target)? => kubelet::send(&call.server, &target.name, wish).await?,
        plural => {
            let place = match plural {
                "nodes" => node(call, &target)?,
                "pods" => pod(&get::find(call, &target.name)?.value(), &target)?,
                _ => service(call, &target)?,
            };
            allowed(place.address)?;
            answered = SocketAddr::new(place.address, place.port).to_string();
            kubelet::send_to(place.address, place.port, place.secure, wish).await?
        }
    };
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client) = upgrade
    {
        let shutdown = call.server.shutdown.clone();
        switch::join(client, hyper::upgrade::on(&mut answer), shutdown);
        let mut switched = Response::new(Body::Empty);
        *switched.status_mut() = answer.status();
        *switched.headers_mut() = carried(answer.headers());
        switch::carry(answer.headers(), switched.headers_mut());
        return Ok(Answer::Raw(switched));
    }
    let links = Links {
        before: before.to_owned(),
        asked: text(&call.headers, HOST).unwrap_or_default().to_owned(),
        answered,
    };
    Ok(Answer::Raw(returned(answer, &call.method, links)))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
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

/// A path up to the word `proxy` that means this, and what follows.
fn divided(call: &Call) -> (&str, &str) {
    // `/api/v1/nodes/NAME/proxy`, and of what is in namespaces two more. Names may be `proxy` as well.
    let words = if call.resource.namespaced { 7 } else { 5 };
    after_words(&call.info.path, words)
}

fn after_words(path: &str, words: usize) -> (&str, &str) {
    let end = path
        .match_indices('/')
        .nth(words)
        .map_or(path.len(), |(at, _)| at);
    path.split_at(end)
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

/// The answer for the client, in which nothing leads beside the proxy.
fn returned(answer: Response<hyper::body::Incoming>, method: &Method, links: Links) -> Response<Body> {
    let (status, mut headers) = (answer.status(), carried(answer.headers()));
    if let Some(Ok(to)) = text(&headers, LOCATION)
        .and_then(|to| links.led_back(to))
        .map(|to| to.parse())
    {
        headers.insert(LOCATION, to);
    }
    let kind = text(&headers, CONTENT_TYPE).unwrap_or_default();
    let is_page = kind
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim() == "text/html");
    let body = match is_page && method != Method::HEAD {
        true => pages::led_back(kubelet::pieces(answer), text(&headers, CONTENT_ENCODING), links),
        false => kubelet::stream(answer),
    };
    let mut returned = Response::new(body);
    *returned.status_mut() = status;
    *returned.headers_mut() = headers;
    returned
}

/// What only this machine reaches is nobody else's to reach.
fn allowed(address: IpAddr) -> Result<(), ApiError> {
    // What an IPv6 address stands for, too: `::ffff:127.0.0.1` is loopback.
    let address = address.to_canonical();
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

/// Whether a node's agent is meant: where no port is named, or the agent's own.
fn is_agent(call: &Call, target: &Target) -> Result<bool, ApiError> {
    if target.port.is_empty() {
        return Ok(true);
    }
    let node = get::find(call, &target.name)?.value();
    Ok(number(&target.port) == Some(kubelet::port(&node)))
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
    let slices = outbound::slices(&call.server.cache, &call.info.namespace, &target.name);
    let places: Vec<_> = slices.iter().flat_map(|slice| endpoints(slice, port)).collect();
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
fn endpoints(slice: &Value, port: &str) -> impl Iterator<Item = (IpAddr, u16)> {
    let ready = outbound::ready(slice, port).into_iter();
    ready.filter_map(|(address, port)| Some((address.parse().ok()?, port)))
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
    fn names_may_be_proxy_as_well() {
        for (path, words, expected) in [
            (
                "/api/v1/namespaces/proxy-1/services/proxy-s/proxy/a/proxy",
                7,
                "/a/proxy",
            ),
            ("/api/v1/namespaces/proxy/pods/proxy/proxy", 7, ""),
            ("/api/v1/namespaces/n/pods/p/proxy/", 7, "/"),
            ("/api/v1/nodes/proxy/proxy/logs/", 5, "/logs/"),
        ] {
            assert_eq!(after_words(path, words).1, expected, "{path}");
        }
    }

    #[test]
    fn what_only_this_machine_reaches_is_not_proxied() {
        for address in [
            "127.0.0.1",
            "::1",
            "169.254.1.1",
            "fe80::1",
            "0.0.0.0",
            "::ffff:127.0.0.1",
            "::ffff:169.254.1.1",
        ] {
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
        let found: Vec<_> = endpoints(&slice, "web").collect();
        assert_eq!(found, [("10.1.0.1".parse().unwrap(), 8080)]);
        assert_eq!(endpoints(&slice, "tls").count(), 0);
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
        let rest = |path| after_words(path, 5).1;
        assert_eq!(rest("/api/v1/nodes/n/proxy/stats/summary"), "/stats/summary");
        assert_eq!(rest("/api/v1/nodes/n/proxy"), "");
        assert_eq!(rooted(""), "/");
    }
}
