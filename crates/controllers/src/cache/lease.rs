//! Leases: the heartbeats of nodes, and who leads.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use orlop_client::informer::{Lean, Projection};

/// What is remembered of a Lease.
#[derive(Debug, Clone)]
pub struct LeaseView {
    /// spec.renewTime.
    pub renewed: Option<Timestamp>,
}

impl Projection for LeaseView {
    type Object = Lean<Lease>;

    fn project(Lean(lease): Lean<Lease>) -> Self {
        Self {
            renewed: lease.spec.and_then(|spec| spec.renew_time).map(|time| time.0),
        }
    }
}
