//! Brings the API server to what is on the board.
use super::board::{Board, Local, Page, Sent};
use super::lasting::with_lasting_ends;
use super::patch::patch;
use crate::mirror::{self, Refusals, Upkeep, View, decide, refusal};
use crate::pods::PodsHandle;
use crate::pods::turns::Turns;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{Patch, PatchParams};
use orlop_api::pod::{
    condition_of, config_hash, is_mirror, is_terminal, is_terminating, mirror_hash, name, namespace, uid,
};
use orlop_client::events::{EventType, Recorder, node_reference};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Requests under way at a time: a handful hides the API server's latency and does not crowd it.
const PUBLISHERS: usize = 4;
/// A status that somebody keeps overwriting is restored no more often than this (contract, static pods §1).
const RESTORE_PERIOD: Duration = Duration::from_secs(10);
/// First wait after a failed request, and the longest one: an API server that is back is told soon.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// How long a name stays free between a mirror and the next. Who waits for the end of the old one, as
/// `kubectl delete` does, looks at the name first and then at its changes; if the next mirror appeared
/// between the two, it would wait forever.
const REAPPEAR_AFTER: Duration = Duration::from_millis(200);

/// Who is told that the API server does not take a mirror.
pub struct Teller {
    pub node_name: String,
    pub recorder: Recorder,
    pub refusals: Refusals,
}

impl Teller {
    fn refused(&self, full_name: &str, reason: &str) {
        if !self.refusals.note(full_name, reason) {
            return;
        }
        tracing::warn!(pod = full_name, reason, "the API server refuses the mirror pod");
        self.recorder.event(
            &node_reference(&self.node_name),
            EventType::Warning,
            "MirrorPodRefused",
            format!("the API server refuses the mirror of static pod {full_name}, which runs all the same: {reason}"),
        );
    }
}

/// Runs until `shutdown`.
pub async fn run(
    client: kube::Client,
    board: Board,
    (pods, turns): (PodsHandle, Turns),
    teller: Teller,
    shutdown: CancellationToken,
) {
    let (rush, failures) = (Rush::new(turns), Failures::default());
    let work = (0..PUBLISHERS).map(|_| publish(&client, &board, (&pods, &rush), &teller, &failures));
    let all = async { tokio::join!(futures::future::join_all(work), rush.give_back(&board)) };
    shutdown.run_until_cancelled(all).await;
}

/// What a pod's requests come to while they fail.
#[derive(Default)]
struct Failing {
    is_told: bool,
    wait: Duration,
}

impl Failing {
    /// Counts one more; whether a person should know. One line when it begins: an API server that is down would fill the
    /// log otherwise. And none for a mirror that was made by an earlier agent and not seen yet by this one: the watch
    /// shows it before the next try.
    fn is_news(&mut self, error: &kube::Error) -> bool {
        let is_first = self.wait.is_zero();
        self.wait = (self.wait * 2).clamp(RETRY_MIN, RETRY_MAX);
        let is_there = matches!(error, kube::Error::Api(answer) if answer.is_already_exists());
        let may_pass = is_first && is_there;
        let is_news = !(self.is_told || may_pass);
        self.is_told |= is_news;
        is_news
    }
}

/// Of all publishers: a pod's next request need not be made by the one that made the last.
#[derive(Default)]
struct Failures(Mutex<HashMap<String, Failing>>);

impl Failures {
    /// Whether a person should know of one more, and when it is tried again.
    fn count(&self, full_name: &str, error: &kube::Error) -> (bool, Duration) {
        let mut failing = self.0.lock();
        let state = failing.entry(full_name.to_owned()).or_default();
        (state.is_news(error), state.wait)
    }

    fn over(&self, full_name: &str) {
        self.0.lock().remove(full_name);
    }
}

