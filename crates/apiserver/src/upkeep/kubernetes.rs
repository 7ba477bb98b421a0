//! The Service `default/kubernetes` and its endpoints: programs in pods find the API by them, so they are put right
//! whoever changes or deletes them.
use crate::{ApiServer, bootstrap};
use std::sync::Arc;

pub const KINDS: &[(&str, &str)] = &[
    ("", "services"),
    ("", "endpoints"),
    ("discovery.k8s.io", "endpointslices"),
    ("networking.k8s.io", "servicecidrs"),
];

pub async fn restore(server: Arc<ApiServer>) -> bool {
    if bootstrap::service_corrections(&server).is_empty() {
        return true;
    }
    // Another server may have written it that knows more of who serves.
    if server.masters.look_again(&*server.store).await.is_err() {
        return false;
    }
    bootstrap::restore_service(&server).await.is_ok()
}
