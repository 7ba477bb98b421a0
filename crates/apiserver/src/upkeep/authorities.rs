//! Tells extension servers, in their ConfigMap, of the authorities of client certificates whenever others count.
use super::RETRY_PAUSE;
use crate::{ApiServer, bootstrap};
use std::sync::Weak;

pub async fn follow(server: Weak<ApiServer>) {
    loop {
        let Some(own) = server.upgrade() else { return };
        let proxies = own.front_proxy.iter().map(|proxy| &proxy.ca);
        let trusted = own.client_ca.iter().chain(proxies);
        // Listened to before they are told of, so that nothing is missed in between.
        let replaced: Vec<_> = trusted.map(|trusted| Box::pin(trusted.replaced())).collect();
        if replaced.is_empty() {
            return;
        }
        let told = bootstrap::tell_authorities(&own).await;
        if let Err(error) = &told {
            tracing::warn!(%error, "extension servers are not told yet who signs client certificates");
        }
        let shutdown = own.shutdown.clone();
        drop(own);
        tokio::select! {
            _ = futures::future::select_all(replaced) => {}
            () = tokio::time::sleep(RETRY_PAUSE), if told.is_err() => {}
            () = shutdown.cancelled() => return,
        }
    }
}
