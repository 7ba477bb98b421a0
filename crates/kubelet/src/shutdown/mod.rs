//! Graceful shutdown of the node (contract, node agent §21; static pods §7.4): the machine's going down is delayed until
//! pods have ended, class by class.
//!
//! | file | job |
//! |---|---|
//! | [`plan`] | which pods end when, and how long they may take |
//! | [`logind`] | who delays the machine, and tells of its going down |
//! | [`record`] | when it last went down |
mod logind;
mod plan;
mod record;

pub use plan::check;
pub use record::Record;

use crate::bus::{self, BusError};
use crate::config::KubeletConfiguration;
use crate::node::state::State;
use crate::pods::verdict::Verdict;
use crate::pods::{Orders, PodsHandle};
use futures::future::join_all;
use futures::pin_mut;
use logind::Logind;
use orlop_api::pod::{is_terminal, name, namespace, uid};
use orlop_client::events::{EventType, Recorder, node_reference};
use plan::{Phase, grace, groups, phases};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Between attempts to reach the system's login manager. It is restarted with upgrades; where there is none, nothing
/// can delay a shutdown, and one line in the log has said so.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What a node's shutdown needs.
pub struct Shutdown {
    pub node_name: String,
    pub phases: Vec<Phase>,
    pub pods: PodsHandle,
    pub orders: Orders,
    pub state: State,
    pub recorder: Recorder,
    pub record: Record,
    /// The system bus.
    pub bus: PathBuf,
}

impl Shutdown {
    /// For this configuration; `None`: it asks for none.
    pub fn new(
        configuration: &KubeletConfiguration,
        node_name: String,
        (pods, orders, state): (PodsHandle, Orders, State),
        recorder: Recorder,
        record: Record,
    ) -> Option<Self> {
        let phases = phases(configuration);
        (!phases.is_empty()).then(|| Self {
            node_name,
            phases,
            pods,
            orders,
            state,
            recorder,
            record,
            bus: bus::system_bus(),
        })
    }

    /// Delays the machine's shutdowns for as long as it is polled.
    pub async fn run(self) {
        let mut told = String::new();
        loop {
            let Err(error) = self.follow().await;
            let trouble = error.to_string();
            if trouble != told {
                tracing::warn!(%error, "the machine's shutdown is not delayed: pods will be killed by it");
                told = trouble;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    async fn follow(&self) -> Result<std::convert::Infallible, BusError> {
        let wanted = self.phases.iter().map(|phase| phase.period).sum();
        let mut logind = Logind::connect(&self.bus).await?;
        let delay = logind.allow_delay(wanted).await?;
        if delay < wanted {
            tracing::warn!(
                ?wanted,
                allowed = ?delay,
                "the machine waits less for pods than the configuration asks for: raise InhibitDelayMaxSec of logind"
            );
        }
        logind.listen().await?;
        if self.state.current().is_shutting_down && !logind.is_going_down().await? {
            // It was called off while nobody could tell.
            self.state.change(|current| current.is_shutting_down = false);
        }
        let mut delaying = Some(logind.delay().await?);
        tracing::info!(?wanted, "the machine's shutdown waits for pods");
        loop {
            if !logind.next().await? {
                continue;
            }
            self.state.change(|current| current.is_shutting_down = true);
            tracing::warn!("the machine is going down: pods are stopped");
            self.recorder.event(
                &node_reference(&self.node_name),
                EventType::Normal,
                "Shutdown",
                "Shutdown manager detected shutdown event".into(),
            );
            self.record.begun();
            let stopping = self.stop_pods();
            pin_mut!(stopping);
            let called_off = tokio::select! {
                () = &mut stopping => Ok(false),
                called_off = call_off(&mut logind) => called_off.map(|()| true),
            };
            if called_off.is_err() {
                // Who would tell has gone. The machine may be going down all the same, and waits for as long as it may.
                stopping.await;
            }
            self.record.ended();
            // The machine goes on.
            drop(delaying.take());
            if !called_off? {
                call_off(&mut logind).await?;
            }
            tracing::info!("the shutdown was called off");
            self.state.change(|current| current.is_shutting_down = false);
            delaying = Some(logind.delay().await?);
        }
    }

    async fn stop_pods(&self) {
        let running = self.pods.list().into_iter().map(|record| record.pod.clone());
        let running = running.filter(|pod| !is_terminal(pod)).collect();
        for (phase, waves) in self.phases.iter().zip(groups(&self.phases, running)) {
            let began = Instant::now();
            for wave in waves {
                let left = phase.period.saturating_sub(began.elapsed());
                let stops = wave.iter().map(|pod| {
                    let grace = grace(pod, left);
                    tracing::info!(
                        pod = name(pod),
                        namespace = namespace(pod),
                        uid = uid(pod),
                        grace,
                        "stopped for the node's shutdown"
                    );
                    self.orders.stop(uid(pod), grace, Verdict::node_shutdown())
                });
                // What takes longer goes on ending while others begin to.
                let _ = tokio::time::timeout(left, join_all(stops)).await;
            }
        }
    }
}

async fn call_off(logind: &mut Logind) -> Result<(), BusError> {
    while logind.next().await? {}
    Ok(())
}

#[cfg(test)]
mod tests;
