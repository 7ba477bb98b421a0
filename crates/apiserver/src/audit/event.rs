//! What is known of one request, as events of audit.k8s.io/v1 tell it.
use super::policy::{Level, Stage, Verdict};
use crate::authn::UserInfo;
use crate::registry::microseconds;
use crate::request::RequestInfo;
use http::header::USER_AGENT;
use http::request::Parts;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// One request on its way.
pub struct Record {
    verdict: Verdict,
    received: Timestamp,
    event: Map<String, Value>,
    annotations: Map<String, Value>,
}

fn time(at: Timestamp) -> Value {
    json!(microseconds(at))
}

impl Record {
    pub(super) fn new(
        id: &str,
        verdict: Verdict,
        user: &UserInfo,
        info: &RequestInfo,
        parts: &Parts,
        source: Option<IpAddr>,
    ) -> Self {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let forwarded = header("x-forwarded-for")
            .into_iter()
            .flat_map(|list| list.split(','));
        let mut sources: Vec<String> = forwarded.map(|ip| ip.trim().to_owned()).collect();
        sources.extend(source.map(|ip| ip.to_string()));
        let uri = parts.uri.path_and_query().map_or("/", |uri| uri.as_str());
        let mut event = Map::new();
        event.insert("kind".to_owned(), json!("Event"));
        event.insert("apiVersion".to_owned(), json!("audit.k8s.io/v1"));
        event.insert("level".to_owned(), json!(verdict.level.name()));
        event.insert("auditID".to_owned(), json!(id));
        event.insert("requestURI".to_owned(), json!(uri));
        event.insert("verb".to_owned(), json!(info.verb));
        event.insert("user".to_owned(), user.to_value());
        if !sources.is_empty() {
            event.insert("sourceIPs".to_owned(), json!(sources));
        }
        if let Some(agent) = header(USER_AGENT.as_str()) {
            event.insert("userAgent".to_owned(), json!(agent));
        }
        if info.is_resource {
            let mut target = Map::new();
            for (member, value) in [
                ("resource", &info.resource),
                ("namespace", &info.namespace),
                ("name", &info.name),
                ("apiGroup", &info.group),
                ("apiVersion", &info.version),
                ("subresource", &info.subresource),
            ] {
                if !value.is_empty() {
                    target.insert(member.to_owned(), json!(value));
                }
            }
            event.insert("objectRef".to_owned(), Value::Object(target));
        }
        Self {
            verdict,
            received: Timestamp::now(),
            event,
            annotations: Map::new(),
        }
    }

    pub(super) fn wants(&self, stage: Stage) -> bool {
        self.verdict.wants(stage)
    }

    /// Whether the answer's object is to be written down.
    pub fn wants_answer(&self) -> bool {
        self.verdict.level >= Level::RequestResponse
    }

    /// The request is made as somebody else.
    pub fn acts_as(&mut self, user: &UserInfo) {
        self.event.insert("impersonatedUser".to_owned(), user.to_value());
    }

    /// Whether what requests carry is written down.
    pub fn has_details(&self) -> bool {
        self.verdict.level >= Level::Request
    }

    pub fn annotate(&mut self, key: &str, value: &str) {
        self.annotations.insert(key.to_owned(), json!(value));
    }

    /// What the request carries: it tells which object is meant, and is written down where the policy wants that.
    pub fn carries(&mut self, mut object: Value) {
        if let Some(target) = self.event.get_mut("objectRef").and_then(Value::as_object_mut) {
            for member in ["name", "namespace", "uid", "resourceVersion"] {
                let value = object["metadata"][member]
                    .as_str()
                    .filter(|text| !text.is_empty());
                if let (Some(value), false) = (value, target.contains_key(member)) {
                    target.insert(member.to_owned(), json!(value));
                }
            }
        }
        if self.verdict.level >= Level::Request {
            self.strip(&mut object);
            self.event.insert("requestObject".to_owned(), object);
        }
    }

    fn strip(&self, object: &mut Value) {
        if !self.verdict.omit_managed_fields {
            return;
        }
        let strip = |object: &mut Value| {
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("managedFields");
            }
        };
        strip(object);
        for item in object
            .get_mut("items")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            strip(item);
        }
    }

    /// The event of a moment.
    pub(super) fn event(&self, stage: Stage, status: Option<Value>, answer: Option<Value>) -> Value {
        let mut event = self.event.clone();
        event.insert("stage".to_owned(), json!(stage.name()));
        if let Some(status) = status {
            event.insert("responseStatus".to_owned(), status);
        }
        if let Some(mut answer) = answer {
            self.strip(&mut answer);
            event.insert("responseObject".to_owned(), answer);
        }
        event.insert("requestReceivedTimestamp".to_owned(), time(self.received));
        event.insert("stageTimestamp".to_owned(), time(Timestamp::now()));
        if !self.annotations.is_empty() {
            event.insert("annotations".to_owned(), Value::Object(self.annotations.clone()));
        }
        Value::Object(event)
    }
}
