//! Flags of what the API server tells about requests, under upstream's names: the audit log, and spans.
use super::parts::go_duration;
use anyhow::{Context, Result, bail};
use clap::Args;
use orlop_apiserver::{AuditConfig, AuditLog, AuditWebhook, Batches, Rate, Sending, TracesConfig};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Policy of audit.k8s.io/v1: what is written down of which requests.
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// Where events are written, a line each; `-` for standard output. None are without a policy.
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// Days that old files are kept; 0 for ever.
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    pub audit_log_maxage: u64,
    /// Old files that are kept; 0 for all.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub audit_log_maxbackup: usize,
    /// Size at which the file begins anew; 0 for 100.
    #[arg(long, value_name = "MEGABYTES", default_value_t = 0)]
    pub audit_log_maxsize: u64,
    /// Form of events.
    #[arg(long, value_name = "FORM", default_value = "json")]
    pub audit_log_format: String,
    /// Kubeconfig of a server that events are sent to. None are without a policy.
    #[arg(long, value_name = "FILE")]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// When they are sent: many at once, or each before its request goes on; strictly, a request whose receipt is not taken
    /// is refused.
    #[arg(long, value_name = "MODE", default_value = "batch",
          value_parser = ["batch", "blocking", "blocking-strict"])]
    pub audit_webhook_mode: String,
    /// Events that may wait to be sent.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    pub audit_webhook_batch_buffer_size: usize,
    /// Events that are sent at once.
    #[arg(long, value_name = "COUNT", default_value_t = 400)]
    pub audit_webhook_batch_max_size: usize,
    /// How long is waited for so many.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = go_duration)]
    pub audit_webhook_batch_max_wait: Duration,
    /// Keep a rate.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub audit_webhook_batch_throttle_enable: bool,
    /// Batches a second.
    #[arg(long, value_name = "RATE", default_value_t = 10.0)]
    pub audit_webhook_batch_throttle_qps: f64,
    /// Batches at once after a quiet time.
    #[arg(long, value_name = "COUNT", default_value_t = 15)]
    pub audit_webhook_batch_throttle_burst: u32,
    /// Pause before a batch is sent again that was not taken.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = go_duration)]
    pub audit_webhook_initial_backoff: Duration,
}

#[derive(Debug, Args)]
pub struct TracingArgs {
    /// TracingConfiguration of apiserver.config.k8s.io/v1: which requests OpenTelemetry spans are made of, and where
    /// these go.
    #[arg(long, value_name = "FILE")]
    pub tracing_config_file: Option<PathBuf>,
}

impl TracingArgs {
    pub fn config(&self) -> Result<Option<TracesConfig>> {
        let Some(path) = &self.tracing_config_file else {
            return Ok(None);
        };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let config = TracesConfig::parse(&text).with_context(|| path.display().to_string())?;
        Ok(Some(config))
    }
}

impl AuditArgs {
    pub fn config(&self) -> Result<Option<AuditConfig>> {
        if self.audit_log_format != "json" {
            bail!(
                "--audit-log-format {:?}: events are written as json only",
                self.audit_log_format
            );
        }
        let (log, webhook) = (self.log(), self.webhook());
        let Some(policy) = self.audit_policy_file.as_ref() else {
            return Ok(None);
        };
        if log.is_none() && webhook.is_none() {
            return Ok(None);
        }
        let text =
            std::fs::read_to_string(policy).with_context(|| format!("cannot read {}", policy.display()))?;
        Ok(Some(AuditConfig {
            policy: text,
            log,
            webhook,
        }))
    }

    fn log(&self) -> Option<AuditLog> {
        Some(AuditLog {
            path: self.audit_log_path.clone()?,
            age_days: self.audit_log_maxage,
            backups: self.audit_log_maxbackup,
            size_megabytes: self.audit_log_maxsize,
        })
    }

    fn webhook(&self) -> Option<AuditWebhook> {
        let rate = Rate {
            per_second: self.audit_webhook_batch_throttle_qps,
            burst: self.audit_webhook_batch_throttle_burst,
        };
        let batches = Batches {
            waiting_max: self.audit_webhook_batch_buffer_size,
            size_max: self.audit_webhook_batch_max_size,
            time_max: self.audit_webhook_batch_max_wait,
            rate: self.audit_webhook_batch_throttle_enable.then_some(rate),
        };
        Some(AuditWebhook {
            kubeconfig: self.audit_webhook_config_file.clone()?,
            sending: match self.audit_webhook_mode.as_str() {
                "batch" => Sending::Batches(batches),
                mode => Sending::Blocking {
                    strict: mode == "blocking-strict",
                },
            },
            first_pause: self.audit_webhook_initial_backoff,
        })
    }
}
