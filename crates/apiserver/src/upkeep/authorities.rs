//! Tells extension servers, in their ConfigMap, of the authorities of client certificates whenever others count, and when
//! somebody has changed what they are told.
use super::RETRY_PAUSE;
use crate::{ApiServer, bootstrap};
use std::sync::Weak;
use std::time::Duration;
use tokio::sync::watch;

/// Pause before what somebody has changed is put right. Servers of other versions may take away what they don't know.
const TURN_PAUSE: Duration = Duration::from_secs(1);

pub async fn follow(server: Weak<ApiServer>) {
    let own = server.upgrade();
    let Some(mut changed) = own.and_then(|own| own.cache.changes_of("", "configmaps")) else {
        return;
    };
    loop {
        let Some(own) = server.upgrade() else { return };
        let proxies = own.front_proxy.iter().map(|proxy| &proxy.ca);
        let trusted = own.client_ca.iter().chain(proxies);
        // Listened to before they are told of, so that nothing is missed in between.
        let replaced: Vec<_> = trusted.map(|trusted| Box::pin(trusted.replaced())).collect();
        if replaced.is_empty() {
            return;
        }
        changed.borrow_and_update();
        // Before telling: what another writes right after must not pass for what is known.
        let seen = revision(&own);
        let told = bootstrap::tell_authorities(&own).await;
        if let Err(error) = &told {
            tracing::warn!(%error, "extension servers are not told yet who signs client certificates");
        }
        let shutdown = own.shutdown.clone();
        drop(own);
        tokio::select! {
            _ = futures::future::select_all(replaced) => {}
            () = is_another(&mut changed, &server, seen) => tokio::time::sleep(TURN_PAUSE).await,
            () = tokio::time::sleep(RETRY_PAUSE), if told.is_err() => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Of the ConfigMap, if it is there.
fn revision(server: &ApiServer) -> Option<u64> {
    bootstrap::told_now(server).map(|stored| stored.revision)
}

/// Returns when the ConfigMap is another one than was seen; most ConfigMaps that change are others.
async fn is_another(changed: &mut watch::Receiver<u64>, server: &Weak<ApiServer>, seen: Option<u64>) {
    loop {
        let is_another = server.upgrade().is_none_or(|own| revision(&own) != seen);
        if is_another || changed.changed().await.is_err() {
            return;
        }
    }
}
