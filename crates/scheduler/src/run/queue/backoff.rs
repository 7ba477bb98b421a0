//! Pauses after failed attempts.

use std::time::Duration;

/// From the first pause to the longest, doubling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) min: Duration,
    pub(super) max: Duration,
}

impl Backoff {
    /// The pause after so many attempts.
    pub(super) fn after(self, attempts: u32) -> Duration {
        self.min
            .saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1).min(16)))
            .min(self.max)
    }
}
