//! `pods/exec`, `pods/attach` and `pods/portforward`: checked here, carried on to the node's agent (contract §14).
use super::get;
use super::log::container;
use crate::admission::{self, Attempt, Operation};
use crate::authz;
use crate::http::{Answer, Body, Call};
use crate::kubelet;
use crate::request::{Query, RequestInfo, escape};
use crate::status::ApiError;
use orlop_streaming::{Client, Purpose, Refusal, Streams, relay};
use serde_json::{Value, json};

pub async fn connect(call: &Call) -> Result<Answer, ApiError> {
    // A WebSocket client comes with GET, but is no reader: it needs the right to create.
    let info = RequestInfo {
        verb: "create".to_owned(),
        ..call.info.clone()
    };
    authz::check(&call.server, &call.user, &info, &call.query).await?;
    get::fresh_enough(call, None).await?;
    let name = call.info.name.as_str();
    let pod = get::find(call, name)?.value();
    let part = call.info.subresource.as_str();
    let namespace = &call.info.namespace;
    let wanted = wanted(&call.query, part);
    let ports = match part {
        "portforward" => ports(&call.query)?,
        _ => Vec::new(),
    };
    let mut options = options(&call.query, part, &ports);
    let mut attempt = Attempt {
        subresource: part,
        object: Some(&mut options),
        ..Attempt::new(call, Operation::Connect, name, false)
    };
    admission::mutate(&mut attempt).await?;
    admission::validate(&attempt).await?;
    let (path, purpose) = match part {
        "portforward" => (
            format!("/portForward/{namespace}/{name}"),
            Purpose::PortForward(ports),
        ),
        _ => {
            let container = container(&pod, name, call.query.get("container"))?;
            let query = query(&call.query, wanted);
            (
                format!("/{part}/{namespace}/{name}/{container}?{query}"),
                Purpose::Command,
            )
        }
    };
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(ApiError::bad_request(format!(
            "pod {name} does not have a host assigned"
        )));
    }
    let refuse = |error: Refusal| ApiError::bad_request(error.to_string());
    let client = Client::of(&call.headers, purpose).map_err(refuse)?;
    let upgrade = call
        .upgrade
        .lock()
        .take()
        .ok_or_else(|| refuse(Refusal::NoUpgrade))?;
    let backend = kubelet::upgrade(&call.server, node, &path, &client.stream_protocols()).await?;
    let answer = client.switching::<Body>(backend.agreed.as_ref());
    let shutdown = call.server.shutdown.clone();
    tokio::spawn(async move {
        let relay = relay(upgrade, client, backend, wanted, None);
        if let Some(Err(error)) = shutdown.run_until_cancelled(relay).await {
            tracing::debug!(%error, "a stream ended");
        }
    });
    Ok(Answer::Raw(answer))
}

/// The streams that are asked for. Attaching shows output unless told otherwise; a terminal has one output only.
fn wanted(query: &Query, part: &str) -> Streams {
    let shown = |key| query.flag(key) || (part == "attach" && query.get(key).is_none());
    let tty = query.flag("tty");
    Streams {
        stdin: query.flag("stdin"),
        stdout: shown("stdout"),
        stderr: shown("stderr") && !tty,
        tty,
    }
}

/// The ports of `?ports=80&ports=81`, also as `?ports=80,81`.
///
/// # Errors
/// One is none.
fn ports(query: &Query) -> Result<Vec<u16>, ApiError> {
    let values = query.all("ports").flat_map(|value| value.split(','));
    let port = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let why = if is_number {
            "value out of range"
        } else {
            "invalid syntax"
        };
        let refused = || {
            ApiError::bad_request(format!(
                "cannot convert to []int32: strconv.ParseUint: parsing {text:?}: {why}"
            ))
        };
        is_number.then(|| text.parse().ok()).flatten().ok_or_else(refused)
    };
    values.map(port).collect()
}

/// The options as the object that admission sees.
fn options(query: &Query, part: &str, ports: &[u16]) -> Value {
    let kind = match part {
        "attach" => "PodAttachOptions",
        "exec" => "PodExecOptions",
        _ => {
            let mut options = json!({"kind": "PodPortForwardOptions", "apiVersion": "v1"});
            if !ports.is_empty() {
                options["ports"] = json!(ports);
            }
            return options;
        }
    };
    let wanted = wanted(query, part);
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    for (key, set) in [
        ("stdin", wanted.stdin),
        ("stdout", wanted.stdout),
        ("stderr", wanted.stderr),
        ("tty", wanted.tty),
    ] {
        if set {
            options[key] = json!(true);
        }
    }
    if let Some(container) = query.get("container") {
        options["container"] = json!(container);
    }
    if part == "exec" {
        options["command"] = query.all("command").collect();
    }
    options
}

/// The agent's query: flags have other names there.
fn query(query: &Query, wanted: Streams) -> String {
    let command = query
        .all("command")
        .map(|word| format!("command={}", escape(word)));
    let flags = [
        (wanted.stdin, "input=1"),
        (wanted.stdout, "output=1"),
        (wanted.stderr, "error=1"),
        (wanted.tty, "tty=1"),
    ];
    let flags = flags
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, flag)| (*flag).to_owned());
    command.chain(flags).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o15_agents_are_asked_in_their_own_words() {
        for (part, asked, expected) in [
            (
                "exec",
                "command=sh&command=-c&command=echo+a%3B%20b&stdout=true&stderr=true&container=c",
                "command=sh&command=-c&command=echo%20a%3B%20b&output=1&error=1",
            ),
            (
                "exec",
                "command=sh&stdin=1&tty=true&stdout=1&stderr=1",
                "command=sh&input=1&output=1&tty=1",
            ),
            ("exec", "command=sh", "command=sh"),
            ("attach", "stdin=true&stderr=false", "input=1&output=1"),
            ("attach", "tty=true", "output=1&tty=1"),
        ] {
            let parsed = Query::parse(asked);
            assert_eq!(query(&parsed, wanted(&parsed, part)), expected, "{asked}");
        }
    }

    #[test]
    fn ports_are_numbers_of_ports() {
        let of = |asked| ports(&Query::parse(asked)).map_err(|error| error.message);
        assert_eq!(of("ports=80&ports=81,82").unwrap(), [80, 81, 82]);
        assert!(of("").unwrap().is_empty());
        for (asked, why) in [
            ("ports=80,http", "\"http\": invalid syntax"),
            ("ports=", "\"\": invalid syntax"),
            ("ports=65536", "\"65536\": value out of range"),
        ] {
            let expected = format!("cannot convert to []int32: strconv.ParseUint: parsing {why}");
            assert_eq!(of(asked).unwrap_err(), expected, "{asked}");
        }
    }
}
