//! Flags of what the API server tells about requests, under upstream's names: the audit log, and spans.
use anyhow::{Context, Result, bail};
use clap::Args;
use orlop_apiserver::{AuditConfig, AuditLog, TracesConfig};
use std::path::PathBuf;

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
        let Some((policy, log)) = self.audit_policy_file.as_ref().zip(self.audit_log_path.as_ref()) else {
            return Ok(None);
        };
        let text =
            std::fs::read_to_string(policy).with_context(|| format!("cannot read {}", policy.display()))?;
        Ok(Some(AuditConfig {
            policy: text,
            log: AuditLog {
                path: log.clone(),
                age_days: self.audit_log_maxage,
                backups: self.audit_log_maxbackup,
                size_megabytes: self.audit_log_maxsize,
            },
        }))
    }
}
