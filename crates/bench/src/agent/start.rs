//! From manifests in place to processes that run, and from manifests gone to processes that have ended, beside the bare
//! CRI calls for the same pods on the same runtime.
use super::ends;
use super::ground::drop_in;
use super::pods::BenchPod;
use crate::marker::Markers;
use crate::report;
use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use futures::stream;
use orlop_cri::{Remote, RuntimeService, v1};
use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// Pods that come at once.
const MANY: usize = 40;
/// How many of the bare calls' pods are started side by side: the best of these counts.
const CONCURRENCIES: [usize; 4] = [2, 4, 8, MANY];
/// Grace of the pods whose end is measured, seconds.
const GRACE_SECONDS: u32 = 5;
/// Beyond the grace.
const DELETION_BAR: Duration = Duration::from_millis(500);

/// Where pods are started both ways.
pub struct Arena<'a> {
    pub runtime: &'a Remote,
    /// The manifests of the agent that is measured.
    pub manifests: &'a Path,
    pub markers: Markers,
    pub logs: tempfile::TempDir,
}

/// A pod made by bare calls.
pub struct Made {
    pub sandbox: String,
    pub container: String,
}

impl<'a> Arena<'a> {
    pub fn new(runtime: &'a Remote, manifests: &'a Path) -> Result<Self> {
        Ok(Self {
            runtime,
            manifests,
            markers: Markers::new()?,
            logs: tempfile::tempdir()?,
        })
    }

    /// The bare calls for one pod.
    pub async fn make(&self, pod: &BenchPod<'_>) -> Result<Made> {
        let config = pod.sandbox(self.logs.path());
        std::fs::create_dir_all(&config.log_directory)?;
        let sandbox = self.runtime.run_pod_sandbox(config.clone(), "").await?;
        let container = self
            .runtime
            .create_container(&sandbox, pod.container(0), config)
            .await?;
        self.runtime.start_container(&container).await?;
        Ok(Made { sandbox, container })
    }

    /// Ends a pod made by bare calls.
    pub async fn unmake(&self, made: &Made, grace: Duration) -> Result<()> {
        self.runtime.stop_container(&made.container, grace).await?;
        self.runtime.stop_pod_sandbox(&made.sandbox).await?;
        Ok(self.runtime.remove_pod_sandbox(&made.sandbox).await?)
    }

