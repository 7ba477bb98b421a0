//! ComponentStatuses (`kubectl get cs`): whether scheduler, controller-manager and store are well. Deprecated since v1.19,
//! still asked for by scripts and dashboards.
use crate::ApiServer;
use crate::http::{Answer, Call};
use crate::outbound::{Outbound, OutboundError, Trust};
use crate::registry::{present_list, present_value};
use crate::request::Filter;
use crate::resources::Resource;
use crate::status::ApiError;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// A part that takes longer is not well.
const ASK_TIME_MAX: Duration = Duration::from_secs(20);
/// The parts on this machine and their ports; upstream's server looks nowhere else either.
const PARTS: &[(&str, u16)] = &[("controller-manager", 10257), ("scheduler", 10259)];
const STORE: &str = "etcd-0";

/// The resource.
pub const COMPONENTSTATUSES: Resource = Resource {
    verbs: &["get", "list"],
    storage: "",
    namespaced: false,
    ..Resource::new("", "componentstatuses", "componentstatus", "ComponentStatus").short(&["cs"])
};

/// Whether a request is for this resource.
pub fn concerns(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.plural == COMPONENTSTATUSES.plural
}

/// What clients are warned of.
const WARNING: &str = "v1 ComponentStatus is deprecated in v1.19+";

/// Answers `get` and `list`.
pub async fn answer(call: &Call) -> Result<Answer, ApiError> {
    let name = call.info.name.as_str();
    call.warn(WARNING);
    match call.info.verb.as_str() {
        "get" => {
            let found = ask(&call.server, name).await;
            let found = found.ok_or_else(|| ApiError::not_found(call.resource, name))?;
            present_value(call, StatusCode::OK, found)
        }
        "list" => {
            // Selectors are checked; of labels there are none to select by.
            Filter::parse(call.resource, "", &call.query)?;
            let wanted = |part: &&str| name.is_empty() || *part == name;
            let parts = PARTS.iter().map(|(part, _)| *part).chain([STORE]).filter(wanted);
            let mut asked = futures::future::join_all(parts.map(|part| ask(&call.server, part))).await;
            asked.sort_by_cached_key(|item| item.as_ref().map(|item| item["metadata"]["name"].to_string()));
            present_list(call, asked.into_iter().flatten().collect())
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

async fn ask(server: &ApiServer, name: &str) -> Option<Value> {
    let outcome = match PARTS.iter().find(|(part, _)| *part == name) {
        Some((_, port)) => healthz(*port).await,
        None if name == STORE && server.is_fed() => Ok("ok".to_owned()),
        None if name == STORE => Err("the store does not answer".to_owned()),
        None => return None,
    };
    Some(status(name, outcome))
}

/// What the part of a port says of itself.
async fn healthz(port: u16) -> Result<String, String> {
    let url = format!("https://127.0.0.1:{port}/healthz");
    let request = Request::get(&url).body(Default::default());
    let (Ok(outbound), Ok(request)) = (Outbound::new(Trust::Anyone, None), request) else {
        return Err(format!("Get {url:?}: no request can be made"));
    };
    let answer = match outbound.send(request, ASK_TIME_MAX).await {
        Ok(answer) => answer,
        Err(OutboundError::Failed(error)) if refused(&*error) => {
            return Err(format!(
                "Get {url:?}: dial tcp 127.0.0.1:{port}: connect: connection refused"
            ));
        }
        Err(error) => return Err(format!("Get {url:?}: {error}")),
    };
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    match answer.status() {
        StatusCode::OK => Ok(text),
        _ => Err(text),
    }
}

fn refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::ConnectionRefused)
}

/// The object. Pure.
fn status(name: &str, outcome: Result<String, String>) -> Value {
    let (healthy, message) = match outcome {
        Ok(message) => ("True", message),
        Err(message) => ("False", message),
    };
    json!({
        "kind": "ComponentStatus",
        "apiVersion": "v1",
        "metadata": {"name": name},
        "conditions": [{"type": "Healthy", "status": healthy, "message": message}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_does_not_listen_is_unhealthy_and_says_where_it_was_looked_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let found = status("scheduler", healthz(port).await);
        assert_eq!(found["conditions"][0]["status"], "False");
        assert_eq!(
            found["conditions"][0]["message"],
            format!(
                "Get \"https://127.0.0.1:{port}/healthz\": dial tcp 127.0.0.1:{port}: connect: connection refused"
            )
        );
    }
}
