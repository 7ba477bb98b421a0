//! What is wrong with a manifest.

/// A manifest that cannot be used, for the log and the Node's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file or URL.
    pub manifest: String,
    /// What is wrong, with line and field path where known.
    pub reason: String,
    /// The pod of an earlier version runs on.
    pub keeps_running: bool,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "manifest {}: {}", self.manifest, self.reason)?;
        if self.keeps_running {
            write!(f, " (the pod of the last good version keeps running)")?;
        }
        Ok(())
    }
}

/// Whether what is wrong is something else than what was `told` last; then it counts as told.
pub(super) fn is_news(told: &mut Option<String>, reason: &str) -> bool {
    let is_news = told.as_deref() != Some(reason);
    if is_news {
        *told = Some(reason.to_owned());
    }
    is_news
}
