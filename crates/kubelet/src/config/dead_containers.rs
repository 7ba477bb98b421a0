//! How much is kept of containers that have ended. Upstream has no field for it, only flags.
use std::time::Duration;

/// Records of ended containers that stay with their logs. The newest record of a container stays whatever is said here: by it
/// the agent knows what has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadContainers {
    /// Of each container (`--maximum-dead-containers-per-container`); `None`: all.
    pub of_each: Option<usize>,
    /// On the node (`--maximum-dead-containers`); `None`: no matter how many.
    pub in_all: Option<usize>,
    /// Younger ones stay in any case (`--minimum-container-ttl-duration`).
    pub age_min: Duration,
}

impl DeadContainers {
    /// As the flags say it: what is below zero is no limit.
    pub fn of_flags(of_each: i32, in_all: i32, age_min: Duration) -> Self {
        Self {
            of_each: usize::try_from(of_each).ok(),
            in_all: usize::try_from(in_all).ok(),
            age_min,
        }
    }

    /// Runs of each container whose logs stay: the current one, and those before it that can be asked about.
    pub fn runs(&self) -> usize {
        self.of_each
            .map_or(usize::MAX, |each| each.max(1).saturating_add(1))
    }
}

impl Default for DeadContainers {
    fn default() -> Self {
        Self::of_flags(1, -1, Duration::ZERO)
    }
}
