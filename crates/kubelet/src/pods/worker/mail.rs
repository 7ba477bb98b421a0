//! What the worker is told.
use super::{Reading, Worker};
use crate::pods::mailbox::Mail;
use crate::probes_view::ProbeKind;
use jiff::Timestamp;
use std::time::Duration;

impl Worker {
    /// Waits for mail or for the time.
    pub(super) async fn wait_until(&mut self, at: Timestamp) {
        let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO);
        match tokio::time::timeout(left, self.mailbox.next()).await {
            Ok(mail) => self.read_mail(mail),
            Err(_) => self.reading = Reading::Stale,
        }
    }

    pub(super) fn take_mail(&mut self) {
        let mail = self.mailbox.take();
        self.read_mail(mail);
    }

    /// Reads mail while something else is waited for. What probes say is told at once: a container that takes its time to
    /// end must not keep traffic on another that is not ready any more.
    pub(super) fn hear(&mut self, mail: Mail) {
        let is_probed = !mail.probes.is_empty();
        self.read_mail(mail);
        if is_probed {
            self.publish(false);
        }
    }

    pub(super) fn read_mail(&mut self, mail: Mail) {
        if let Some(pod) = mail.pod {
            self.pod = pod;
            if self.prepared || self.seen.is_alive() {
                self.agent.surroundings.refresh(&self.pod);
            }
        }
        if mail.verdict.is_some() {
            self.verdict = mail.verdict;
        }
        if let Some(news) = mail.resize {
            self.resizing.refused = news.refused;
            if news.given.is_some() {
                self.resizing.in_progress = news.given;
                self.resizing.error = None;
            }
        }
        if let Some(stop) = mail.stop {
            self.stop = Some(self.stop.map_or(stop, |earlier| earlier.and_then(stop)));
        }
        if mail.runtime_changed {
            self.reading = Reading::Stale;
        }
        if let Some(mirrored) = mail.mirrored {
            self.learn(&mirrored);
        }
        for news in mail.probes {
            if news.kind == ProbeKind::Readiness {
                self.guessed.remove(&news.container_id);
            }
            self.probes
                .entry(news.container_id.clone())
                .or_default()
                .take(&news);
        }
    }
}
