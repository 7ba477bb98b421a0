//! The scheduling loop: one pod after the other is decided about; what comes of it is written meanwhile.

use std::sync::Arc;

use orlop_client::informer::{Cached, ObjectKey};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::decide::preempt::{Outcome, Preemption, Victim, cheapest, preempt, ways};
use crate::decide::volumes::{Met, Volumes};
use crate::decide::{Decision, Refusals, Survey, fits, survey};
use crate::extender::{Extenders, WAYS_MAX};
use crate::known::cluster::Cluster;
use crate::known::view::{Pending, PodView};
use crate::metrics::Attempt;
use crate::profile::Profile;

use super::unplaced::{SCHEDULER_ERROR, UNSCHEDULABLE};
use super::{Scheduler, State};

/// What is to be written about a pod.
enum Next {
    Bind {
        node: Arc<str>,
        met: Vec<Met>,
        /// How many attempts it took, this one included.
        attempts: u32,
        /// When the pod came.
        since: Instant,
    },
    /// It could not be decided.
    Fail(String),
    Tell {
        message: String,
        /// A node that was nominated isn't any more.
        forget_room: bool,
    },
    Evict(Preemption, String),
}

/// What is to be done next about a pod.
enum Settled {
    Write(Next),
    /// Others have a word in who is to go for it.
    Ask(Vec<Preemption>, Refusals),
}

