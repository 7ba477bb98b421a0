use super::*;
use http::{Method, Request, Response};
use kube::client::Body;
use std::sync::{Arc, Mutex};

fn held_by(holder: &str) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(holder.into()),
        lease_duration_seconds: Some(15),
        lease_transitions: Some(4),
        ..LeaseSpec::default()
    }
}

#[test]
fn s12_a_lease_is_taken_over_when_free_or_unchanged_for_its_duration() {
    let now = Timestamp::from_second(1000).unwrap();
    let me = Candidate {
        identity: "me".into(),
        ..Candidate::new("lease", "host", false)
    };
    let step = |holder, seconds| decide(&held_by(holder), &me, Duration::from_secs(seconds), now);
    assert_eq!(step("other", 14), Step::Wait);
    let Step::TakeOver(taken) = step("other", 15) else {
        panic!("abandoned lease not taken")
    };
    assert_eq!(
        (taken.holder_identity.as_deref(), taken.lease_transitions),
        (Some("me"), Some(5))
    );
    assert_eq!(taken.acquire_time, Some(MicroTime(now)));
    assert!(matches!(step("", 0), Step::TakeOver(_)));
    let Step::Renew(renewed) = step("me", 0) else {
        panic!("own lease not renewed")
    };
    assert_eq!(
        (renewed.lease_transitions, renewed.renew_time),
        (Some(4), Some(MicroTime(now)))
    );
}

#[test]
fn a_leader_must_notice_its_loss_before_others_take_over() {
    let timing = |lease, renew, retry| Timing {
        lease_duration: Duration::from_secs(lease),
        renew_deadline: Duration::from_secs(renew),
        retry_period: Duration::from_secs(retry),
    };
    assert_eq!(Timing::default().complaint(), None);
    assert!(timing(10, 10, 2).complaint().is_some());
    assert!(timing(15, 2, 2).complaint().is_some());
    assert!(timing(15, 10, 0).complaint().is_some());
}

/// An API server with one Lease that can be told to hang at writes.
#[derive(Default)]
struct Server {
    lease: Option<serde_json::Value>,
    version: u64,
    writes_that_hang: u32,
    reads: u32,
}

impl Server {
    fn client(server: Arc<Mutex<Self>>) -> kube::Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let is_write = parts.method != Method::GET;
                if is_write && server.lock().unwrap().hangs() {
                    std::future::pending::<()>().await;
                }
                let sent = body.collect_bytes().await.unwrap();
                let (status, answer) = server.lock().unwrap().answer(is_write, &sent);
                let response = Response::builder().status(status);
                let body = Body::from(answer.to_string().into_bytes());
                Ok::<_, std::convert::Infallible>(response.body(body).unwrap())
            }
        });
        crate::in_process(service)
    }

    fn hangs(&mut self) -> bool {
        let hangs = self.writes_that_hang > 0;
        self.writes_that_hang = self.writes_that_hang.saturating_sub(1);
        hangs
    }

    fn answer(&mut self, is_write: bool, sent: &[u8]) -> (u16, serde_json::Value) {
        let refusal = |code: u16, reason: &str| {
            let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                "message": reason, "reason": reason, "code": code});
            (code, status)
        };
        if !is_write {
            self.reads += 1;
            let found = self.lease.clone().map(|lease| (200, lease));
            return found.unwrap_or_else(|| refusal(404, "NotFound"));
        }
        let mut lease: serde_json::Value = serde_json::from_slice(sent).unwrap();
        let current = self.version.to_string();
        if self.lease.is_some() && lease["metadata"]["resourceVersion"] != current.as_str() {
            return refusal(409, "Conflict");
        }
        self.version += 1;
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.lease = Some(lease.clone());
        (200, lease)
    }

    fn renewed(&self) -> String {
        self.lease.as_ref().unwrap()["spec"]["renewTime"].to_string()
    }
}

/// An election that `candidate` has won.
async fn won<'c>(server: &Arc<Mutex<Server>>, candidate: &'c Candidate) -> Election<'c> {
    let mut election = Election {
        api: Api::namespaced(Server::client(server.clone()), NAMESPACE),
        candidate,
        observed: None,
    };
    assert!(election.acquire(&CancellationToken::new()).await);
    election
}

#[tokio::test(start_paused = true)]
async fn a_leader_writes_without_reading_and_outlives_writes_that_hang() {
    let server = Arc::new(Mutex::new(Server::default()));
    let candidate = Candidate::new("lease", "host", false);
    let mut election = won(&server, &candidate).await;
    let (reads, renewed) = {
        let server = server.lock().unwrap();
        (server.reads, server.renewed())
    };
    assert!(election.renew().await.unwrap());
    {
        let mut server = server.lock().unwrap();
        assert_eq!(server.reads, reads);
        assert_ne!(server.renewed(), renewed);
        // Of somebody else since it was seen: a conflict, then a look.
        server.version += 1;
        let version = server.version.to_string();
        server.lease.as_mut().unwrap()["metadata"]["resourceVersion"] = version.into();
    }
    assert!(election.renew().await.unwrap());

    let began = Instant::now();
    server.lock().unwrap().writes_that_hang = 1;
    assert!(
        tokio::time::timeout(Duration::from_secs(60), election.keep())
            .await
            .is_err()
    );
    server.lock().unwrap().writes_that_hang = u32::MAX;
    let began_to_hang = Instant::now();
    election.keep().await;
    let Timing {
        lease_duration,
        renew_deadline,
        retry_period,
    } = candidate.timing;
    assert!(began.elapsed() > Duration::from_secs(60));
    let lost_after = began_to_hang.elapsed();
    assert!(lost_after >= renew_deadline + retry_period, "{lost_after:?}");
    assert!(lost_after < lease_duration, "{lost_after:?}");
}

#[tokio::test(start_paused = true)]
async fn who_finds_another_holder_has_lost() {
    let server = Arc::new(Mutex::new(Server::default()));
    let candidate = Candidate::new("lease", "host", false);
    let mut election = won(&server, &candidate).await;
    {
        let mut server = server.lock().unwrap();
        server.version += 1;
        let version = server.version.to_string();
        let lease = server.lease.as_mut().unwrap();
        lease["metadata"]["resourceVersion"] = version.into();
        lease["spec"]["holderIdentity"] = "other".into();
    }
    let began = Instant::now();
    election.keep().await;
    assert_eq!(began.elapsed(), candidate.timing.retry_period);
}
