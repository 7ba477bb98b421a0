//! Whether a part has read once what it needs to know of the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by a part and who answers its probes. A part that has not begun, because another copy of it leads, is ready to.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    reading: Arc<AtomicBool>,
}

impl Readiness {
    /// The part begins to read.
    pub fn reading(&self) {
        self.reading.store(true, Ordering::Relaxed);
    }

    /// It has read all.
    pub fn read(&self) {
        self.reading.store(false, Ordering::Relaxed);
    }

    /// Whether nothing has to be waited for.
    pub fn is_ready(&self) -> bool {
        !self.reading.load(Ordering::Relaxed)
    }
}
