//! The node's heartbeat: a Lease renewed every quarter of its duration (contract, node agent §20.3).
use super::Snapshot;
use crate::beat;
use crate::in_time::in_time;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::PostParams;
use std::time::Duration;

const NAMESPACE: &str = "kube-node-lease";
/// Tries in a row before it waits longer than the shortest time.
const TRIES: u32 = 5;
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(7);

/// Renews for ever. The lease is made once the Node is known, so that it is owned by it.
pub async fn run(client: kube::Client, node_name: String, duration_seconds: i32, mut node: Snapshot) {
    let leases: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let period = Duration::from_secs(u64::from(duration_seconds.max(4).unsigned_abs())) / 4;
    let mut known: Option<Lease> = None;
    let mut failed: u32 = 0;
    loop {
        let owner = match node.wait_for(Option::is_some).await {
            Ok(node) => node.as_deref().and_then(owner),
            Err(_) => return,
        };
        let renewal = renew(&leases, &node_name, duration_seconds, owner, known.take());
        // An API server that hangs must not swallow the next renewals.
        let error = match in_time(renewal).await {
            Ok(lease) => {
                if failed > 0 {
                    tracing::info!(node = node_name, "node lease renewed again");
                }
                (known, failed) = (Some(lease), 0);
                beat::next(period).await;
                continue;
            }
            Err(error) => error,
        };
        if failed == 0 {
            tracing::warn!(node = node_name, error, "node lease not renewed, trying again");
        }
        failed += 1;
        let doublings = failed.saturating_sub(TRIES).min(16);
        tokio::time::sleep((RETRY_FIRST * (1 << doublings)).min(RETRY_MAX)).await;
    }
}

fn owner(node: &Node) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.metadata.name.clone()?,
        uid: node.metadata.uid.clone()?,
        ..OwnerReference::default()
    })
}

/// Replaces the lease as last seen; reads or creates it first where that fails.
async fn renew(
    leases: &Api<Lease>,
    node_name: &str,
    duration_seconds: i32,
    owner: Option<OwnerReference>,
    known: Option<Lease>,
) -> Result<Lease, kube::Error> {
    let fill = |mut lease: Lease| {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(node_name.to_owned());
        spec.lease_duration_seconds = Some(duration_seconds);
        spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
        lease.metadata.owner_references = owner.clone().map(|owner| vec![owner]);
        lease
    };
    if let Some(lease) = known {
        match leases
            .replace(node_name, &PostParams::default(), &fill(lease))
            .await
        {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            outcome => return outcome,
        }
    }
    match leases.get_opt(node_name).await? {
        Some(lease) => {
            leases
                .replace(node_name, &PostParams::default(), &fill(lease))
                .await
        }
        None => {
            let metadata = ObjectMeta {
                name: Some(node_name.to_owned()),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            };
            leases
                .create(
                    &PostParams::default(),
                    &fill(Lease {
                        metadata,
                        ..Lease::default()
                    }),
                )
                .await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};
    use std::sync::Arc;
    use tokio::sync::{mpsc, watch};
    use tokio::time::Instant;

    /// N01: it names its holder and says for how long, and is renewed every quarter of that.
    #[tokio::test(start_paused = true)]
    async fn n01_lease_of_forty_seconds_is_made_once_and_renewed_every_ten() {
        let (told, mut written) = mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let told = told.clone();
            async move {
                let method = request.method().to_string();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let answer = if method == "GET" {
                    let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                        "message": "none yet", "reason": "NotFound", "code": 404});
                    let body = Full::new(bytes::Bytes::from(status.to_string()));
                    let mut answer = http::Response::new(body);
                    *answer.status_mut() = http::StatusCode::NOT_FOUND;
                    answer
                } else {
                    let lease: Lease = serde_json::from_slice(&body).unwrap();
                    told.send((method, Instant::now(), lease)).unwrap();
                    http::Response::new(Full::new(body))
                };
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        let node = serde_json::json!({"metadata": {"name": "n1", "uid": "u"}});
        let node: Node = serde_json::from_value(node).unwrap();
        let (_node, snapshot) = watch::channel(Some(Arc::new(node)));
        let client = kube::Client::new(service, "default");
        tokio::spawn(run(client, "n1".into(), 40, snapshot));
        let mut methods = Vec::new();
        let mut times = Vec::new();
        for _ in 0..4 {
            let (method, at, lease) = written.recv().await.unwrap();
            let owners = lease.metadata.owner_references.unwrap();
            assert_eq!(owners[0].uid, "u");
            let spec = lease.spec.unwrap();
            assert_eq!(
                (spec.holder_identity.as_deref(), spec.lease_duration_seconds),
                (Some("n1"), Some(40))
            );
            methods.push(method);
            times.push(at);
        }
        assert_eq!(methods, ["POST", "PUT", "PUT", "PUT"]);
        // The first renewal falls into the rhythm of what the agent does beside it.
        for pair in times[1..].windows(2) {
            let apart = (pair[1] - pair[0]).as_secs_f64();
            assert!((9.9..=12.0).contains(&apart), "{apart} s");
        }
        let first = (times[1] - times[0]).as_secs_f64();
        assert!(first <= 10.1, "{first} s");
    }
}
