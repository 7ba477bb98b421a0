//! `/exec`, `/attach`, `/portForward` and `/run`: the runtime is asked for the address of a stream, and the client's
//! connection is carried on to it.
//!
//! | file | decides |
//! |---|---|
//! | [`ask`] | what path and query ask for |
//! | [`find`] | the container or sandbox that is meant |
mod ask;
pub mod find;

pub use ask::Ask;

use super::State;
use super::body::{Body, text};
use ask::Wanted;
use http::{HeaderMap, Response, StatusCode, Uri};
use hyper::upgrade::OnUpgrade;
use orlop_cri::v1;
use orlop_streaming::{Backend, Client, Streams, dial, relay};
use std::time::Duration;
use tokio::net::TcpStream;

/// The runtime listens on this machine: a connection takes no longer.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A command of `/run` that takes longer is given up.
const RUN_MAX: Duration = Duration::from_secs(120);

/// Status and text of an answer that is no stream.
type Refusal = (StatusCode, String);

fn failed(error: impl ToString) -> Refusal {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// Answers a request; the stream itself goes on in a task of its own until either side or the agent ends.
pub async fn answer(
    state: &State,
    ask: Ask<'_>,
    query: &str,
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
) -> Response<Body> {
    let wanted = Wanted::parse(query);
    let outcome = match ask {
        Ask::Run(place, container) => run(state, place, container, wanted).await,
        _ => open(state, ask, wanted, headers, upgrade).await,
    };
    outcome.unwrap_or_else(|(status, message)| text(status, message))
}

async fn run(
    state: &State,
    place: ask::Place<'_>,
    container: &str,
    wanted: Wanted,
) -> Result<Response<Body>, Refusal> {
    let context = &state.context;
    let record = find::pod(&context.pods, place)?;
    let id = find::container(&*context.runtime, &record, container).await?;
    let outcome = context
        .runtime
        .exec_sync(&id, wanted.command, RUN_MAX)
        .await
        .map_err(failed)?;
    let mut output = outcome.stdout;
    output.extend(outcome.stderr);
    let output = String::from_utf8_lossy(&output).into_owned();
    if outcome.exit_code != 0 {
        let code = outcome.exit_code;
        return Err(failed(format!(
            "command terminated with exit code {code}: {output}"
        )));
    }
    Ok(text(StatusCode::OK, output))
}

async fn open(
    state: &State,
    ask: Ask<'_>,
    wanted: Wanted,
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Body>, Refusal> {
    let refuse = |error: orlop_streaming::Refusal| (StatusCode::BAD_REQUEST, error.to_string());
    let client = Client::of(headers, ask.purpose(&wanted)).map_err(refuse)?;
    let upgrade = upgrade.ok_or_else(|| refuse(orlop_streaming::Refusal::NoUpgrade))?;
    let place = state.streams.clone().try_acquire_owned().map_err(|_| {
        let busy = "too many streams are open on this node: close some and try again";
        (StatusCode::SERVICE_UNAVAILABLE, busy.to_owned())
    })?;
    let (url, streams) = address(state, ask, wanted).await?;
    let backend = connect(&url, &client).await?;
    let answer = client.switching::<http_body_util::Empty<bytes::Bytes>>(backend.agreed.as_ref());
    let (ending, idle_limit) = (state.ending.clone(), state.idle_limit);
    tokio::spawn(async move {
        let _place = place;
        let relay = relay(upgrade, client, backend, streams, Some(idle_limit));
        if let Some(Err(error)) = ending.run_until_cancelled(relay).await {
            tracing::debug!(%error, "a stream ended");
        }
    });
    Ok(answer.map(|empty| {
        use http_body_util::BodyExt;
        empty.map_err(|never| match never {}).boxed()
    }))
}

/// Where the runtime gives the stream.
async fn address(state: &State, ask: Ask<'_>, wanted: Wanted) -> Result<(String, Streams), Refusal> {
    let context = &state.context;
    let runtime = &*context.runtime;
    let record = find::pod(&context.pods, ask.place())?;
    let mut streams = wanted.streams;
    let Streams { stdin, stdout, .. } = streams;
    let url = match ask {
        Ask::PortForward(_) => {
            let pod_sandbox_id = find::sandbox(runtime, &record).await?;
            let request = v1::PortForwardRequest {
                pod_sandbox_id,
                ..v1::PortForwardRequest::default()
            };
            runtime.port_forward(request).await
        }
        _ if !(stdin || stdout || streams.stderr) => {
            let what = "you must specify at least 1 of stdin, stdout, stderr";
            return Err((StatusCode::BAD_REQUEST, what.to_owned()));
        }
        Ask::Attach(_, name) => {
            // Whether it has a terminal was decided when it was made.
            streams.tty = find::has_terminal(&record.pod, name);
            streams.stderr &= !streams.tty;
            let request = v1::AttachRequest {
                container_id: find::container(runtime, &record, name).await?,
                stdin,
                tty: streams.tty,
                stdout,
                stderr: streams.stderr,
            };
            runtime.attach(request).await
        }
        Ask::Exec(_, name) | Ask::Run(_, name) => {
            let request = v1::ExecRequest {
                container_id: find::container(runtime, &record, name).await?,
                cmd: wanted.command,
                tty: streams.tty,
                stdin,
                stdout,
                stderr: streams.stderr,
            };
            runtime.exec(request).await
        }
    };
    Ok((url.map_err(failed)?, streams))
}

async fn connect(url: &str, client: &Client) -> Result<Backend, Refusal> {
    let unusable = || {
        failed(format!(
            "the runtime streams from {url:?}, which is no plain HTTP address"
        ))
    };
    let uri: Uri = url.parse().map_err(|_| unusable())?;
    let (Some("http"), Some(authority), Some(path)) =
        (uri.scheme_str(), uri.authority(), uri.path_and_query())
    else {
        return Err(unusable());
    };
    let host = authority.host().trim_matches(['[', ']']);
    let dialing = async {
        let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80)))
            .await
            .map_err(failed)?;
        // Keystrokes are small and wait for no more.
        stream.set_nodelay(true).map_err(failed)?;
        dial(
            stream,
            authority.as_str(),
            path.as_str(),
            &client.stream_protocols(),
        )
        .await
        .map_err(failed)
    };
    tokio::time::timeout(CONNECT_MAX, dialing)
        .await
        .unwrap_or_else(|_| {
            Err(failed(format!(
                "the runtime's streaming server at {authority} does not answer"
            )))
        })
}