async fn publish(
    client: &kube::Client,
    board: &Board,
    (pods, rush): (&PodsHandle, &Rush),
    teller: &Teller,
    failures: &Failures,
) {
    while let Some(full_name) = board.queue().next().await {
        // What is told later is newer, and tells of several steps at once.
        let has_waited = rush.has_waited(&full_name);
        if !has_waited && rush.is_on() && may_wait(&board.page(&full_name)) {
            rush.keep(full_name.clone());
            board.queue().done(&full_name);
            continue;
        }
        match settle(client, board, &full_name, teller).await {
            Ok(()) => failures.over(&full_name),
            Err(error) => {
                let (is_news, wait) = failures.count(&full_name, &error);
                if is_news {
                    let error = orlop_client::message(&error);
                    tracing::warn!(
                        pod = full_name,
                        error,
                        "cannot tell the API server about the pod: trying on"
                    );
                }
                board.queue().add_after(full_name.clone(), wait);
            }
        }
        pods.set_mirrors(board.mirrors());
        board.queue().done(&full_name);
    }
}

/// What waits until pods that start together have started.
struct Rush {
    turns: Turns,
    kept: Mutex<BTreeSet<String>>,
    /// Who has waited for one rush does not wait for the next.
    given_back: Mutex<BTreeSet<String>>,
    arrived: Notify,
}

impl Rush {
    fn new(turns: Turns) -> Self {
        Self {
            turns,
            kept: Mutex::default(),
            given_back: Mutex::default(),
            arrived: Notify::new(),
        }
    }

    fn is_on(&self) -> bool {
        self.turns.is_rush()
    }

    fn keep(&self, full_name: String) {
        self.kept.lock().insert(full_name);
        self.arrived.notify_one();
    }

    /// Whether it was kept until now.
    fn has_waited(&self, full_name: &str) -> bool {
        self.given_back.lock().remove(full_name)
    }

    /// Puts back what was kept when the rush is over.
    async fn give_back(&self, board: &Board) {
        loop {
            self.arrived.notified().await;
            self.turns.rush_over().await;
            let kept = std::mem::take(&mut *self.kept.lock());
            self.given_back.lock().extend(kept.iter().cloned());
            kept.into_iter()
                .for_each(|full_name| board.queue().add(full_name));
        }
    }
}

/// Whether nobody needs to know at once. That a pod ends, or can't be relied on any more, is never kept back: others send
/// it requests, or wait for its room.
fn may_wait(page: &Page) -> bool {
    let Some(object) = &page.object else { return true };
    let unwanted = page.static_pod.as_ref().is_none_or(|local| !local.is_wanted);
    if is_terminating(object) || (is_mirror(object) && unwanted) {
        return false;
    }
    let Some(local) = local_of(page, object) else {
        return true;
    };
    let Some(status) = &local.status else { return true };
    let is_over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let was_ready = object.status.as_ref().is_some_and(is_ready);
    !(local.has_ended || is_over || (was_ready && !is_ready(status)))
}

fn is_ready(status: &PodStatus) -> bool {
    condition_of(status, "Ready").is_some_and(|ready| ready.status == "True")
}

/// One pass over one full name: mirror, status, last step of a deletion.
async fn settle(
    client: &kube::Client,
    board: &Board,
    full_name: &str,
    teller: &Teller,
) -> Result<(), kube::Error> {
    let page = board.page(full_name);
    let kept = keep_mirror(client, board, &page).await;
    match &kept {
        Ok(_) => teller.refusals.clear(full_name),
        Err(error) => {
            if let Some(reason) = refusal(error) {
                teller.refused(full_name, &reason);
            }
        }
    }
    if kept? {
        // The object is another now.
        return settle_status(client, board, full_name, &board.page(full_name)).await;
    }
    settle_status(client, board, full_name, &page).await
}

