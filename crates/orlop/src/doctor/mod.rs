//! Whether this machine can run a node: [`facts`] looks, [`diagnose`] says what is in the way and how to mend it.
mod diagnose;
mod facts;

pub use diagnose::{Finding, Health, diagnose};
pub use facts::{Ask, Facts};

use crate::paths::Root;

/// Writes what is in the way into the log, as a node starts.
pub async fn warn_at_start(root: &Root, ask: Ask<'_>) {
    let facts = Facts::gather(root, ask).await;
    for finding in diagnose(&facts) {
        if finding.health != Health::Good {
            tracing::warn!(what = finding.what, mend = finding.mend, "{}", finding.text);
        }
    }
}
