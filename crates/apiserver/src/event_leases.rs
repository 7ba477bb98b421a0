//! Events end by themselves, after an hour unless something else is said. All events of one minute share a lease.
use orlop_store::{LeaseId, Store, StoreError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Shortest life of an event if nothing else is said.
pub const EVENT_TTL: Duration = Duration::from_secs(60 * 60);
/// Events written within this time end together; their lease lives so much longer.
const BUCKET: Duration = Duration::from_secs(60);

/// See the module.
pub struct EventLeases {
    ttl: Duration,
    current: Mutex<Option<(Instant, LeaseId)>>,
}

impl EventLeases {
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            current: Mutex::default(),
        }
    }

    /// The lease of events written now.
    pub async fn current(&self, store: &Arc<dyn Store>) -> Result<LeaseId, StoreError> {
        let mut current = self.current.lock().await;
        if let Some((granted, lease)) = *current
            && granted.elapsed() < BUCKET
        {
            return Ok(lease);
        }
        let lease = store.lease_grant((self.ttl + BUCKET).as_secs()).await?;
        *current = Some((Instant::now(), lease));
        Ok(lease)
    }
}
