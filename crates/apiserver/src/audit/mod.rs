//! Who did what: an event for every request that the policy names (contract §20).
mod event;
mod log;
mod policy;

pub use event::Record;
pub use log::AuditLog;
pub use policy::{PolicyError, Stage};

use crate::authn::UserInfo;
use crate::metrics::AuditMetrics;
use crate::request::RequestInfo;
use http::request::Parts;
use log::Writer;
use policy::{Level, Policy};
use std::net::IpAddr;

/// What is written down, and where.
pub struct AuditConfig {
    /// A Policy of audit.k8s.io/v1, YAML.
    pub policy: String,
    pub log: AuditLog,
}

/// The audit log cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("the audit log {path} cannot be opened: {source}")]
    Log { path: String, source: std::io::Error },
}

/// Keeps the audit log.
pub struct Audit {
    policy: Policy,
    writer: Writer,
    metrics: AuditMetrics,
}

impl Audit {
    pub fn new(config: AuditConfig, metrics: AuditMetrics) -> Result<Self, AuditError> {
        let policy = Policy::parse(&config.policy)?;
        let path = config.log.path.display().to_string();
        let writer = Writer::open(config.log).map_err(|source| AuditError::Log { path, source })?;
        Ok(Self {
            policy,
            writer,
            metrics,
        })
    }

    /// Begins the record of a request, if the policy wants one.
    pub async fn begin(
        &self,
        id: &str,
        user: &UserInfo,
        info: &RequestInfo,
        parts: &Parts,
        source: Option<IpAddr>,
    ) -> Option<Record> {
        let verdict = self.policy.judge(user, info);
        self.metrics.judged(verdict.level.name());
        if verdict.level == Level::None {
            return None;
        }
        let record = Record::new(id, verdict, user, info, parts, source);
        self.write(&record, Stage::RequestReceived, None, None).await;
        Some(record)
    }

    /// Writes down a moment of a request, if the policy wants it.
    pub async fn write(
        &self,
        record: &Record,
        stage: Stage,
        status: Option<serde_json::Value>,
        object: Option<serde_json::Value>,
    ) {
        if record.wants(stage) {
            self.metrics.written();
            self.writer
                .write(record.event(stage, status, object).to_string())
                .await;
        }
    }
}
