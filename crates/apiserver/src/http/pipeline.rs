//! Every request's way, in the contract's order (§1): identify, parse, authorize, route, answer.
use super::exchange::Exchange;
use super::respond::{Answer, add_warning, error_response};
use super::{Body, Call, Upload, cors};
use crate::authn::UserInfo;
use crate::authz;
use crate::request::{self, Offer, Output, Query, RequestInfo};
use crate::resources::Resource;
use crate::status::ApiError;
use crate::{ApiServer, aggregation, discovery, health, metrics, openapi, registry, usage};
use futures::future::{Either, FutureExt, TryFutureExt};
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Response, request::Parts};
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use std::any::Any;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Subresources that answer as long as their caller listens.
const LONG_RUNNING_PARTS: &[&str] = &["attach", "exec", "log", "portforward", "proxy"];

/// Who is calling, or why that is not known, and from where.
#[derive(Clone)]
pub(crate) struct Caller {
    pub user: Result<Arc<UserInfo>, ApiError>,
    pub source: Option<IpAddr>,
}

/// Answers one request.
pub(crate) async fn handle(
    server: Arc<ApiServer>,
    caller: Caller,
    parts: Parts,
    upload: Upload,
) -> Response<Body> {
    if comes_too_late(&server, &caller, parts.uri.path()) {
        let mut response = error_response(&ApiError::shutting_down(), &Output::JSON);
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
        return response;
    }
    let origin = server.cors.as_ref().and_then(|cors| cors.allowed(&parts.headers));
    let Some(origin) = origin else {
        return audited(server, caller, parts, upload).await;
    };
    let mut response = match parts.method {
        // A browser asks what it may do.
        Method::OPTIONS => cors::asked_first(),
        _ => audited(server, caller, parts, upload).await,
    };
    cors::allow(origin, response.headers_mut());
    response
}

/// Whether somebody comes while the server ends, who is better served elsewhere; probes and this process itself still
/// learn how it is.
fn comes_too_late(server: &ApiServer, caller: &Caller, path: &str) -> bool {
    server.turns_away_at_shutdown
        && server.shutdown.is_cancelled()
        && caller.source.is_some()
        && !health::knows(path)
}

/// The same for whoever asks; it takes place as long as it is written down.
async fn audited(server: Arc<ApiServer>, caller: Caller, parts: Parts, upload: Upload) -> Response<Body> {
    let exchange = Exchange::begin(server, &caller, &parts);
    if exchange.server.audit.is_none() {
        return carry_out(exchange, caller, parts, upload).await;
    }
    // A client that goes away takes nothing out of the audit log.
    let whole = tokio::spawn(carry_out(exchange, caller, parts, upload));
    whole
        .await
        .unwrap_or_else(|_| error_response(&handler_failed(), &Output::JSON))
}

async fn carry_out(mut exchange: Exchange, caller: Caller, parts: Parts, upload: Upload) -> Response<Body> {
    let response = answer(&mut exchange, caller, parts, upload).await;
    exchange.finish(response).await
}

fn handler_failed() -> ApiError {
    ApiError::internal("the request handler failed unexpectedly")
}

