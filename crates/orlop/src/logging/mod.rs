//! The process's log: one line per decision that changes something, on standard error.
mod json;

use crate::cli::{LogArgs, LogFormat};
use std::sync::OnceLock;
use tracing_subscriber::{EnvFilter, fmt};

/// What the lines of this process look like, once that is known.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Says what a person at the terminal has to know: in words, or as a line of the log where programs read it.
pub fn tell(text: &str) {
    match FORMAT.get() {
        Some(LogFormat::Json | LogFormat::Etcd) => tracing::warn!("{text}"),
        _ => eprintln!("orlop: {text}"),
    }
}

/// The same of why the process ends.
pub fn tell_failure(text: &str) {
    match FORMAT.get() {
        Some(LogFormat::Json | LogFormat::Etcd) => tracing::error!("{text}"),
        _ => eprintln!("orlop: {text}"),
    }
}

/// Sets the log up for upstream's `-v` levels; `ORLOP_LOG` overrides with a filter of its own.
pub fn init(log: &LogArgs) {
    let level = match log.verbosity {
        0 => "warn",
        1..=3 => "info",
        4..=5 => "debug",
        _ => "trace",
    };
    // What lies below our own crates speaks up only when asked, or when something is wrong. What becomes of a request, whoever
    // made it says.
    let default = format!(
        "warn,orlop={level},orlop_api={level},orlop_apiserver={level},orlop_client={level},\
         orlop_controllers={level},orlop_cri={level},orlop_etcd={level},orlop_kubelet={level},orlop_pki={level},\
         orlop_scheduler={level},orlop_store={level},kube_client::client=off"
    );
    let filter = EnvFilter::try_from_env("ORLOP_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A line that cannot be written is lost; to say so on standard error would fail, too, and end who logs.
    let lines = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let _ = FORMAT.set(log.logging_format);
    // A second start in one process (tests) keeps the first log.
    let _ = match log.logging_format {
        LogFormat::Text => lines.with_ansi(ansi).try_init(),
        LogFormat::Json => lines.event_format(json::Json::Kubernetes).try_init(),
        LogFormat::Etcd => lines.event_format(json::Json::Etcd).try_init(),
    };
}
