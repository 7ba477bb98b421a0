//! The lease under which a client waits: its own, or one that is granted and renewed while it waits.
use super::errors;
use orlop_store::embedded::EmbeddedStore;
use orlop_store::{LeaseId, Store};
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// Seconds that a lease lives on when its client has got what it waited for; etcd's own.
const TTL_SECONDS: u64 = 60;
/// How often it is renewed meanwhile.
const RENEWAL: Duration = Duration::from_secs(TTL_SECONDS / 3);

pub struct Session {
    pub lease: LeaseId,
    renewing: Option<tokio::task::JoinHandle<()>>,
}

impl Session {
    /// With the client's lease, or one of its own if that is 0.
    pub async fn new(store: &Arc<EmbeddedStore>, lease: i64) -> Result<Self, Status> {
        if lease != 0 {
            return Ok(Self {
                lease: LeaseId(lease),
                renewing: None,
            });
        }
        let lease = store.lease_grant(TTL_SECONDS).await.map_err(errors::status)?;
        let store = store.clone();
        let renewing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEWAL).await;
                if store.lease_keep_alive(lease).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            lease,
            renewing: Some(renewing),
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(renewing) = &self.renewing {
            renewing.abort();
        }
    }
}