async fn answer(exchange: &mut Exchange, caller: Caller, mut parts: Parts, upload: Upload) -> Response<Body> {
    let server = exchange.server.clone();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let is_own = parts.extensions.remove::<OwnRequest>().is_some();
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let path = parts.uri.path();
    let name_selector = query
        .get("fieldSelector")
        .and_then(|s| s.split(',').find_map(|t| t.strip_prefix("metadata.name=")))
        .map(|name| name.trim_start_matches('=').to_owned());
    let info = request::parse(&parts.method, path, query.flag("watch"), name_selector);
    let refusal = || request::negotiate_refusal(&parts.headers, &query);
    let routed = info.is_resource.then(|| route(&server, &info, is_own));
    let resource = routed.as_ref().and_then(|routed| routed.as_ref().ok().copied());
    exchange.kind = metrics::kind_of(&info, resource, &parts.method, &query);
    let streams = LONG_RUNNING_PARTS.contains(&info.subresource.as_str());
    let long_running = info.verb == "watch" || streams;
    exchange.long_running = long_running;
    exchange.from_elsewhere = streams;
    exchange.in_flight = (!long_running).then(|| server.metrics.requests.began(&parts.method));
    exchange.answering = (!long_running).then(|| server.answering.token());
    let began = Instant::now();

    if let Some(audit) = &server.audit {
        let nobody = UserInfo::default();
        let user = caller.user.as_deref().unwrap_or(&nobody);
        let begun = audit
            .begin(exchange.audit_id(), user, &info, &parts, exchange.source)
            .await;
        match begun {
            Ok(record) => exchange.record = record,
            Err(error) => return exchange.refuse(error, &refusal()),
        }
    }
    let caller = match caller.user {
        Ok(user) => user,
        Err(error) => return exchange.refuse(error, &refusal()),
    };
    exchange.user = Some(caller.clone());
    let asked = authz::Attributes::of(&info, &query);
    let user = match authz::acting_user(&server, caller.clone(), &parts.headers, &asked).await {
        Ok(user) => user,
        Err(error) => return exchange.refuse(error, &refusal()),
    };
    if !Arc::ptr_eq(&caller, &user)
        && let Some(record) = &mut exchange.record
    {
        record.acts_as(&user);
    }
    // A watch has its seat until it has begun; what streams by other means has none.
    let seat = if streams {
        None
    } else {
        match server.flow.admit(&user, &asked, &parts.method).await {
            Ok(admitted) => {
                server.metrics.flow.admitted(&admitted);
                exchange.class = admitted.class.clone();
                exchange.waited = admitted.waited;
                Some(admitted)
            }
            Err(turned_away) => {
                server.metrics.flow.turned_away(&turned_away);
                exchange.class = turned_away.class;
                return exchange.refuse(ApiError::overloaded(), &refusal());
            }
        }
    };
    let decision = authz::decide(&server, &user, &asked).await;
    exchange.decided(&decision);
    if let Err(error) = authz::enforce(&user, &asked, decision) {
        return exchange.refuse(error, &refusal());
    }
    let time_max = server.request_times.answer_max;
    let deadline = match long_running {
        true => Ok(time_max),
        false => deadline(&query, time_max),
    };
    let deadline = match deadline {
        Ok(deadline) => deadline,
        Err(error) => return exchange.refuse(error, &refusal()),
    };
    if let Some(remote) = server.aggregation.remote_of_path(path) {
        let body = upload.pass_on();
        exchange.from_elsewhere = true;
        let stop = &server.shutdown;
        let answer = aggregation::forward(&server.aggregation, &remote, &user, &parts, upgrade, body, stop);
        let left = match long_running {
            // Its head, that is: the rest takes as long as it takes.
            true => time_max,
            false => deadline.saturating_sub(began.elapsed()),
        };
        let answer = tokio::time::timeout(left, answer).await;
        return match answer.unwrap_or_else(|_| Err(ApiError::too_late())) {
            Ok(response) => response,
            Err(error) => exchange.refuse(error, &refusal()),
        };
    }
    let Some(routed) = routed else {
        return match non_resource(&server, &parts, &query).await {
            Ok(answer) => answer.into_response(&Output::JSON),
            Err(error) => exchange.refuse(error, &refusal()),
        };
    };
    let resource = match routed {
        Ok(resource) => resource,
        Err(error) => return exchange.refuse(error, &refusal()),
    };
    let output = match request::negotiate(&parts.headers, &query, offer(resource, &info, &query)) {
        Ok(output) => output,
        // What may be accepted is said to whoever is behind it.
        Err(_) if info.subresource == "proxy" => Output::JSON,
        Err(error) => return exchange.refuse(error, &Output::JSON),
    };
    let (read, passed) = match info.subresource.as_str() {
        "proxy" => (Upload::Nothing, upload),
        _ => (upload, Upload::Nothing),
    };
    let body = match read.read(deadline).await {
        Ok(body) => body,
        Err(error) => return exchange.refuse(error, &output),
    };
    exchange.carries(&parts.headers, &body);
    let call = Arc::new(Call {
        server,
        user,
        info,
        resource,
        method: parts.method,
        headers: parts.headers,
        query,
        output,
        body,
        passed: Mutex::new(passed),
        until: (!long_running).then(|| began + deadline),
        upgrade: Mutex::new(upgrade),
        warnings: Mutex::new(Vec::new()),
        annotations: Mutex::new(Vec::new()),
    });
    if let Some(warning) = resource
        .custom
        .and_then(|custom| custom.definition().warning.clone())
    {
        call.warn(warning);
    }
    let work = registry::dispatch(call.clone());
    let work = if matches!(call.info.verb.as_str(), "get" | "list") {
        Either::Left(Box::pin(AssertUnwindSafe(work).catch_unwind().map_err(panicked)))
    } else {
        // A task of its own: what was begun is finished.
        Either::Right(tokio::spawn(work).map_err(|join| join.to_string()))
    };
    let result = if long_running {
        work.await
    } else {
        let left = deadline.saturating_sub(began.elapsed());
        match tokio::time::timeout(left, work).await {
            Ok(result) => result,
            Err(_) => Ok(Err(ApiError::too_late())),
        }
    };
    let mut response = match result {
        Ok(Ok(answer)) => answer.into_response(&output),
        Ok(Err(error)) => {
            let output = Output {
                shape: request::Shape::Object,
                ..output
            };
            exchange.refuse(error, &output)
        }
        // It costs one answer, not the connection.
        Err(panic) => {
            tracing::error!(path = %call.info.path, panic, "a request handler failed");
            exchange.panicked();
            exchange.refuse(handler_failed(), &output)
        }
    };
    drop(seat);
    if let Some(record) = &mut exchange.record {
        for annotation in call.annotations.lock().iter() {
            if !annotation.is_detail || record.has_details() {
                record.annotate(&annotation.key, &annotation.value);
            }
        }
    }
    for warning in call.warnings.lock().iter() {
        add_warning(&mut response, warning);
    }
    response
}