    /// How long bare calls take to have these pods run, so many at a time; then they are ended.
    async fn direct(&self, pods: &[BenchPod<'_>], concurrency: usize) -> Result<(Duration, Vec<Made>)> {
        let shown = self.markers.expect(&names(pods))?;
        let started = Instant::now();
        let made: Vec<Result<Made>> = stream::iter(pods)
            .map(|pod| self.make(pod))
            .buffer_unordered(concurrency)
            .collect()
            .await;
        shown.await?;
        let took = started.elapsed();
        Ok((took, made.into_iter().collect::<Result<_>>()?))
    }

    async fn end_direct(&self, made: &[Made], grace: Duration) -> Result<Duration> {
        let started = Instant::now();
        let ends = made
            .iter()
            .map(|made| self.runtime.stop_container(&made.container, grace));
        for ended in futures::future::join_all(ends).await {
            ended?;
        }
        let took = started.elapsed();
        for made in made {
            self.unmake(made, Duration::ZERO).await?;
        }
        Ok(took)
    }

    /// How long an agent takes to have these pods run once their manifests are there.
    pub async fn through_manifests(&self, pods: &[BenchPod<'_>]) -> Result<Duration> {
        for pod in pods {
            std::fs::write(self.manifests.join(format!(".{}", pod.name)), pod.manifest())?;
        }
        let shown = self.markers.expect(&names(pods))?;
        let started = Instant::now();
        for pod in pods {
            let from = self.manifests.join(format!(".{}", pod.name));
            std::fs::rename(from, self.manifests.join(format!("{}.json", pod.name)))?;
        }
        shown.await?;
        Ok(started.elapsed())
    }

    /// How long it takes until nothing of these pods runs any more once their manifests are gone.
    pub async fn end_manifests(&self, pods: &[BenchPod<'_>]) -> Result<Duration> {
        let prefix = common_prefix(pods);
        let mut notices = ends::listen(self.runtime).await?;
        let running = self.running(prefix).await?;
        let started = Instant::now();
        for pod in pods {
            std::fs::remove_file(self.manifests.join(format!("{}.json", pod.name)))?;
        }
        ends::of(&mut notices, running).await?;
        let took = started.elapsed();
        self.until_gone(prefix).await?;
        Ok(took)
    }

    /// Ids of the containers that run of pods whose names begin so.
    async fn running(&self, prefix: &str) -> Result<HashSet<String>> {
        let running = v1::ContainerFilter {
            state: Some(v1::ContainerStateValue {
                state: v1::ContainerState::ContainerRunning as i32,
            }),
            ..v1::ContainerFilter::default()
        };
        let containers = self.runtime.list_containers(Some(running)).await?;
        let is_one = |container: &v1::Container| {
            let pod = container.labels.get("io.kubernetes.pod.name");
            pod.is_some_and(|pod| pod.starts_with(prefix))
        };
        Ok(containers.into_iter().filter(is_one).map(|c| c.id).collect())
    }

    /// No sandbox of a pod whose name begins so is ready, so that rounds don't overlap.
    async fn until_gone(&self, prefix: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let sandboxes = self.runtime.list_pod_sandboxes(None).await?;
            let left = sandboxes.iter().any(|sandbox| {
                sandbox.state == v1::PodSandboxState::SandboxReady as i32
                    && sandbox
                        .metadata
                        .as_ref()
                        .is_some_and(|metadata| metadata.name.starts_with(prefix))
            });
            if !left {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{prefix} is not stopped");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn names(pods: &[BenchPod<'_>]) -> Vec<String> {
    pods.iter().map(|pod| pod.name.clone()).collect()
}

/// Pods of one set are called `set-number`.
fn common_prefix<'p>(pods: &'p [BenchPod<'_>]) -> &'p str {
    let first = pods.first().map_or("", |pod| pod.name.as_str());
    first.rsplit_once('-').map_or(first, |(set, _)| set)
}

/// One pod at a time, `rounds` each way, in turn, after one uncounted round.
pub async fn one(arena: &Arena<'_>, rounds: usize) -> Result<()> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let pod = [BenchPod::patient(format!("d{round}-0"), arena.markers.path())];
        let (direct, made) = arena.direct(&pod, 1).await.context("direct CRI calls")?;
        arena.end_direct(&made, Duration::from_secs(1)).await?;
        let pod = [BenchPod::patient(format!("m{round}-0"), arena.markers.path())];
        let agent = arena
            .through_manifests(&pod)
            .await
            .context("through a manifest")?;
        arena.end_manifests(&pod).await?;
        if round > 0 {
            ours.push(agent);
            bare.push(direct);
        }
    }
    report::ratio(
        "manifest renamed -> process runs (vs direct CRI)",
        &ours,
        &bare,
        1.15,
    );
    Ok(())
}

/// Forty at once, and their end.
pub async fn many(arena: &Arena<'_>, rounds: usize) -> Result<()> {
    let set = |name: &str| -> Vec<BenchPod<'_>> {
        let pod = |number| format!("{name}-{number}");
        (0..MANY)
            .map(|number| BenchPod::stubborn(pod(number), arena.markers.path(), GRACE_SECONDS))
            .collect()
    };
    let mut best = (Duration::MAX, MANY);
    for concurrency in CONCURRENCIES {
        let pods = set(&format!("c{concurrency}"));
        let (took, made) = arena.direct(&pods, concurrency).await?;
        arena.end_direct(&made, Duration::ZERO).await?;
        best = best.min((took, concurrency));
    }
    let grace = Duration::from_secs(u64::from(GRACE_SECONDS));
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let (mut our_ends, mut bare_ends) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let pods = set(&format!("d{round}"));
        let (took, made) = arena.direct(&pods, best.1).await?;
        bare.push(took);
        bare_ends.push(arena.end_direct(&made, grace).await?);
        let pods = set(&format!("m{round}"));
        ours.push(arena.through_manifests(&pods).await?);
        our_ends.push(arena.end_manifests(&pods).await?);
    }
    report::ratio(
        &format!("{MANY} manifests -> all run (vs CRI, {} at a time)", best.1),
        &ours,
        &bare,
        1.15,
    );
    let beyond = |took: &[Duration]| report::median(took).saturating_sub(grace).as_secs_f64() * 1e3;
    report::bar(
        &format!("{MANY} manifests gone -> all ended, beyond their grace"),
        beyond(&our_ends),
        "ms",
        &format!("{:.0} ms", beyond(&bare_ends)),
        DELETION_BAR.as_secs_f64() * 1e3,
    );
    Ok(())
}

/// How long one pod of this name takes through a manifest; it stays.
pub async fn once(arena: &Arena<'_>, name: &str) -> Result<Duration> {
    let pod = BenchPod::patient(name.to_owned(), arena.markers.path());
    let shown = arena.markers.expect(std::slice::from_ref(&pod.name))?;
    let text = pod.manifest();
    let started = Instant::now();
    drop_in(arena.manifests, name, &text)?;
    shown.await?;
    Ok(started.elapsed())
}
