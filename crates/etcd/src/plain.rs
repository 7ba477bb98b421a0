//! What is asked without gRPC: whether the member is well, which version it is, what it counts.
use crate::{CLUSTER_VERSION, ETCD_VERSION, Face};
use bytes::Bytes;
use etcd_client::AlarmType;
use http::{HeaderValue, Method, Response, StatusCode, Uri, header};
use http_body_util::Full;
use orlop_store::Store;
use std::collections::BTreeSet;
use tonic::body::Body;

pub const JSON: &str = "application/json";
pub const TEXT: &str = "text/plain; charset=utf-8";

/// One thing that has to be so for a member to be well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    /// Of a member that need not be restarted, and of one that can be sent requests.
    const LIVE: &[Self] = &[Self::SerializableRead];
    const READY: &[Self] = &[
        Self::DataCorruption,
        Self::SerializableRead,
        Self::LinearizableRead,
        Self::NonLearner,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }

    async fn run(self, face: &Face) -> Result<(), String> {
        match self {
            Self::DataCorruption => match face.alarms.is_raised(AlarmType::Corrupt) {
                true => Err("alarm activated: CORRUPT".to_owned()),
                false => Ok(()),
            },
            // The only member is never behind itself.
            Self::SerializableRead | Self::LinearizableRead => {
                let status = face.store.status().await;
                status.map(|_| ()).map_err(|error| error.to_string())
            }
            Self::NonLearner => Ok(()),
        }
    }
}

/// Answers a request that is not a call.
pub async fn answer(face: &Face, method: &Method, uri: &Uri) -> Response<Body> {
    for_anybody(by_path(face, method, uri).await)
}

/// Answers where metrics alone are served: how well the member is, and what it counts.
pub async fn probe(face: &Face, method: &Method, uri: &Uri) -> Response<Body> {
    let path = uri.path();
    let is_probe = matches!(path, "/metrics" | "/health")
        || ["/livez", "/readyz"].iter().any(|check| {
            path.strip_prefix(check)
                .is_some_and(|one| one.is_empty() || one.starts_with('/'))
        });
    match (is_probe, method == Method::OPTIONS) {
        (false, _) => not_found(),
        (true, true) => not_allowed(),
        (true, false) => by_path(face, method, uri).await,
    }
}

/// Lets pages of anybody look at a response, as etcd does.
pub fn for_anybody(mut response: Response<Body>) -> Response<Body> {
    for (name, value) in [
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "accept, content-type, authorization",
        ),
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "POST, GET, OPTIONS, PUT, DELETE",
        ),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

async fn by_path(face: &Face, method: &Method, uri: &Uri) -> Response<Body> {
    if method == Method::OPTIONS {
        return Response::new(Body::empty());
    }
    let is_get = method == Method::GET;
    let path = uri.path();
    let query = Query::new(uri.query().unwrap_or_default());
    let (checks, one) = if let Some(rest) = path.strip_prefix("/livez") {
        (Check::LIVE, rest)
    } else if let Some(rest) = path.strip_prefix("/readyz") {
        (Check::READY, rest)
    } else {
        return match path {
            "/health" | "/version" | "/metrics" if !is_get => not_allowed(),
            "/health" => health(face, &query).await,
            "/version" => response(StatusCode::OK, JSON, version()),
            "/metrics" => metrics(face).await,
            _ => not_found(),
        };
    };
    let chosen: Vec<Check> = match one {
        "" => checks
            .iter()
            .copied()
            .filter(|check| query.names(check.name()))
            .collect(),
        one => checks
            .iter()
            .copied()
            .filter(|check| one.strip_prefix('/') == Some(check.name()))
            .collect(),
    };
    match (is_get, chosen.is_empty() && !one.is_empty()) {
        (_, true) => not_found(),
        (false, _) => not_allowed(),
        (true, _) => checked(face, &chosen, query.is_verbose).await,
    }
}

/// What `/livez` and `/readyz` are asked.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query<'q> {
    is_verbose: bool,
    excluded: BTreeSet<&'q str>,
    allowed: BTreeSet<&'q str>,
}

