//! From `orlop init` to a node whose control plane runs and shows.
use anyhow::Result;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two looks; short, since it is timed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// When it began.
pub struct Began(Instant);

impl Began {
    pub fn now() -> Self {
        Self(Instant::now())
    }

    /// Waits until the node is Ready and its four mirror pods are Running.
    pub async fn until_running(self, kubeconfig: &Path, name: &str) -> Result<Duration> {
        let client = orlop_client::connect(kubeconfig).await?;
        let nodes: Api<Node> = Api::all(client.clone());
        let pods: Api<Pod> = Api::namespaced(client, "kube-system");
        let of_plane = ListParams::default().labels("tier=control-plane");
        loop {
            let node = nodes.get(name).await?;
            let conditions = node
                .status
                .and_then(|status| status.conditions)
                .unwrap_or_default();
            let ready = conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True");
            let running = pods.list(&of_plane).await?.items.into_iter().filter(|pod| {
                let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                phase == Some("Running")
            });
            if ready && running.count() == 4 {
                return Ok(self.0.elapsed());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// What `init` says that the runtime took, in seconds.
pub fn of_runtime(printed: &str) -> Option<f64> {
    let after = printed.split("of which the runtime took ").nth(1)?;
    let word = after.split_whitespace().next()?;
    match word.strip_suffix("ms") {
        Some(milliseconds) => milliseconds.parse::<f64>().ok().map(|value| value / 1e3),
        None => word.strip_suffix('s')?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtimes_share_is_read_from_what_init_says() {
        let of = |took: &str| {
            of_runtime(&format!(
                "healthy after 7.5s, of which the runtime took {took}\n[next]"
            ))
        };
        assert_eq!(
            (of("2.1s"), of("850.0ms"), of("soon")),
            (Some(2.1), Some(0.85), None)
        );
    }
}
