//! The Lease by which others know that this server is there, and the end of those of servers that are gone for long.
use super::{RETRY_PAUSE, own_call};
use crate::ApiServer;
use crate::registry::microseconds;
use crate::resources;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::{Arc, Weak};
use std::time::Duration;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const NAMESPACE: &str = "kube-system";
const LABEL: &str = "apiserver.kubernetes.io/identity";
const LABELLED: &str = "kube-apiserver";
/// How long a server is believed to be there that is not heard of (upstream's time).
const DURATION_SECONDS: i64 = 3600;
/// Between two renewals. Each is a write to the disk: several may fail before anybody believes that the server is gone,
/// and no more are made than that takes.
const RENEWAL: Duration = Duration::from_secs(600);

/// As whom a server holds its Lease.
#[derive(Debug)]
pub struct Identity {
    hostname: String,
    /// Of the Lease.
    name: String,
    /// This run of the server.
    holder: String,
}

impl Identity {
    /// One server a machine.
    pub fn of_host(hostname: &str) -> Self {
        let digest = Sha256::digest(hostname.as_bytes());
        let name = format!("apiserver-{}", base32(&digest[..16]));
        Self {
            hostname: hostname.to_owned(),
            holder: format!("{name}_{}", uuid::Uuid::new_v4()),
            name,
        }
    }

    fn lease(&self, now: &str) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": NAMESPACE,
                "labels": {LABEL: LABELLED, "kubernetes.io/hostname": self.hostname}},
            "spec": {"holderIdentity": self.holder, "leaseDurationSeconds": DURATION_SECONDS, "renewTime": now},
        })
    }
}

/// In small letters, without padding (RFC 4648).
fn base32(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |place: usize| bytes.get(place / 8).map_or(0, |byte| byte >> (7 - place % 8) & 1);
    let digits = (0..8 * bytes.len()).step_by(5).map(|first| {
        let digit = (first..first + 5).fold(0, |digit, place| digit << 1 | bit(place));
        char::from(DIGITS[usize::from(digit)])
    });
    digits.collect()
}

/// Holds the Lease until the server ends. It is left behind then: who comes back soon was never away.
pub async fn follow(server: Weak<ApiServer>) {
    loop {
        let Some(own) = server.upgrade() else { return };
        let Some(identity) = &own.identity else { return };
        let is_held = renew(&own, identity).await;
        if !is_held {
            tracing::warn!(
                name = identity.name,
                "the Lease of this server could not be renewed; it is tried again"
            );
        }
        forget_gone(&own).await;
        let shutdown = own.shutdown.clone();
        drop(own);
        // Nothing happens that would tell of time.
        tokio::select! {
            () = tokio::time::sleep(if is_held { RENEWAL } else { RETRY_PAUSE }) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn renew(server: &Arc<ApiServer>, identity: &Identity) -> bool {
    let lease = identity.lease(&microseconds(Timestamp::now()));
    let path = format!("{LEASES}/{}", identity.name);
    let code = own_call(server, Method::PATCH, &path, lease.clone()).await;
    if code != StatusCode::NOT_FOUND {
        return code.is_success();
    }
    own_call(server, Method::POST, LEASES, lease).await.is_success()
}

/// Deletes the Leases that nobody has renewed in time.
async fn forget_gone(server: &Arc<ApiServer>) {
    let kind = resources::find("coordination.k8s.io", "v1", "leases");
    let Some(storage) = kind.and_then(|kind| server.cache.storage(kind)) else {
        return;
    };
    let all = server.cache.snapshot(storage, NAMESPACE).objects;
    for lease in all.iter().filter(|lease| lease.label(LABEL) == Some(LABELLED)) {
        let lease = lease.value();
        if !has_expired(&lease, Timestamp::now()) {
            continue;
        }
        let name = lease["metadata"]["name"].as_str().unwrap_or_default();
        // One that is renewed meanwhile stays.
        let options = json!({"preconditions": {
            "uid": lease["metadata"]["uid"], "resourceVersion": lease["metadata"]["resourceVersion"]}});
        let code = own_call(server, Method::DELETE, &format!("{LEASES}/{name}"), options).await;
        tracing::info!(name, %code, "the Lease of a server that is gone is deleted");
    }
}

/// Whether nobody has renewed a Lease in time, or it doesn't say.
fn has_expired(lease: &Value, now: Timestamp) -> bool {
    let spec = &lease["spec"];
    let renewed: Option<Timestamp> = spec["renewTime"].as_str().and_then(|time| time.parse().ok());
    let (Some(renewed), Some(seconds)) = (renewed, spec["leaseDurationSeconds"].as_i64()) else {
        return true;
    };
    renewed.as_second().saturating_add(seconds) < now.as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_its_machine() {
        let (one, again) = (Identity::of_host("host"), Identity::of_host("host"));
        assert_eq!(one.name, again.name);
        assert_ne!(one.holder, again.holder, "each run is another holder");
        let hash = one.name.strip_prefix("apiserver-").unwrap();
        assert_eq!(hash.len(), 26);
        assert!(hash.chars().all(|c| matches!(c, 'a'..='z' | '2'..='7')));
        assert_ne!(one.name, Identity::of_host("other").name);
        assert_eq!(base32(b"foobar"), "mzxw6ytboi");
    }

    #[test]
    fn a_lease_expires_when_nobody_renews_it() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let lease = |spec: Value| json!({"spec": spec});
        for (spec, expired) in [
            (
                json!({"renewTime": "2026-01-01T11:30:00.000000Z", "leaseDurationSeconds": 3600}),
                false,
            ),
            (
                json!({"renewTime": "2026-01-01T10:59:59.000000Z", "leaseDurationSeconds": 3600}),
                true,
            ),
            (json!({"leaseDurationSeconds": 3600}), true),
            (json!({"renewTime": "2026-01-01T11:30:00.000000Z"}), true),
        ] {
            assert_eq!(has_expired(&lease(spec.clone()), now), expired, "{spec}");
        }
    }
}
