//! `pods/log`: checked here, read from the node's agent (contract §14).
use super::get;
use crate::http::{Answer, Body, Call, response, websocket};
use crate::kubelet::{self, Trust};
use crate::request::escape;
use crate::status::{ApiError, Cause, cause};
use futures::StreamExt;
use http::StatusCode;
use serde_json::{Value, json};

pub async fn log(call: &Call) -> Result<Answer, ApiError> {
    get::fresh_enough(call, None).await?;
    let name = call.info.name.as_str();
    let pod = get::find(call, name)?.value();
    let options = options(call)?;
    let container = container(&pod, name, call.query.get("container"))?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Ok(Answer::Raw(response(
            StatusCode::NO_CONTENT,
            "text/plain",
            Body::Empty,
        )));
    }
    let mut path = format!("/containerLogs/{}/{name}/{container}", call.info.namespace);
    if !options.is_empty() {
        path = format!("{path}?{options}");
    }
    let trust = match call.query.flag("insecureSkipTLSVerifyBackend") {
        true => Trust::Any,
        false => Trust::Configured,
    };
    let answer = kubelet::get(&call.server, node, &path, trust).await?;
    let status = answer.status();
    if status.is_success() && websocket::is_wanted(&call.headers) {
        let stop = call.server.shutdown.clone().cancelled_owned();
        let pieces = kubelet::pieces(answer).take_until(stop);
        return websocket::serve(call, websocket::Carries::Log, pieces);
    }
    if status.is_success() {
        return Ok(Answer::Raw(response(
            StatusCode::OK,
            "text/plain",
            kubelet::stream(answer),
        )));
    }
    let text = kubelet::text(answer).await;
    Err(match status {
        StatusCode::BAD_REQUEST => ApiError::bad_request(text.trim_end()),
        StatusCode::NOT_FOUND => {
            let mut error = ApiError::no_such_resource();
            error.message = format!("the server could not find the requested resource ( pods/log {name})");
            error
        }
        StatusCode::UNAUTHORIZED => ApiError {
            message: format!("the server has asked for the client to provide credentials ( pods/log {name})"),
            ..ApiError::unauthorized()
        },
        StatusCode::FORBIDDEN => ApiError {
            message: format!("{} ( pods/log {name})", text.trim_end()),
            ..ApiError::forbidden("", "pods", name, "")
        },
        _ => ApiError::internal(text.trim_end()),
    })
}

/// The kubelet's query: only what was set, booleans normalised.
fn options(call: &Call) -> Result<String, ApiError> {
    let query = &call.query;
    let mut causes: Vec<Cause> = Vec::new();
    let mut parts = Vec::new();
    for flag in ["follow", "previous", "timestamps"] {
        if query.flag(flag) {
            parts.push(format!("{flag}=true"));
        }
    }
    for (key, min, hint) in [
        ("limitBytes", 1, "must be greater than 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
        ("tailLines", 0, "must be greater than or equal to 0"),
    ] {
        let Some(text) = query.get(key) else { continue };
        match text.parse::<i64>() {
            Ok(number) if number >= min => parts.push(format!("{key}={number}")),
            Ok(number) => causes.push(cause::invalid(key, &json!(number), hint)),
            Err(_) => {
                return Err(ApiError::bad_request(format!(
                    "strconv.ParseInt: parsing {text:?}: invalid syntax"
                )));
            }
        }
    }
    if let Some(time) = query.get("sinceTime") {
        parts.push(format!("sinceTime={}", escape(time)));
        if query.get("sinceSeconds").is_some() {
            causes.push(cause::forbidden(
                "",
                "at most one of `sinceTime` or `sinceSeconds` may be specified",
            ));
        }
    }
    if causes.is_empty() {
        return Ok(parts.join("&"));
    }
    Err(ApiError::invalid_kind(
        "",
        "PodLogOptions",
        &call.info.name,
        causes,
    ))
}

/// The container that is meant: the named one if it exists, else the only one that isn't an init or ephemeral container.
pub fn container<'p>(pod: &'p Value, name: &str, asked: Option<&str>) -> Result<&'p str, ApiError> {
    let names = |list: &str| -> Vec<&'p str> {
        pod["spec"][list]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|c| c["name"].as_str())
            .collect()
    };
    let containers = names("containers");
    let mut all = names("initContainers");
    all.extend(&containers);
    let ephemeral = names("ephemeralContainers");
    match asked {
        Some(asked) => all
            .iter()
            .chain(&ephemeral)
            .find(|c| **c == asked)
            .copied()
            .ok_or_else(|| ApiError::bad_request(format!("container {asked} is not valid for pod {name}"))),
        None => match containers.as_slice() {
            [only] => Ok(only),
            _ => {
                all.extend(ephemeral);
                Err(ApiError::bad_request(format!(
                    "a container name must be specified for pod {name}, choose one of: [{}]",
                    all.join(" ")
                )))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// O13
    #[test]
    fn the_only_container_needs_no_name() {
        let one = json!({"spec": {"containers": [{"name": "c"}]}});
        assert_eq!(container(&one, "p", None).unwrap(), "c");
        let many = json!({"spec": {"initContainers": [{"name": "ini"}], "containers": [{"name": "c"}, {"name": "bad"}]}});
        assert_eq!(
            container(&many, "lg", None).unwrap_err().message,
            "a container name must be specified for pod lg, choose one of: [ini c bad]"
        );
        assert_eq!(container(&many, "lg", Some("bad")).unwrap(), "bad");
        let helped = json!({"spec": {"initContainers": [{"name": "ini"}], "containers": [{"name": "c"}],
            "ephemeralContainers": [{"name": "debugger"}]}});
        assert_eq!(container(&helped, "p", None).unwrap(), "c");
        assert_eq!(
            container(&many, "lg", Some("none")).unwrap_err().message,
            "container none is not valid for pod lg"
        );
    }
}