/// What a panic said.
fn panicked(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

/// Marks a request that the server makes to itself: what is turned off, and versions of definitions that are not served, are
/// still its own to work with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnRequest;

fn route(server: &ApiServer, info: &RequestInfo, is_own: bool) -> Result<&'static Resource, ApiError> {
    let (group, version, plural) = (&info.group, &info.version, &info.resource);
    let unserved = || {
        let built_in = crate::resources::find(group, version, plural);
        built_in.or_else(|| server.cache.custom().find_any(group, version, plural))
    };
    let found = match server.resource(group, version, plural) {
        None if is_own => unserved(),
        found => found,
    };
    if found.is_none() && !server.serves(group, version) {
        return Err(ApiError::page_not_found());
    }
    let resource = found.ok_or_else(ApiError::no_such_resource)?;
    let own_namespace = info.resource == "namespaces";
    if !resource.namespaced && !info.namespace.is_empty() && !own_namespace {
        return Err(ApiError::no_such_resource());
    }
    Ok(resource)
}

/// The forms in which a request can be answered.
fn offer(resource: &Resource, info: &RequestInfo, query: &Query) -> Offer {
    // A scale of a custom resource is a built-in kind; what nodes use has no protobuf form either.
    let custom = resource.custom.is_some() && info.subresource != "scale" || resource.group == usage::GROUP;
    let is_list = query.flag("sendInitialEvents") && query.flag("allowWatchBookmarks");
    match (info.verb == "watch", custom) {
        (false, false) => Offer::BuiltIn,
        (false, true) => Offer::Custom,
        (true, false) if is_list => Offer::BuiltInWatchList,
        (true, false) => Offer::BuiltInWatch,
        (true, true) if is_list => Offer::CustomWatchList,
        (true, true) => Offer::CustomWatch,
    }
}

/// `?timeout=` (contract §1): unreadable is refused, everything odd means the maximum.
fn deadline(query: &Query, longest: Duration) -> Result<Duration, ApiError> {
    let Some(text) = query.get("timeout") else {
        return Ok(longest);
    };
    let asked = request::parse_go_duration(text).ok_or_else(|| {
        ApiError::bad_request(format!(
            "invalid timeout specified in the request URL - time: invalid duration {text:?}"
        ))
    })?;
    if asked.is_zero() || asked > longest {
        return Ok(longest);
    }
    Ok(asked)
}

async fn non_resource(server: &ApiServer, parts: &Parts, query: &Query) -> Result<Answer, ApiError> {
    let path = parts.uri.path();
    // Whoever probes may ask with HEAD, or as they like.
    if parts.method != Method::GET && !health::knows(path) {
        return Err(if discovery::knows(server, path) {
            ApiError::method_not_allowed()
        } else {
            ApiError::page_not_found()
        });
    }
    if let Some(answer) = health::answer(server, path, query).await {
        return answer;
    }
    if let Some(answer) = metrics::answer(server, path) {
        return Ok(answer);
    }
    if let Some(answer) = openapi::answer(server, &parts.headers, path, query).await {
        return answer;
    }
    discovery::answer(server, &parts.headers, path)
}
