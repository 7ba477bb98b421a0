//! Brings the API server to what is on the board.
use super::board::{Board, Local, Page, Sent};
use super::patch::patch;
use crate::mirror::{self, Refusals, Upkeep, View, decide, refusal};
use crate::pods::PodsHandle;
use crate::pods::turns::Turns;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use orlop_api::pod::{
    config_hash, is_mirror, is_terminal, is_terminating, mirror_hash, name, namespace, uid,
};
use orlop_client::events::{EventType, Recorder, node_reference};
use std::sync::Arc;
use std::time::{Duration, Instant};
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
    let work = (0..PUBLISHERS).map(|_| publish(&client, &board, (&pods, &turns), &teller));
    shutdown
        .run_until_cancelled(futures::future::join_all(work))
        .await;
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

async fn publish(
    client: &kube::Client,
    board: &Board,
    (pods, turns): (&PodsHandle, &Turns),
    teller: &Teller,
) {
    let mut failing: std::collections::HashMap<String, Failing> = std::collections::HashMap::new();
    while let Some(full_name) = board.queue().next().await {
        // What is told then is newer, and tells of several steps at once.
        turns.rush_over().await;
        match settle(client, board, &full_name, teller).await {
            Ok(()) => drop(failing.remove(&full_name)),
            Err(error) => {
                let state = failing.entry(full_name.clone()).or_default();
                if state.is_news(&error) {
                    let error = orlop_client::message(&error);
                    tracing::warn!(
                        pod = full_name,
                        error,
                        "cannot tell the API server about the pod: trying on"
                    );
                }
                let wait = state.wait;
                board.queue().add_after(full_name.clone(), wait);
            }
        }
        pods.set_mirrors(board.mirrors());
        board.queue().done(&full_name);
    }
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
    if let Some(patch) = patch(uid(object), &known, status) {
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
    }
}
