//! What containers are started in: volumes, cgroup and sandbox.
use super::{Again, NETWORK_RETRY_AFTER, RETRY_AFTER, Worker};
use crate::metrics::Reason;
use crate::pods::agent::Agent;
use crate::pods::mailbox::{Stop, StopReason};
use crate::pods::start::{self, Sandbox, SandboxError};
use crate::pods::stop;
use crate::pods::turns::Purpose;
use crate::pods::verdict::Verdict;
use jiff::{SignedDuration, Timestamp};
use orlop_api::pod::{name, namespace, uid};
use orlop_client::events::EventType;
use orlop_cri::CriError;
use parking_lot::Mutex;

impl Worker {
    /// Makes a sandbox; what stood before is stopped first.
    pub(super) async fn new_sandbox(&mut self, attempt: u32) -> Result<(), Again> {
        let (agent, pod) = (self.agent.clone(), self.pod.clone());
        if self.seen.sandbox().is_some() {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            agent.event(&pod, EventType::Normal, "SandboxChanged", message);
            let begun = Mutex::default();
            if let Err(error) = stop::stop_pod(&agent, &pod, &self.seen, stop::grace_of(&pod), &begun).await {
                tracing::warn!(
                    pod = name(&pod),
                    namespace = namespace(&pod),
                    error,
                    "cannot stop the old sandbox"
                );
                return Err(Again(RETRY_AFTER));
            }
        }
        let mut dead = self.dead_sandbox();
        if let Some(id) = &dead
            && give_back(&agent, id).await.is_ok()
        {
            dead = None;
        }
        let turn = tokio::select! {
            turn = agent.turns.next(Purpose::Sandbox) => turn,
            () = self.mailbox.stopping().cancelled() => return Err(Again(SignedDuration::ZERO)),
        };
        match turn.spend(start::create_sandbox(&agent, &pod, attempt)).await {
            Ok((sandbox, seen)) => {
                tracing::info!(
                    pod = name(&pod),
                    namespace = namespace(&pod),
                    uid = uid(&pod),
                    sandbox = sandbox.id,
                    "sandbox started"
                );
                // What did not work without a network may do so now that there is one.
                if let Some(id) = dead
                    && let Err(error) = give_back(&agent, &id).await
                {
                    tracing::warn!(
                        pod = name(&pod),
                        namespace = namespace(&pod),
                        sandbox = id,
                        %error,
                        "an earlier sandbox may still hold its address"
                    );
                }
                self.agent.metrics.started_pods.inc();
                self.lacking.over();
                self.sandbox = Some(sandbox);
                self.seen.sandboxes.insert(0, seen);
                Ok(())
            }
            Err(error) => Err(self.tell_no_sandbox(&error).await),
        }
    }

    /// The newest sandbox, if its process has ended without being told to. It may still hold an address and ports of the
    /// host, and lies there for as long as the record of a container that ran in it.
    fn dead_sandbox(&self) -> Option<String> {
        let newest = self.seen.sandbox().filter(|sandbox| !sandbox.ready)?;
        Some(newest.id.clone())
    }

    /// Why there is no sandbox: the network, which comes up by itself, or something worth a warning.
    pub(super) async fn tell_no_sandbox(&mut self, error: &SandboxError) -> Again {
        if !self.is_host_network()
            && let Some(why) = network_trouble(&self.agent).await
        {
            self.tell_lacking("NetworkNotReady", format!("network is not ready: {why}"));
            return Again(NETWORK_RETRY_AFTER);
        }
        let pod = &self.pod;
        tracing::warn!(pod = name(pod), namespace = namespace(pod), uid = uid(pod), %error, "no sandbox");
        let message = format!("Failed to create pod sandbox: {error}");
        self.tell_lacking("FailedCreatePodSandBox", message);
        Again(RETRY_AFTER)
    }

    /// What is in the way is looked at again and again, and told of less often.
    fn tell_lacking(&mut self, reason: &str, message: String) {
        if self
            .lacking
            .is_due(&format!("{reason}: {message}"), Timestamp::now())
        {
            self.agent.event(&self.pod, EventType::Warning, reason, message);
        }
    }

    /// The sandbox that stands, with the request it was (or would be) made from.
    pub(super) fn current_sandbox(&mut self) -> Option<Sandbox> {
        let newest = self.seen.sandbox().filter(|sandbox| sandbox.ready)?;
        if let Some(made) = self.sandbox.as_ref().filter(|made| made.id == newest.id) {
            return Some(made.clone());
        }
        let config = start::request(&self.agent, &self.pod, newest.attempt);
        let sandbox = Sandbox {
            id: newest.id.clone(),
            config,
            ips: self.addresses(),
        };
        self.sandbox = Some(sandbox.clone());
        Some(sandbox)
    }

    /// Cgroup and volumes, which every sandbox and container needs.
    pub(super) async fn prepare(&mut self) -> Result<(), Again> {
        if self.prepared {
            return Ok(());
        }
        let prepared = tokio::select! {
            prepared = self.agent.surroundings.prepare(&self.pod) => prepared,
            // What it waits for may never come, and is not needed any more.
            () = self.mailbox.stopping().cancelled() => return Err(Again(SignedDuration::ZERO)),
        };
        match prepared {
            Ok(()) => {
                self.prepared = true;
                Ok(())
            }
            Err(lacking) => {
                tracing::warn!(
                    pod = name(&self.pod),
                    namespace = namespace(&self.pod),
                    uid = uid(&self.pod),
                    reason = lacking.reason,
                    message = lacking.message,
                    "the pod cannot start yet"
                );
                if lacking.is_final {
                    self.verdict = Some(Verdict::rejected(lacking.reason, &lacking.message));
                    self.stop = Some(Stop {
                        grace: None,
                        why: StopReason::Finished,
                    });
                    let reason = lacking.reason.to_owned();
                    let rejections = &self.agent.metrics.rejections;
                    rejections.get_or_create(&Reason { reason }).inc();
                }
                self.tell_lacking(lacking.reason, lacking.message);
                self.agent.surroundings.call_back(uid(&self.pod), &self.mailbox);
                Err(Again(RETRY_AFTER))
            }
        }
    }
}

/// Has a sandbox that doesn't run give back what it holds.
async fn give_back(agent: &Agent, sandbox: &str) -> Result<(), CriError> {
    match agent.runtime.stop_pod_sandbox(sandbox).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// What the runtime says of its network while it isn't ready.
async fn network_trouble(agent: &Agent) -> Option<String> {
    let conditions = agent.runtime.status(false).await.ok()?.status?.conditions;
    let network = conditions
        .into_iter()
        .find(|condition| condition.r#type == "NetworkReady")?;
    (!network.status).then(|| {
        format!(
            "container runtime network not ready: NetworkReady=false reason:{} message:{}",
            network.reason, network.message
        )
    })
}
