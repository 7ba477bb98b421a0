//! Which answer a path gets.
use super::body::{Body, json, text};
use super::checkpoint;
use super::health::CHECKS;
use super::lists;
use super::logs::{self, Target};
use super::measures::{self, Page};
use super::streams::{self, Ask};
use super::system_logs::{self, Journal};
use super::zpages;
use super::{Port, State};
use http::{Method, Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use jiff::Timestamp;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    /// Everything that is checked, or one of [`CHECKS`].
    Health(Option<&'static str>),
    /// About this process, for people.
    Statusz,
    Flagz,
    Pods,
    RunningPods,
    Configz,
    /// What became of manifests.
    Status,
    Measures(Page),
    ContainerLogs(Target<'a>),
    Checkpoint(Target<'a>),
    /// Of the machine, at this path.
    SystemLogs(&'a str),
    Streaming(Ask<'a>),
    /// Switched off by `enableDebuggingHandlers`.
    Disabled,
    MethodNotAllowed,
    Unknown,
}

impl<'a> Route<'a> {
    fn of(method: &Method, path: &'a str, port: Port, debugging: bool) -> Self {
        // The read-only port never has them.
        let debugging = debugging && port == Port::Secure;
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let route = match parts[..] {
            ["healthz"] => Self::Health(None),
            ["healthz", check] => match CHECKS.iter().find(|known| **known == check) {
                Some(check) => Self::Health(Some(check)),
                None => return Self::Unknown,
            },
            ["statusz"] if port == Port::Secure => Self::Statusz,
            ["flagz"] if port == Port::Secure => Self::Flagz,
            ["pods"] => Self::Pods,
            ["runningpods"] if debugging => Self::RunningPods,
            ["configz"] if port != Port::ReadOnly => Self::Configz,
            ["status"] if port == Port::Local => Self::Status,
            ["stats", ..] | ["metrics", ..] => match Page::of(&parts) {
                Some(page) => Self::Measures(page),
                None => return Self::Unknown,
            },
            ["containerLogs", namespace, pod, container] if debugging => Self::ContainerLogs(Target {
                namespace,
                pod,
                container,
            }),
            ["checkpoint", namespace, pod, container] if debugging => {
                return match *method {
                    Method::POST => Self::Checkpoint(Target {
                        namespace,
                        pod,
                        container,
                    }),
                    _ => Self::MethodNotAllowed,
                };
            }
            ["logs", ..] if debugging => {
                let path = path.trim_start_matches('/');
                Self::SystemLogs(path.strip_prefix("logs").unwrap_or_default())
            }
            ["exec" | "attach" | "portForward" | "run", ..] if debugging => {
                return match (Ask::of(&parts), method) {
                    (None, _) => Self::Unknown,
                    (Some(Ask::Run(..)), &Method::GET) => Self::MethodNotAllowed,
                    (Some(ask), &Method::GET | &Method::POST) => Self::Streaming(ask),
                    _ => Self::MethodNotAllowed,
                };
            }
            [
                "exec" | "attach" | "portForward" | "run" | "containerLogs" | "runningpods" | "logs",
                ..,
            ] if !debugging => {
                return Self::Disabled;
            }
            ["debug", "pprof", ..] if !debugging => return Self::Disabled,
            _ => return Self::Unknown,
        };
        if matches!(*method, Method::GET | Method::HEAD) {
            route
        } else {
            Self::MethodNotAllowed
        }
    }
}

/// The answer to an authorised request.
pub async fn answer<B>(state: &State, port: Port, mut request: Request<B>) -> Response<Body> {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let context = &state.context;
    match Route::of(request.method(), request.uri().path(), port, state.debugging) {
        Route::Health(check) => state.health.answer(check).await,
        Route::Statusz => text(
            StatusCode::OK,
            zpages::status(context.began, Timestamp::now(), &context.pods),
        ),
        Route::Flagz => text(StatusCode::OK, zpages::flags(&context.flags)),
        Route::Pods => json(&lists::pods(&context.pods.list())),
        Route::RunningPods => match context.runtime.list_containers(None).await {
            Ok(containers) => json(&lists::running(&containers)),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        Route::Configz => json(&context.configz),
        Route::Status => json(&lists::status(
            &context.node_name,
            &context.reports.now(),
            &context.refusals.all(),
            &context.pods.list(),
        )),
        Route::Measures(page) => {
            measures::answer(context, page, request.uri().query().unwrap_or_default()).await
        }
        Route::ContainerLogs(target) => {
            let query = request.uri().query().unwrap_or_default();
            logs::answer(&context.pods, &context.runtime, &state.pod_logs, target, query)
        }
        Route::Checkpoint(target) if state.checkpoints => {
            let query = request.uri().query().unwrap_or_default();
            let root = &context.meter.root;
            checkpoint::answer(&context.pods, &*context.runtime, root, target, query).await
        }
        Route::SystemLogs(path) => match &state.system_logs {
            Some(root) => {
                let query = request.uri().query().filter(|_| state.log_queries);
                match query.and_then(|query| Journal::default().answer(root, query)) {
                    Some(Ok(answer)) => answer,
                    Some(Err(file)) => system_logs::answer(root, &file).await,
                    None => system_logs::answer(root, path).await,
                }
            }
            None => text(StatusCode::METHOD_NOT_ALLOWED, "logs endpoint is disabled."),
        },
        Route::Streaming(ask) => {
            let query = request.uri().query().unwrap_or_default();
            streams::answer(state, ask, query, request.headers(), upgrade).await
        }
        Route::Disabled => text(StatusCode::METHOD_NOT_ALLOWED, "Debug endpoints are disabled."),
        Route::MethodNotAllowed => text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
        Route::Checkpoint(_) | Route::Unknown => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_answers() {
        let stream = |path: &'static str| {
            let parts: Vec<&str> = path.split('/').collect();
            Route::Streaming(Ask::of(&parts).unwrap())
        };
        let target = Target {
            namespace: "a",
            pod: "b",
            container: "c",
        };
        let logs = || Route::ContainerLogs(target);
        for (method, path, expected) in [
            (Method::GET, "/healthz", Route::Health(None)),
            (Method::GET, "/healthz/ping", Route::Health(Some("ping"))),
            (Method::GET, "/healthz/else", Route::Unknown),
            (Method::GET, "/statusz", Route::Statusz),
            (Method::GET, "/flagz", Route::Flagz),
            (Method::GET, "/metrics/slis", Route::Measures(Page::Slis)),
            (Method::GET, "/pods", Route::Pods),
            (Method::GET, "/runningpods/", Route::RunningPods),
            (Method::GET, "/configz", Route::Configz),
            (Method::GET, "/metrics", Route::Measures(Page::Agent)),
            (Method::GET, "/metrics/cadvisor", Route::Measures(Page::Cadvisor)),
            (Method::GET, "/stats/summary/", Route::Measures(Page::Summary)),
            (Method::GET, "/stats/container", Route::Unknown),
            (Method::POST, "/metrics", Route::MethodNotAllowed),
            (Method::GET, "/containerLogs/a/b/c", logs()),
            (Method::GET, "/containerLogs/a/b", Route::Unknown),
            (Method::POST, "/containerLogs/a/b/c", Route::MethodNotAllowed),
            (Method::POST, "/checkpoint/a/b/c", Route::Checkpoint(target)),
            (Method::GET, "/checkpoint/a/b/c", Route::MethodNotAllowed),
            (Method::POST, "/checkpoint/a/b", Route::Unknown),
            (Method::POST, "/exec/a/b/c", stream("exec/a/b/c")),
            (Method::GET, "/attach/a/b/u/c", stream("attach/a/b/u/c")),
            (Method::POST, "/portForward/a/b", stream("portForward/a/b")),
            (Method::POST, "/run/a/b/c", stream("run/a/b/c")),
            (Method::GET, "/run/a/b/c", Route::MethodNotAllowed),
            (Method::PUT, "/exec/a/b/c", Route::MethodNotAllowed),
            (Method::POST, "/exec/a/b", Route::Unknown),
            (Method::GET, "/logs/", Route::SystemLogs("/")),
            (Method::GET, "/logs/pods/x", Route::SystemLogs("/pods/x")),
            (Method::GET, "/", Route::Unknown),
            (Method::GET, "/podsx", Route::Unknown),
        ] {
            assert_eq!(
                Route::of(&method, path, Port::Secure, true),
                expected,
                "{method} {path}"
            );
        }
    }

    #[test]
    fn what_became_of_manifests_is_told_on_the_node_alone() {
        let of = |port| Route::of(&Method::GET, "/status", port, true);
        assert_eq!(of(Port::Local), Route::Status);
        assert_eq!(
            (of(Port::Secure), of(Port::ReadOnly)),
            (Route::Unknown, Route::Unknown)
        );
    }

    #[test]
    fn read_only_port_lists_and_measures_and_tells_no_configuration() {
        for (path, expected) in [
            ("/pods", Route::Pods),
            ("/healthz", Route::Health(None)),
            ("/statusz", Route::Unknown),
            ("/flagz", Route::Unknown),
            ("/metrics/resource", Route::Measures(Page::Resource)),
            ("/configz", Route::Unknown),
        ] {
            let route = Route::of(&Method::GET, path, Port::ReadOnly, true);
            assert_eq!(route, expected, "{path}");
        }
    }

    #[test]
    fn debugging_handlers_can_be_switched_off() {
        for path in [
            "/exec/a/b/c",
            "/run/a/b/c",
            "/containerLogs/a/b/c",
            "/runningpods/",
            "/logs/",
            "/debug/pprof/heap",
        ] {
            for (port, debugging) in [(Port::Secure, false), (Port::ReadOnly, true)] {
                let route = Route::of(&Method::GET, path, port, debugging);
                assert_eq!(route, Route::Disabled, "{path} {port:?}");
            }
        }
        assert_eq!(Route::of(&Method::GET, "/pods", Port::Secure, false), Route::Pods);
    }
}
