//! Of several copies of a component, one leads: the holder of a Lease.
//!
//! A candidate takes over once the Lease has not changed for its duration *by the candidate's own
//! clock*, so clocks need not agree. A leader that cannot renew in time stops.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::PostParams;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::events::{EventType, Recorder, reference};

/// Where the Lease lives unless a flag says otherwise.
pub const NAMESPACE: &str = "kube-system";
/// Candidates spread their attempts by up to this fraction of the period.
const JITTER: f64 = 1.2;
/// An attempt that hangs is given up for another after this share of the renew deadline.
const ATTEMPTS_IN_DEADLINE: u32 = 2;

/// How long is waited for what.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long a Lease is respected after its last change.
    pub lease_duration: Duration,
    /// A leader that couldn't renew for this long must stop working.
    pub renew_deadline: Duration,
    /// Pause between attempts to acquire or renew.
    pub retry_period: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

impl Timing {
    /// What is wrong with it, if anything: a leader must notice that it has lost before others take
    /// over, and must have time for more than one attempt.
    pub fn complaint(&self) -> Option<&'static str> {
        if self.lease_duration <= self.renew_deadline {
            Some("the lease duration must be greater than the renew deadline")
        } else if self.renew_deadline <= self.retry_period.mul_f64(JITTER) {
            Some("the renew deadline must be greater than 1.2 times the retry period")
        } else if self.retry_period.is_zero() {
            Some("the retry period must be greater than zero")
        } else {
            None
        }
    }
}

/// Who wants to lead, and over what.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Name of the Lease, such as `kube-scheduler`.
    pub lease: String,
    /// Unique to this process: `<hostname>_<uuid>`.
    pub identity: String,
    /// Whether to empty the Lease on a clean exit so that the next leader needn't wait.
    pub release_on_exit: bool,
    /// Namespace of the Lease.
    pub namespace: String,
    /// How long it waits.
    pub timing: Timing,
}

impl Candidate {
    /// A candidate called `<hostname>_<uuid>`.
    pub fn new(lease: &str, hostname: &str, release_on_exit: bool) -> Self {
        Self {
            lease: lease.to_owned(),
            identity: format!("{hostname}_{}", uuid::Uuid::new_v4()),
            release_on_exit,
            namespace: NAMESPACE.to_owned(),
            timing: Timing::default(),
        }
    }

    fn lease_seconds(&self) -> Option<i32> {
        i32::try_from(self.timing.lease_duration.as_secs()).ok()
    }
}

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Refused(#[from] kube::Error),
    #[error("no answer within {0:?}")]
    Hangs(Duration),
}

/// What a look at the Lease leads to.
#[derive(Debug, PartialEq)]
enum Step {
    /// It is ours: move renewTime.
    Renew(LeaseSpec),
    /// It is free or was abandoned: put our name on it.
    TakeOver(LeaseSpec),
    /// Somebody else holds it.
    Wait,
}

fn decide(spec: &LeaseSpec, candidate: &Candidate, unchanged_for: Duration, now: Timestamp) -> Step {
    let identity = candidate.identity.as_str();
    let duration = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    let duration = duration.map_or(candidate.timing.lease_duration, Duration::from_secs);
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let renewed = LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: candidate.lease_seconds(),
        renew_time: Some(MicroTime(now)),
        ..spec.clone()
    };
    if holder == identity {
        Step::Renew(renewed)
    } else if holder.is_empty() || unchanged_for >= duration {
        let transitions = spec.lease_transitions.unwrap_or(0).saturating_add(1);
        Step::TakeOver(LeaseSpec {
            acquire_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions),
            ..renewed
        })
    } else {
        Step::Wait
    }
}

/// What is known of the Lease, and since when it hasn't changed.
struct Observed {
    lease: Lease,
    since: Instant,
}

struct Election<'a> {
    api: Api<Lease>,
    candidate: &'a Candidate,
    observed: Option<Observed>,
}