impl Scheduler {
    /// Decides about pods for as long as it is polled.
    pub(super) async fn schedule(self: Arc<Self>) {
        loop {
            let changed = self.changed.notified();
            while self.schedule_one().await {}
            let due = {
                let state = self.state();
                self.metrics.waiting(state.queue.lengths(), state.gated.len());
                state.queue.next_due()
            };
            match due {
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    /// Tries one pod; whether there was one.
    async fn schedule_one(self: &Arc<Self>) -> bool {
        let Some(key) = self.state().queue.next(Instant::now()) else {
            return false;
        };
        // Where the queue doesn't know yet that the pod is gone, placed, or another one, that is about to be told of, and
        // is no reason to forget anything: who came meanwhile would be forgotten.
        if let Some(pod) = self.pods.store().get(&key)
            && let PodView::Pending(pending) = &pod.object
            && let Some((profile, _)) = self.profiles.get(&*pending.scheduler)
        {
            self.attempt(&pod, pending, profile).await;
        }
        true
    }

    /// Decides for one pod; what comes of it is written while others are decided about.
    async fn attempt(self: &Arc<Self>, pod: &Arc<Cached<PodView>>, pending: &Pending, profile: &Profile) {
        let began = Instant::now();
        let extenders = self.extenders.minding(pending);
        let asked = if extenders.is_empty() {
            None
        } else {
            match self.ask_about(&extenders, &pod.key, pending, profile).await {
                None => return,
                asked => asked,
            }
        };
        let next = match self.settle(pod, pending, profile, asked, &extenders, began) {
            Some(Settled::Write(next)) => Some(next),
            Some(Settled::Ask(ways, refusals)) => {
                self.ask_for_room(&extenders, pod, pending, ways, &refusals).await
            }
            None => None,
        };
        let Some(next) = next else { return };
        self.metrics.decided(began.elapsed());
        // A closed semaphore can't happen; then writing without a permit is still right.
        let permit = self.writes.clone().acquire_owned().await.ok();
        let (this, pod) = (self.clone(), pod.clone());
        tokio::spawn(async move { this.carry_out(&pod, next, began, permit).await });
    }

    /// Decides, and takes what the pod gets from the node at once, so that the next pod sees what is left. `asked` is what
    /// others have left of the nodes, where they have a word in it. `None` if nothing is to be written now.
    fn settle(
        &self,
        pod: &Cached<PodView>,
        pending: &Pending,
        profile: &Profile,
        asked: Option<Result<Survey, String>>,
        extenders: &Extenders,
        began: Instant,
    ) -> Option<Settled> {
        let key = &pod.key;
        let mut state = self.state();
        if !state.queue.has(key, &pod.uid) {
            // It is gone, or another one of its name, which is tried by itself: it takes nothing from any node.
            return None;
        }
        if state.cluster.has_place(key) {
            // It changed while it was being bound; what comes of that brings it back if need be.
            return None;
        }
        let others_decide = asked.is_some();
        let seen = asked.unwrap_or_else(|| {
            let first = pending.nominated.as_ref();
            Ok(survey(
                key,
                pending,
                first,
                &mut state.cluster,
                &self.world,
                profile,
            ))
        });
        let next = match seen.map(Survey::decide) {
            Err(error) => {
                state.queue.retry(key, Instant::now());
                Next::Fail(error)
            }
            Ok(Decision::Bind(node)) => {
                let cluster = &mut state.cluster;
                // Things may have changed while others were asked.
                if others_decide && !fits(key, pending, cluster, &self.world, &profile.rules, &node) {
                    state.queue.retry(key, Instant::now());
                    return None;
                }
                let met = self.meet_claims(key, pending, cluster, &node);
                cluster.hold(key, &node, pending.holder(pod.uid.clone()));
                let (tried, since) = state.queue.past(key).unwrap_or((0, began));
                Next::Bind {
                    node,
                    met,
                    attempts: tried + 1,
                    since,
                }
            }
            Ok(Decision::Unschedulable(refusals)) => {
                if refusals.is_unwelcome() {
                    state.queue.minds_others(key);
                }
                state.queue.unschedulable(key, Instant::now());
                let (cluster, rules) = (&mut state.cluster, &profile.rules);
                let outcome = if extenders.mind_room() {
                    match ways(key, pending, cluster, &self.world, rules, WAYS_MAX) {
                        Ok(ways) if ways.is_empty() => Outcome::Impossible,
                        Ok(ways) => return Some(Settled::Ask(ways, refusals)),
                        Err(why) => Outcome::NotEligible(why),
                    }
                } else {
                    preempt(key, pending, cluster, &self.world, rules)
                };
                self.make_room(key, pending, outcome, &refusals, &mut state)
            }
        };
        Some(Settled::Write(next))
    }

    /// What others leave of the ways to make room for a pod. The next pod waits for it. `None` if it needs none any more.
    async fn ask_for_room(
        &self,
        extenders: &Extenders,
        pod: &Cached<PodView>,
        pending: &Pending,
        ways: Vec<Preemption>,
        refusals: &Refusals,
    ) -> Option<Next> {
        let key = &pod.key;
        let on = |node: &str, uid: &str| {
            let mut state = self.state();
            let candidate = state.cluster.candidate(node)?;
            let mut holders = candidate.holders.iter();
            let found = holders.find(|(_, holder)| *holder.uid == *uid);
            found.map(|(key, holder)| Victim::of(key, holder))
        };
        let left = extenders.room(&self.client, key, ways, on).await;
        let mut state = self.state();
        // Under the lock: an event that is seen from here on is told of after this.
        let known = self.pods.store().get(key);
        if !known.is_some_and(|known| known.uid == pod.uid && matches!(known.object, PodView::Pending(_))) {
            return None;
        }
        match left {
            Ok(ways) => Some(self.make_room(key, pending, cheapest(ways), refusals, &mut state)),
            Err(why) => {
                state.queue.in_vain(key, Instant::now());
                drop(state);
                self.changed.notify_one();
                Some(Next::Tell {
                    message: refusals.not_eligible(&why),
                    forget_room: false,
                })
            }
        }
    }

    /// Has pods go so that this one fits, if there are such.
    fn make_room(
        &self,
        key: &ObjectKey,
        pending: &Pending,
        outcome: Outcome,
        refusals: &Refusals,
        state: &mut State,
    ) -> Next {
        let now = Instant::now();
        match outcome {
            Outcome::Impossible => {
                self.metrics.preempted(None);
                // Room that was made for it was in vain.
                state.nominate(key, None, now);
                Next::Tell {
                    message: refusals.message(),
                    forget_room: pending.nominated.is_some(),
                }
            }
            Outcome::NotEligible(why) => Next::Tell {
                message: refusals.not_eligible(why),
                forget_room: false,
            },
            Outcome::Evict(victims) => {
                self.metrics.preempted(Some(victims.victims.len()));
                state.queue.takes_its_time(key);
                let nominee = (victims.node.clone(), pending.nominee());
                state.nominate(key, Some(nominee), now);
                for pod in &victims.displaced {
                    state.cluster.nominate(pod, None);
                }
                Next::Evict(victims, refusals.without_preemption())
            }
        }
    }

    /// Writes what was decided.
    async fn carry_out(
        &self,
        pod: &Cached<PodView>,
        next: Next,
        began: Instant,
        mut permit: Option<OwnedSemaphorePermit>,
    ) {
        let PodView::Pending(pending) = &pod.object else {
            return;
        };
        let ended = |attempt, binding| {
            let whole = began.elapsed();
            self.metrics.ended(&pending.scheduler, attempt, whole, binding);
        };
        match next {
            Next::Bind {
                node,
                met,
                attempts,
                since,
            } => {
                let binding = Instant::now();
                if !met.is_empty() {
                    // This may take as long as a volume takes to be made.
                    permit = None;
                }
                let attempt = self.bind(pod, pending, &node, &met).await;
                if attempt == Attempt::Scheduled {
                    self.metrics.placed(attempts, since.elapsed());
                }
                ended(attempt, Some(binding.elapsed()));
            }
            Next::Fail(error) => {
                ended(Attempt::Error, None);
                self.tell_unplaced(pod, pending, SCHEDULER_ERROR, &error).await;
            }
            Next::Tell { message, forget_room } => {
                ended(Attempt::Unschedulable, None);
                if forget_room {
                    self.forget_room(&pod.key, &pod.uid).await;
                }
                self.tell_unplaced(pod, pending, UNSCHEDULABLE, &message).await;
            }
            Next::Evict(victims, message) => {
                ended(Attempt::Unschedulable, None);
                self.evict(pod, pending, &victims).await;
                self.tell_unplaced(pod, pending, UNSCHEDULABLE, &message).await;
            }
        }
        drop(permit);
    }

    /// What we and others think of the nodes for a pod, unless it has one by now.
    async fn ask_about(
        &self,
        extenders: &Extenders,
        key: &ObjectKey,
        pod: &Pending,
        profile: &Profile,
    ) -> Option<Result<Survey, String>> {
        let mut first = pod.nominated.as_ref();
        loop {
            let seen = {
                let mut state = self.state();
                if state.cluster.has_place(key) {
                    return None;
                }
                state.queue.looked_for(key);
                survey(key, pod, first, &mut state.cluster, &self.world, profile)
            };
            let is_all = first.is_none() || seen.nodes.first().map(|(name, _)| name) != first;
            let asked = self.ask(extenders, key, seen).await;
            // Where room was made for it, others may not want it: then all nodes are looked at.
            if is_all || asked.as_ref().map_or(true, |asked| !asked.nodes.is_empty()) {
                return Some(asked);
            }
            first = None;
        }
    }

    /// What others leave of the nodes. The next pod waits for it.
    async fn ask(&self, extenders: &Extenders, pod: &ObjectKey, seen: Survey) -> Result<Survey, String> {
        let Survey { nodes, mut refusals } = seen;
        let verdict = extenders.judge(&self.client, pod, nodes).await?;
        for (why, helps) in &verdict.refused {
            refusals.add_foreign(why, *helps);
        }
        Ok(Survey {
            nodes: verdict.nodes,
            refusals,
        })
    }

    /// Decides how the pod's claims are met on the node, and promises that.
    fn meet_claims(&self, key: &ObjectKey, pod: &Pending, cluster: &mut Cluster, node: &str) -> Vec<Met> {
        let Ok(Some(volumes)) = Volumes::of(key, pod, &self.world) else {
            return Vec::new();
        };
        let candidate = cluster.candidate(node);
        let met = candidate.and_then(|candidate| volumes.choose(candidate.node));
        let met = met.unwrap_or_default();
        for met in &met {
            match met {
                Met::By { claim, volume, .. } => self.world.promise(volume.clone(), claim.clone()),
                Met::Made { claim, .. } => self.world.select(claim, node),
            }
        }
        met
    }
}

#[cfg(test)]
mod tests;