impl<'q> Query<'q> {
    fn new(query: &'q str) -> Self {
        let mut asked = Self::default();
        for part in query.split('&') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name {
                "verbose" => asked.is_verbose = true,
                "exclude" => {
                    asked.excluded.insert(value);
                }
                "allowlist" => {
                    asked.allowed.insert(value);
                }
                _ => {}
            }
        }
        asked
    }

    /// Whether a check is among those that are to be made.
    fn names(&self, check: &str) -> bool {
        let is_allowed = self.allowed.is_empty() || self.allowed.contains(check);
        is_allowed && !self.excluded.contains(check)
    }
}

async fn checked(face: &Face, checks: &[Check], is_verbose: bool) -> Response<Body> {
    let mut is_well = true;
    let mut lines = String::new();
    for check in checks {
        let name = check.name();
        match check.run(face).await {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(reason) => {
                is_well = false;
                lines.push_str(&format!("[-]{name} failed: {reason}\n"));
            }
        }
    }
    match (is_well, is_verbose) {
        (false, _) => sniffless(response(StatusCode::SERVICE_UNAVAILABLE, TEXT, lines)),
        (true, true) => sniffless(response(StatusCode::OK, TEXT, lines + "ok\n")),
        (true, false) => sniffless(response(StatusCode::OK, TEXT, "ok\n".to_owned())),
    }
}

async fn health(face: &Face, query: &Query<'_>) -> Response<Body> {
    let alarm = [AlarmType::Nospace, AlarmType::Corrupt]
        .into_iter()
        .find(|alarm| face.alarms.is_raised(*alarm) && query.names(alarm.as_str_name()));
    let reason = match (alarm, face.store.status().await) {
        (Some(alarm), _) => format!("ALARM {}", alarm.as_str_name()),
        (None, Ok(_)) => {
            face.counters.healthy.add(1);
            // As etcd has it, which does not say that this is JSON.
            return response(StatusCode::OK, TEXT, r#"{"health":"true","reason":""}"#);
        }
        (None, Err(error)) => {
            tracing::warn!(%error, "the store is not well");
            "STORE ERROR".to_owned()
        }
    };
    face.counters.unhealthy.add(1);
    let body = format!(r#"{{"health":"false","reason":"{reason}"}}"#);
    response(StatusCode::SERVICE_UNAVAILABLE, TEXT, body)
}

fn version() -> String {
    format!(r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{CLUSTER_VERSION}.0"}}"#)
}

async fn metrics(face: &Face) -> Response<Body> {
    match face.metrics().await {
        Ok(text) => response(StatusCode::OK, orlop_metrics::text::CONTENT_TYPE, text),
        Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

fn not_found() -> Response<Body> {
    sniffless(response(
        StatusCode::NOT_FOUND,
        TEXT,
        "404 page not found\n".to_owned(),
    ))
}

fn not_allowed() -> Response<Body> {
    let mut refused = sniffless(response(
        StatusCode::METHOD_NOT_ALLOWED,
        TEXT,
        "Method Not Allowed\n".to_owned(),
    ));
    refused
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET"));
    refused
}

/// Whose kind is what it says.
fn sniffless(mut response: Response<Body>) -> Response<Body> {
    let value = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, value);
    response
}

/// One that is a text of a kind.
pub fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body.into())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Member;
    use http_body_util::BodyExt;
    use orlop_store::embedded::EmbeddedStore;

    async fn get(face: &Face, path: &'static str) -> (u16, String) {
        let response = answer(face, &Method::GET, &Uri::from_static(path)).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_alarm_is_bad_health_unless_it_is_excluded() {
        let face = Face::new(EmbeddedStore::in_memory().unwrap(), Member::named("m"));
        assert_eq!(get(&face, "/health").await.0, 200);
        face.alarms.raise(AlarmType::Nospace, 0);
        let (status, body) = get(&face, "/health").await;
        assert_eq!(
            (status, body.as_str()),
            (503, r#"{"health":"false","reason":"ALARM NOSPACE"}"#)
        );
        assert_eq!(get(&face, "/health?exclude=NOSPACE").await.0, 200);
        // A full member can be read.
        assert_eq!(get(&face, "/readyz").await.0, 200);
        face.alarms.raise(AlarmType::Corrupt, 0);
        let (status, body) = get(&face, "/readyz").await;
        assert_eq!(status, 503);
        assert!(
            body.starts_with("[-]data_corruption failed: alarm activated: CORRUPT\n"),
            "{body}"
        );
        assert_eq!(
            get(&face, "/readyz?exclude=data_corruption").await,
            (200, "ok\n".to_owned())
        );
        assert_eq!(get(&face, "/livez").await.0, 200);
    }
}
