//! One authorized request, and what is said about it on its way.
use super::Upload;
use crate::ApiServer;
use crate::authn::UserInfo;
use crate::request::{Output, Query, RequestInfo};
use crate::resources::Resource;
use bytes::Bytes;
use http::{HeaderMap, Method};
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// One authorized request for a resource.
pub(crate) struct Call {
    pub server: Arc<ApiServer>,
    pub user: Arc<UserInfo>,
    pub info: RequestInfo,
    pub resource: &'static Resource,
    pub method: Method,
    pub headers: HeaderMap,
    pub query: Query,
    pub output: Output,
    pub body: Bytes,
    /// The body of a request that is carried on to somebody else, who reads it.
    pub passed: Mutex<Upload>,
    /// When whoever asked waits no longer; none for what takes as long as it takes.
    pub until: Option<Instant>,
    /// The connection itself, for calls that switch protocols.
    pub upgrade: Mutex<Option<OnUpgrade>>,
    pub(super) warnings: Mutex<Vec<String>>,
    pub(super) annotations: Mutex<Vec<Annotation>>,
}

impl Call {
    /// The same call about another resource: a subresource that writes elsewhere.
    pub fn with_resource(&self, resource: &'static Resource) -> Self {
        Self {
            server: self.server.clone(),
            user: self.user.clone(),
            info: self.info.clone(),
            resource,
            method: self.method.clone(),
            headers: self.headers.clone(),
            query: self.query.clone(),
            output: self.output,
            body: self.body.clone(),
            passed: Mutex::default(),
            until: self.until,
            upgrade: Mutex::new(None),
            warnings: Mutex::new(Vec::new()),
            annotations: Mutex::new(Vec::new()),
        }
    }

    /// Adds to the request's event in the audit log.
    pub fn annotate(&self, key: String, value: String) {
        self.annotations.lock().push(Annotation {
            key,
            value,
            is_detail: false,
        });
    }

    /// The same where the log has what requests carry.
    pub fn annotate_detail(&self, key: String, value: String) {
        self.annotations.lock().push(Annotation {
            key,
            value,
            is_detail: true,
        });
    }

    /// Tells the caller something although the request goes on.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }
}

/// What is added to a request's event in the audit log.
pub(super) struct Annotation {
    pub key: String,
    pub value: String,
    /// Only where the log has what requests carry.
    pub is_detail: bool,
}
