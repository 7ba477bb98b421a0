//! Who did what: an event for every request that the policy names (contract §20).
mod event;
mod log;
mod policy;
mod webhook;

pub use event::Record;
pub use log::AuditLog;
pub use policy::{PolicyError, Stage};
pub use webhook::{AuditWebhook, Batches, Rate, Sending};

use crate::authn::UserInfo;
use crate::metrics::AuditMetrics;
use crate::outbound::RemoteError;
use crate::request::RequestInfo;
use crate::status::ApiError;
use http::request::Parts;
use log::Writer;
use policy::{Level, Policy};
use std::net::IpAddr;
use std::time::Duration;

/// How long the last events may take to reach the log.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(5);

/// What is written down, and where.
pub struct AuditConfig {
    /// A Policy of audit.k8s.io/v1, YAML.
    pub policy: String,
    /// A file of lines.
    pub log: Option<AuditLog>,
    /// Somebody who is sent lists of them.
    pub webhook: Option<AuditWebhook>,
}

/// The audit log cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("the audit log {path} cannot be opened: {source}")]
    Log { path: String, source: std::io::Error },
    #[error("the audit webhook: {0}")]
    Webhook(#[from] RemoteError),
}

/// Keeps the audit log.
pub struct Audit {
    policy: Policy,
    writer: Option<Writer>,
    sender: Option<webhook::Sender>,
    metrics: AuditMetrics,
}

impl Audit {
    pub fn new(config: AuditConfig, metrics: AuditMetrics) -> Result<Self, AuditError> {
        let policy = Policy::parse(&config.policy)?;
        let open = |log: AuditLog| {
            let path = log.path.display().to_string();
            Writer::open(log).map_err(|source| AuditError::Log { path, source })
        };
        Ok(Self {
            policy,
            writer: config.log.map(open).transpose()?,
            sender: config.webhook.map(webhook::Sender::new).transpose()?,
            metrics,
        })
    }

    /// Begins the record of a request, if the policy wants one.
    ///
    /// # Errors
    /// Nobody took note of it, and without that it is not to be carried out.
    pub async fn begin(
        &self,
        id: &str,
        user: &UserInfo,
        info: &RequestInfo,
        parts: &Parts,
        source: Option<IpAddr>,
    ) -> Result<Option<Record>, ApiError> {
        let verdict = self.policy.judge(user, info);
        self.metrics.judged(verdict.level.name());
        if verdict.level == Level::None {
            return Ok(None);
        }
        let record = Record::new(id, verdict, user, info, parts, source);
        if self.write(&record, Stage::RequestReceived, None, None).await {
            return Ok(Some(record));
        }
        self.metrics.rejected();
        Err(ApiError::internal("failed to store audit event"))
    }

    /// What is still on its way to the log or a webhook goes out.
    pub async fn stop(&self) {
        if let Some(writer) = &self.writer
            && tokio::time::timeout(SETTLE_TIME_MAX, writer.settle())
                .await
                .is_err()
        {
            tracing::error!(
                "the audit log takes no more events: some of the last ones may be missing from it"
            );
        }
        if let Some(sender) = &self.sender {
            sender.stop().await;
        }
    }

    /// Writes down a moment of a request, if the policy wants it. Whether the request may go on.
    pub async fn write(
        &self,
        record: &Record,
        stage: Stage,
        status: Option<serde_json::Value>,
        object: Option<serde_json::Value>,
    ) -> bool {
        if !record.wants(stage) {
            return true;
        }
        self.metrics.written();
        let event = record.event(stage, status, object).to_string();
        let taken = match &self.sender {
            Some(sender) => sender.take(&event).await,
            None => true,
        };
        if let Some(writer) = &self.writer {
            writer.write(event).await;
        }
        taken
    }
}
