//! Which servers the Service `kubernetes` leads to. Servers that share a store each keep a key under
//! `/registry/masterleases` alive, as upstream's do, and all write the addresses they find there: a server that died is
//! left out within [`TTL_SECONDS`]. A server with a store of its own is the only one and writes nothing for it.
use super::RETRY_PAUSE;
use crate::ApiServer;
use crate::resources::{self, ROOT};
use crate::{bootstrap, encode};
use orlop_store::{LeaseId, Op, RangeRequest, Revision, Store, StoreError, Txn, WatchRequest};
use parking_lot::RwLock;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Weak;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a server counts that says nothing.
const TTL_SECONDS: u64 = 15;
/// How often a server says that it lives.
const RENEWAL: Duration = Duration::from_secs(5);

/// How the addresses are found that clients reach this API on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointReconciler {
    /// This server's.
    #[default]
    Alone,
    /// Those of all servers on the store (`--endpoint-reconciler-type=lease`).
    Lease,
    /// Somebody else sees to it.
    None,
}

/// The addresses that the endpoints of `kubernetes` name.
pub struct Masters {
    kind: EndpointReconciler,
    addresses: RwLock<BTreeSet<IpAddr>>,
}

impl Masters {
    /// `advertise`: where this server is reached. Endpoints may not be of this machine alone, so a server that is only
    /// reached from here has none.
    pub fn new(kind: EndpointReconciler, advertise: SocketAddr) -> Self {
        let ip = advertise.ip();
        let only_here = ip.is_loopback() || ip.is_unspecified();
        let kind = if only_here { EndpointReconciler::None } else { kind };
        let alone = kind == EndpointReconciler::Alone;
        Self {
            kind,
            addresses: RwLock::new(alone.then_some(ip).into_iter().collect()),
        }
    }

    /// Asks the store who serves, if that is known of there: its watch may be late.
    pub async fn look_again(&self, store: &dyn Store) -> Result<(), StoreError> {
        let is_announced = self.kind == EndpointReconciler::Lease && !self.addresses.read().is_empty();
        match is_announced {
            true => self.look(store).await,
            false => Ok(()),
        }
    }

    async fn look(&self, store: &dyn Store) -> Result<(), StoreError> {
        let found = store.range(RangeRequest::prefix(prefix().as_str())).await?;
        *self.addresses.write() = addresses(found.kvs.iter().map(|kv| &*kv.key));
        Ok(())
    }

    /// In order; none if the endpoints are left alone.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.read().iter().copied().collect()
    }
}

fn prefix() -> String {
    format!("{ROOT}masterleases/")
}

/// Keeps this server's key alive and follows the others', until the server ends.
pub async fn follow(server: Weak<ApiServer>) {
    let Some((shutdown, kind)) = server
        .upgrade()
        .map(|server| (server.leaving.clone(), server.masters.kind))
    else {
        return;
    };
    if kind != EndpointReconciler::Lease {
        return;
    }
    let mut lease = None;
    loop {
        if let Err(error) = round(&server, &mut lease, &shutdown).await {
            tracing::warn!(%error, "this server's place among the API servers could not be kept; it is tried again");
        }
        if shutdown.is_cancelled() || server.strong_count() == 0 {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY_PAUSE) => {}
            () = shutdown.cancelled() => {}
        }
    }
    // Clients are sent elsewhere at once.
    if let (Some(lease), Some(server)) = (lease, server.upgrade())
        && let Err(error) = server.store.lease_revoke(lease).await
    {
        tracing::debug!(%error, "this server's place among the API servers ends by itself");
    }
}

/// Announces the server, then renews and follows until something fails.
async fn round(
    server: &Weak<ApiServer>,
    lease: &mut Option<LeaseId>,
    shutdown: &CancellationToken,
) -> Result<(), StoreError> {
    let Some((store, address)) = server
        .upgrade()
        .map(|server| (server.store.clone(), server.advertise().ip()))
    else {
        return Ok(());
    };
    let granted = store.lease_grant(TTL_SECONDS).await?;
    *lease = Some(granted);
    let key = format!("{}{address}", prefix());
    let put = Op::put(key.as_str(), announcement(address), Some(granted));
    let written = store.txn(Txn::default().then(put)).await?;
    let mut changes = store
        .watch(WatchRequest::prefix(
            prefix().as_str(),
            Some(Revision(written.revision.0 + 1)),
        ))
        .await?;
    let mut renewal = tokio::time::interval(RENEWAL);
    renewal.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stale = true;
    loop {
        if stale {
            let Some(server) = server.upgrade() else {
                return Ok(());
            };
            server.masters.look(&*store).await?;
            bootstrap::restore_service(&server).await?;
            stale = false;
        }
        tokio::select! {
            _ = renewal.tick() => {
                store.lease_keep_alive(granted).await?;
            }
            batch = changes.recv() => match batch {
                Some(batch) => stale = !batch?.events.is_empty(),
                None => return Ok(()),
            },
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// The addresses that keys name. Pure.
fn addresses<'k>(keys: impl Iterator<Item = &'k [u8]>) -> BTreeSet<IpAddr> {
    let prefix = prefix();
    keys.filter_map(|key| {
        std::str::from_utf8(key)
            .ok()?
            .strip_prefix(&*prefix)?
            .parse()
            .ok()
    })
    .collect()
}

/// What upstream's servers keep there: Endpoints with the address.
fn announcement(address: IpAddr) -> bytes::Bytes {
    let object = json!({
        "kind": "Endpoints",
        "apiVersion": "v1",
        "metadata": {},
        "subsets": [{"addresses": [{"ip": address}]}],
    });
    match resources::find("", "v1", "endpoints") {
        Some(resource) => encode::stored(resource, &object),
        None => object.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_other_servers_and_foreign_keys() {
        let keys = [
            "/registry/masterleases/10.0.0.2",
            "/registry/masterleases/10.0.0.1",
            "/registry/masterleases/fd00::1",
            "/registry/masterleases/host",
            "/registry/other/10.0.0.3",
        ];
        let found = addresses(keys.iter().map(|key| key.as_bytes()));
        let found: Vec<String> = found.iter().map(IpAddr::to_string).collect();
        assert_eq!(found, ["10.0.0.1", "10.0.0.2", "fd00::1"]);
    }

    #[test]
    fn a_server_that_is_only_reached_from_here_names_no_address() {
        let alone = |address: &str| {
            Masters::new(EndpointReconciler::Alone, address.parse().unwrap())
                .addresses()
                .len()
        };
        assert_eq!(alone("127.0.0.1:6443"), 0);
        assert_eq!(alone("0.0.0.0:6443"), 0);
        assert_eq!(alone("10.0.0.1:6443"), 1);
        let leased = Masters::new(EndpointReconciler::Lease, "10.0.0.1:6443".parse().unwrap());
        assert!(leased.addresses().is_empty(), "not before it is announced");
    }
}
