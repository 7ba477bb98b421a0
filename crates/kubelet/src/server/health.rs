//! `/healthz`: whether the agent does its work.
use super::body::{Body, text};
use crate::metrics::Metrics;
use crate::pods::Orders;
use http::{Response, StatusCode};
use std::time::Duration;

/// What is checked. Of an agent that answers at all only the pod manager can be stuck.
pub const CHECKS: [&str; 3] = ["ping", "log", SYNC_LOOP];
const SYNC_LOOP: &str = "syncloop";
/// The pod manager has a turn within milliseconds, once it has begun; it begins when the runtime has listed its pods.
const TURN_MAX: Duration = Duration::from_secs(10);

/// Checks the agent.
#[derive(Clone)]
pub struct Health {
    pub orders: Orders,
    pub metrics: Metrics,
}

impl Health {
    /// Everything that is checked, or one of [`CHECKS`].
    pub async fn answer(&self, check: Option<&str>) -> Response<Body> {
        let wanted = CHECKS
            .into_iter()
            .filter(|known| check.is_none_or(|check| check == *known));
        let (mut found, mut is_well) = (String::new(), true);
        for name in wanted {
            let passes = name != SYNC_LOOP || self.has_turns().await;
            self.metrics.checked(name, passes);
            is_well &= passes;
            found.push_str(&match passes {
                true => format!("[+]{name} ok\n"),
                false => format!(
                    "[-]{name} failed: the pod manager has no turn within {} s\n",
                    TURN_MAX.as_secs()
                ),
            });
        }
        match is_well {
            true => text(StatusCode::OK, "ok"),
            false => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("{found}healthz check failed\n"),
            ),
        }
    }

    async fn has_turns(&self) -> bool {
        let answered = tokio::time::timeout(TURN_MAX, self.orders.answered());
        answered.await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::Request;
    use crate::server::body::read;

    async fn asked(health: &Health, check: Option<&str>) -> (u16, String) {
        read(health.answer(check).await).await
    }

    #[tokio::test(start_paused = true)]
    async fn c11_agent_is_healthy_while_its_pod_manager_has_turns() {
        let orders = Orders::default();
        let health = Health {
            orders: orders.clone(),
            metrics: Metrics::default(),
        };
        let (status, text) = asked(&health, None).await;
        assert_eq!(status, 500);
        assert!(
            text.contains("[+]ping ok") && text.contains("[-]syncloop failed"),
            "{text}"
        );
        assert_eq!(asked(&health, Some("ping")).await, (200, "ok".to_owned()));
        let mut requests = orders.receive();
        tokio::spawn(async move {
            while let Some(Request::Answer(answer)) = requests.recv().await {
                // The first was given up.
                let _ = answer.send(());
            }
        });
        assert_eq!(asked(&health, None).await, (200, "ok".to_owned()));
        let shown = health.metrics.slis_text();
        assert!(
            shown.contains("kubernetes_healthcheck{name=\"syncloop\",type=\"healthz\"} 1"),
            "{shown}"
        );
    }
}
