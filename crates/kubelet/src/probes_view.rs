//! What the pods want to know of probes; the probing itself is in [`crate::probes`].

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// Decides whether a container is restarted.
    Liveness,
    /// Decides whether a pod gets traffic.
    Readiness,
    /// Holds back the others until the container is up.
    Startup,
}

/// A probe's verdict on one container, when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeNews {
    /// Which container, by the runtime's id.
    pub container_id: String,
    /// Which probe.
    pub kind: ProbeKind,
    /// Its verdict.
    pub success: bool,
}

/// What probes say of one container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeView {
    /// The startup probe has succeeded; `None` while it has not decided.
    pub started: Option<bool>,
    /// The liveness probe has failed.
    pub liveness_failed: bool,
    /// The startup probe has failed for good.
    pub startup_failed: bool,
    /// What the readiness probe says; `None` while it has not decided.
    pub ready: Option<bool>,
}

impl ProbeView {
    /// Takes a verdict in.
    pub fn take(&mut self, news: &ProbeNews) {
        match news.kind {
            ProbeKind::Startup => {
                self.started = Some(news.success);
                self.startup_failed = !news.success;
            }
            ProbeKind::Liveness => self.liveness_failed = !news.success,
            ProbeKind::Readiness => self.ready = Some(news.success),
        }
    }
}