/// Whether the mirror is another afterwards.
async fn keep_mirror(client: &kube::Client, board: &Board, page: &Page) -> Result<bool, kube::Error> {
    let upkeep = decide(&View {
        static_pod: page.static_pod.as_ref().map(|local| &*local.pod),
        is_wanted: page.static_pod.as_ref().is_some_and(|local| local.is_wanted),
        object: page.object.as_deref(),
        node: page.node.as_deref(),
        sources_ready: page.is_ready,
    });
    if upkeep == Upkeep::Keep {
        return Ok(false);
    }
    if let (Upkeep::Delete | Upkeep::Replace, Some(object)) = (upkeep, &page.object) {
        let is_gone = mirror::delete(client, object).await?;
        tracing::info!(
            pod = name(object),
            namespace = namespace(object),
            uid = uid(object),
            is_gone,
            "mirror pod deleted"
        );
        if !is_gone {
            // The watch tells what is there instead.
            return Ok(false);
        }
        board.remove_object(object);
        if upkeep == Upkeep::Replace {
            tokio::time::sleep(REAPPEAR_AFTER).await;
        }
    }
    if upkeep == Upkeep::Delete {
        return Ok(false);
    }
    if let (Some(local), Some(node)) = (&page.static_pod, &page.node)
        && let Some(created) = mirror::create(client, &local.pod, node).await?
    {
        board.set_object(Arc::new(created));
        return Ok(true);
    }
    Ok(false)
}

/// The local pod an object tells of.
fn local_of<'a>(page: &'a Page, object: &Pod) -> Option<&'a Local> {
    if is_mirror(object) {
        page.static_pod
            .as_ref()
            .filter(|local| config_hash(&local.pod) == mirror_hash(object))
    } else {
        page.api_pod.as_ref()
    }
}

