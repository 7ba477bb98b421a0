//! Flags of the API server's audit log, under upstream's names.
use anyhow::{Context, Result, bail};
use clap::Args;
use orlop_apiserver::{AuditConfig, AuditLog};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Policy of audit.k8s.io/v1: what is written down of which requests.
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// Where events are written, a line each; `-` for standard output.
    #[arg(long, value_name = "FILE", requires = "audit_policy_file")]
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