impl Election<'_> {
    /// One attempt, which may not hang until the deadline; whether we hold the Lease now.
    async fn attempt(&mut self) -> Result<bool, AttemptError> {
        let within = self.candidate.timing.renew_deadline / ATTEMPTS_IN_DEADLINE;
        match tokio::time::timeout(within, self.look_and_write()).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(AttemptError::Hangs(within)),
        }
    }

    /// One attempt of who leads: as if nobody had written since, which spares the read; otherwise as any other.
    async fn renew(&mut self) -> Result<bool, AttemptError> {
        let within = self.candidate.timing.renew_deadline / ATTEMPTS_IN_DEADLINE;
        if let Ok(Ok(true)) = tokio::time::timeout(within, self.write_again()).await {
            return Ok(true);
        }
        self.attempt().await
    }

    /// Renews the Lease as it was seen last, if it is ours.
    async fn write_again(&mut self) -> Result<bool, kube::Error> {
        let Some(Observed { lease, .. }) = &self.observed else {
            return Ok(false);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let Step::Renew(spec) = decide(&spec, self.candidate, Duration::ZERO, Timestamp::now()) else {
            return Ok(false);
        };
        let lease = Lease {
            spec: Some(spec),
            ..lease.clone()
        };
        let name = &self.candidate.lease;
        let lease = self.api.replace(name, &PostParams::default(), &lease).await?;
        self.observe(lease);
        Ok(true)
    }

    async fn look_and_write(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.candidate.lease).await? else {
            let now = MicroTime(Timestamp::now());
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.candidate.lease.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(LeaseSpec {
                    holder_identity: Some(self.candidate.identity.clone()),
                    lease_duration_seconds: self.candidate.lease_seconds(),
                    acquire_time: Some(now.clone()),
                    renew_time: Some(now),
                    lease_transitions: Some(0),
                    ..LeaseSpec::default()
                }),
            };
            let lease = self.api.create(&PostParams::default(), &lease).await?;
            self.observe(lease);
            return Ok(true);
        };
        let since = self.observe(lease.clone());
        let spec = lease.spec.clone().unwrap_or_default();
        match decide(&spec, self.candidate, since.elapsed(), Timestamp::now()) {
            Step::Wait => Ok(false),
            Step::Renew(spec) | Step::TakeOver(spec) => {
                let lease = Lease {
                    spec: Some(spec),
                    ..lease
                };
                let lease = self
                    .api
                    .replace(&self.candidate.lease, &PostParams::default(), &lease)
                    .await?;
                self.observe(lease);
                Ok(true)
            }
        }
    }

    fn observe(&mut self, lease: Lease) -> Instant {
        match &self.observed {
            Some(observed) if observed.lease.spec == lease.spec => observed.since,
            _ => {
                let since = Instant::now();
                self.observed = Some(Observed { lease, since });
                since
            }
        }
    }

    async fn acquire(&mut self, shutdown: &CancellationToken) -> bool {
        loop {
            match self.attempt().await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(lease = self.candidate.lease, %error, "cannot acquire the lease yet")
                }
            }
            let pause = self
                .candidate
                .timing
                .retry_period
                .mul_f64(1.0 + rand::random::<f64>() * JITTER);
            tokio::select! {
                () = shutdown.cancelled() => return false,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Renews until that failed for too long.
    async fn keep(&mut self) {
        let Timing {
            renew_deadline,
            retry_period,
            ..
        } = self.candidate.timing;
        loop {
            tokio::time::sleep(retry_period).await;
            match tokio::time::timeout(renew_deadline, self.renew_once(retry_period)).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    tracing::error!(
                        lease = self.candidate.lease,
                        ?renew_deadline,
                        "the lease was not renewed in time"
                    );
                    return;
                }
            }
        }
    }

    /// Tries until there is an answer: whether the Lease is still ours.
    async fn renew_once(&mut self, retry_period: Duration) -> bool {
        loop {
            match self.renew().await {
                Ok(still_ours) => return still_ours,
                Err(error) => {
                    tracing::warn!(lease = self.candidate.lease, %error, "cannot renew the lease");
                }
            }
            tokio::time::sleep(retry_period).await;
        }
    }

    async fn release(&mut self) {
        let Some(Observed { lease, .. }) = self.observed.take() else {
            return;
        };
        let now = MicroTime(Timestamp::now());
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..lease.spec.clone().unwrap_or_default()
        };
        let lease = Lease {
            spec: Some(spec),
            ..lease
        };
        if let Err(error) = self
            .api
            .replace(&self.candidate.lease, &PostParams::default(), &lease)
            .await
        {
            tracing::debug!(lease = self.candidate.lease, %error, "lease not released, the next leader waits it out");
        }
    }
}

/// How leading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// `shutdown` was cancelled, or the work ended by itself.
    Finished,
    /// The Lease was lost. The work was told to stop; the process should exit or stand again.
    Lost,
}

/// Waits to become leader, then runs `work` until it ends, the Lease is lost or `shutdown` comes.
/// `work` gets a token that is cancelled when it has to stop.
pub async fn lead<W, F>(
    client: kube::Client,
    candidate: &Candidate,
    shutdown: CancellationToken,
    work: W,
) -> Ended
where
    W: FnOnce(CancellationToken) -> F,
    F: Future<Output = ()>,
{
    let recorder = Recorder::new(client.clone(), &candidate.lease, None);
    let mut election = Election {
        api: Api::namespaced(client, &candidate.namespace),
        candidate,
        observed: None,
    };
    if !election.acquire(&shutdown).await {
        return Ended::Finished;
    }
    tracing::info!(
        lease = candidate.lease,
        identity = candidate.identity,
        "became leader"
    );
    let tell = |election: &Election<'_>, what: &str| {
        if let Some(observed) = &election.observed {
            let message = format!("{} {what}", candidate.identity);
            recorder.event(
                &reference(&observed.lease),
                EventType::Normal,
                "LeaderElection",
                message,
            );
        }
    };
    tell(&election, "became leader");
    let leading = shutdown.child_token();
    let mut work = std::pin::pin!(work(leading.clone()));
    let ended = tokio::select! {
        () = &mut work => Ended::Finished,
        () = election.keep() => {
            leading.cancel();
            work.await;
            Ended::Lost
        }
    };
    tracing::info!(lease = candidate.lease, ?ended, "stopped leading");
    tell(&election, "stopped leading");
    if ended == Ended::Finished && candidate.release_on_exit {
        election.release().await;
    }
    ended
}

#[cfg(test)]
mod tests;