async fn settle_status(
    client: &kube::Client,
    board: &Board,
    full_name: &str,
    page: &Page,
) -> Result<(), kube::Error> {
    let Some(object) = page.object.as_ref() else {
        return Ok(());
    };
    let Some(local) = local_of(page, object) else {
        return Ok(());
    };
    let Some(status) = local.status.as_ref().filter(|_| !local.is_guessed) else {
        return Ok(());
    };
    let mut current = object.clone();
    let known = object.status.clone().unwrap_or_default();
    if let Some(patch) = patch(uid(object), &known, &with_lasting_ends(object, status)) {
        if let Some(sent) = &page.sent
            && sent.uid == uid(object)
            && sent.status == *status
            && let Some(left) = RESTORE_PERIOD.checked_sub(sent.at.elapsed())
        {
            board.queue().add_after(full_name.to_owned(), left);
            return Ok(());
        }
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace(object));
        match api
            .patch_status(name(object), &PatchParams::default(), &Patch::Strategic(&patch))
            .await
        {
            Ok(patched) => current = Arc::new(patched),
            // Gone, or another one by now: the watch tells.
            Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => return Ok(()),
            Err(error) => return Err(error),
        }
        board.note_sent(
            full_name,
            Sent {
                uid: uid(object).to_owned(),
                status: status.clone(),
                at: Instant::now(),
            },
        );
        board.set_object(current.clone());
    }
    // The handshake: the object goes when nothing of the pod is left and the API server shows so.
    if !is_mirror(&current) && local.has_ended && is_terminating(&current) && is_terminal(&current) {
        mirror::delete(client, &current).await?;
        tracing::info!(
            pod = name(&current),
            namespace = namespace(&current),
            uid = uid(&current),
            "pod deleted"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::turns::Purpose;
    use futures::FutureExt;
    use serde_json::{Value, json};

    #[test]
    fn ends_and_lost_readiness_are_told_in_a_rush_and_all_else_waits() {
        let status = |phase: &str, ready: &str| json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}]});
        let page = |told: Value, known: Value| {
            let object = json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "status": told});
            let object: Arc<Pod> = Arc::new(serde_json::from_value(object).unwrap());
            Page {
                api_pod: Some(Local {
                    pod: object.clone(),
                    is_static: false,
                    is_wanted: true,
                    status: Some(Arc::new(serde_json::from_value(known).unwrap())),
                    has_ended: false,
                    is_guessed: false,
                }),
                object: Some(object),
                ..Page::default()
            }
        };
        for (told, known, waits) in [
            (status("Pending", "False"), status("Running", "True"), true),
            (status("Running", "True"), status("Running", "True"), true),
            (status("Running", "True"), status("Running", "False"), false),
            (status("Running", "True"), json!({"phase": "Pending"}), false),
            (status("Running", "False"), status("Failed", "False"), false),
            (json!({}), status("Succeeded", "False"), false),
        ] {
            let page = page(told.clone(), known.clone());
            assert_eq!(may_wait(&page), waits, "{told} {known}");
        }
        let one = page(status("Pending", "False"), status("Running", "True"));
        let mut ended = one.clone();
        ended.api_pod.as_mut().unwrap().has_ended = true;
        let with = |pointer: &str, value: Value| {
            let mut object = serde_json::to_value(one.object.as_deref()).unwrap();
            object["metadata"][pointer] = value;
            let object = serde_json::from_value(object).unwrap();
            Page {
                object: Some(Arc::new(object)),
                ..one.clone()
            }
        };
        let deleted = with("deletionTimestamp", json!("2026-01-01T00:00:00Z"));
        let mut mirror = with("annotations", json!({"kubernetes.io/config.mirror": "h"}));
        assert!(!may_wait(&ended) && !may_wait(&deleted) && !may_wait(&mirror));
        mirror.static_pod = one.api_pod.clone();
        assert!(may_wait(&mirror), "what it is of starts");
        mirror.static_pod.as_mut().unwrap().is_wanted = false;
        assert!(!may_wait(&mirror));
        assert!(may_wait(&Page::default()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_comes_back_when_the_rush_is_over() {
        let (board, turns) = (Board::new(true), Turns::of(1));
        let rush = Rush::new(turns.clone());
        let mut taken = Vec::new();
        for _ in 0..2 {
            taken.push(turns.next(Purpose::Sandbox).await);
        }
        assert!(rush.is_on());
        rush.keep("p_d".to_owned());
        let mut giving = std::pin::pin!(rush.give_back(&board));
        assert!((&mut giving).now_or_never().is_none() && board.queue().is_empty());
        taken.clear();
        assert!((&mut giving).now_or_never().is_none());
        assert_eq!(board.queue().next().await.as_deref(), Some("p_d"));
    }

    #[test]
    fn mirror_that_is_there_already_is_news_when_it_stays_in_the_way() {
        let answer = |code, reason: &str| {
            kube::Error::Api(Box::new(kube::core::Status {
                code,
                reason: reason.to_owned(),
                ..kube::core::Status::default()
            }))
        };
        let news = |error: &kube::Error| {
            let mut failing = Failing::default();
            [(); 3].map(|()| failing.is_news(error))
        };
        assert_eq!(news(&answer(409, "AlreadyExists")), [false, true, false]);
        assert_eq!(news(&answer(403, "Forbidden")), [true, false, false]);
        let mut failing = Failing::default();
        let turns = [(409, "AlreadyExists"), (403, "Forbidden"), (409, "AlreadyExists")];
        let said = turns.map(|(code, reason)| failing.is_news(&answer(code, reason)));
        assert_eq!(said, [false, true, false]);
        let mut failing = Failing::default();
        let waits = [(); 7].map(|()| {
            failing.is_news(&answer(500, ""));
            failing.wait
        });
        assert_eq!((waits[0], waits[1]), (RETRY_MIN, RETRY_MIN * 2));
        assert_eq!(waits[6], RETRY_MAX);
        let failures = Failures::default();
        let failed = || failures.count("p_d", &answer(500, ""));
        assert_eq!([failed(), failed()], [(true, RETRY_MIN), (false, RETRY_MIN * 2)]);
        failures.over("p_d");
        assert_eq!(failed(), (true, RETRY_MIN), "it is news again");
    }
}
