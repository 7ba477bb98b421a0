//! What the runtime says of itself, and how long its silence is forgiven (contract, node agent §20.2, §20.4). Pure.
use orlop_cri::v1;
use std::time::{Duration, Instant};

/// A runtime that is replaced or restarted is silent for some seconds; only after this it counts as down.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The last that is known of the runtime.
#[derive(Debug, Default)]
pub struct RuntimeHealth {
    /// When it last answered, and what was wrong then.
    answered: Option<(Instant, Vec<String>)>,
}

impl RuntimeHealth {
    /// Takes an answer in, or `None` for silence.
    pub fn note(&mut self, now: Instant, status: Option<&v1::RuntimeStatus>) {
        if let Some(status) = status {
            self.answered = Some((now, troubles(status)));
        }
    }

    /// Why the node is not ready because of its runtime; empty if it is.
    pub fn troubles(&self, now: Instant) -> Vec<String> {
        match &self.answered {
            None => vec!["container runtime status check may not have completed yet".to_owned()],
            Some((at, _)) if now.duration_since(*at) > SILENCE_MAX => {
                // Reason enough: the last word on its network is old news.
                vec!["container runtime is down".to_owned()]
            }
            Some((_, troubles)) => troubles.clone(),
        }
    }
}

fn troubles(status: &v1::RuntimeStatus) -> Vec<String> {
    let condition = |kind: &str, what: &str| {
        let found = status
            .conditions
            .iter()
            .find(|condition| condition.r#type == kind);
        match found {
            Some(condition) if condition.status => None,
            Some(condition) => {
                let (reason, message) = (&condition.reason, &condition.message);
                Some(format!("{what}: {kind}=false reason:{reason} message:{message}"))
            }
            None => Some(format!("{what}: the runtime does not report {kind}")),
        }
    };
    let runtime = condition("RuntimeReady", "container runtime not ready");
    let network = condition("NetworkReady", "container runtime network not ready");
    runtime.into_iter().chain(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(network: bool) -> v1::RuntimeStatus {
        let condition = |kind: &str, status: bool, reason: &str, message: &str| v1::RuntimeCondition {
            r#type: kind.into(),
            status,
            reason: reason.into(),
            message: message.into(),
        };
        let words = if network {
            ("", "")
        } else {
            ("NetworkPluginNotReady", "no CNI")
        };
        v1::RuntimeStatus {
            conditions: vec![
                condition("RuntimeReady", true, "", ""),
                condition("NetworkReady", network, words.0, words.1),
            ],
        }
    }

    #[test]
    fn n03_network_that_is_not_ready_says_why_and_heals() {
        let (mut health, now) = (RuntimeHealth::default(), Instant::now());
        health.note(now, Some(&status(false)));
        assert_eq!(
            health.troubles(now),
            [
                "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:no CNI"
            ]
        );
        health.note(now, Some(&status(true)));
        assert!(health.troubles(now).is_empty());
    }

    #[test]
    fn n04_runtime_is_down_after_half_a_minute_of_silence() {
        let (mut health, start) = (RuntimeHealth::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        health.note(start, None);
        assert_eq!(
            health.troubles(start),
            ["container runtime status check may not have completed yet"]
        );
        health.note(at(1), Some(&status(true)));
        health.note(at(11), None);
        assert!(health.troubles(at(31)).is_empty());
        assert_eq!(health.troubles(at(32)), ["container runtime is down"]);
        health.note(at(60), Some(&status(true)));
        assert!(health.troubles(at(60)).is_empty());
    }
}
