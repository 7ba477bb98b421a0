//! A container that ended by itself: until it runs again, and until the API server shows how it ended, beside a client
//! that does nothing but listen to the runtime and make the same calls.
use super::ends;
use super::ground::{NODE, drop_in};
use super::pods::BenchPod;
use super::start::Arena;
use crate::report;
use anyhow::{Context, Result};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use orlop_cri::{RuntimeService, v1};
use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// What may come on top of the runtime's calls.
const BAR: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);

/// A pod that shows each of its lives (`<name>.1`, `<name>.2`) and ends when something is written to `<name>.end`.
fn mortal<'a>(name: &str, markers: &'a Path, restart_policy: &'static str) -> Result<BenchPod<'a>> {
    let pipe = markers.join(format!("{name}.end"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o666))?;
    let script =
        format!("n=1; [ -e /markers/{name}.1 ] && n=2; : > /markers/{name}.$n; read x < /markers/{name}.end");
    Ok(BenchPod {
        script,
        restart_policy,
        ..BenchPod::patient(name.to_owned(), markers)
    })
}

/// Lets a container end; the moment.
fn end(markers: &Path, name: &str) -> Result<Instant> {
    // It blocks until the container listens, which is when it has shown itself, or a moment later.
    let pipe = std::fs::File::options()
        .write(true)
        .open(markers.join(format!("{name}.end")))?;
    let moment = Instant::now();
    std::io::Write::write_all(&mut &pipe, b"\n")?;
    Ok(moment)
}

/// Measures both, `rounds` each way in turn.
pub async fn measure(arena: &Arena<'_>, client: &kube::Client, rounds: usize) -> Result<()> {
    let (mut restarts, mut bare_restarts) = (Vec::new(), Vec::new());
    let (mut statuses, mut bare_statuses) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let restart = restarted(arena, &format!("r{round}")).await?;
        let bare_restart = restarted_directly(arena, &format!("b{round}")).await?;
        let status = shown(arena, client, &format!("s{round}")).await?;
        let bare_status = read_directly(arena, &format!("t{round}")).await?;
        if round > 0 {
            restarts.push(restart);
            bare_restarts.push(bare_restart);
            statuses.push(status);
            bare_statuses.push(bare_status);
        }
    }
    report::within("container ended -> it runs again", &restarts, &bare_restarts, BAR);
    report::within(
        "container ended -> the API shows how",
        &statuses,
        &bare_statuses,
        BAR,
    );
    Ok(())
}

async fn restarted(arena: &Arena<'_>, name: &str) -> Result<Duration> {
    let markers = arena.markers.path();
    let pod = mortal(name, markers, "Always")?;
    let alive = arena.markers.expect(&[format!("{name}.1")])?;
    drop_in(arena.manifests, name, &pod.manifest())?;
    alive.await?;
    let again = arena.markers.expect(&[format!("{name}.2")])?;
    let ended = end(markers, name)?;
    again.await?;
    let took = ended.elapsed();
    arena.end_manifests(&[pod]).await?;
    Ok(took)
}

async fn restarted_directly(arena: &Arena<'_>, name: &str) -> Result<Duration> {
    let markers = arena.markers.path();
    let pod = mortal(name, markers, "Always")?;
    let mut notices = ends::listen(arena.runtime).await?;
    let alive = arena.markers.expect(&[format!("{name}.1")])?;
    let made = arena.make(&pod).await?;
    alive.await?;
    let again = arena.markers.expect(&[format!("{name}.2")])?;
    let config = pod.sandbox(arena.logs.path());
    let ended = end(markers, name)?;
    ends::of(&mut notices, HashSet::from([made.container.clone()])).await?;
    arena.runtime.container_status(&made.container, false).await?;
    let next = arena
        .runtime
        .create_container(&made.sandbox, pod.container(1), config)
        .await?;
    arena.runtime.start_container(&next).await?;
    again.await?;
    let took = ended.elapsed();
    arena.unmake(&made, Duration::ZERO).await?;
    Ok(took)
}

async fn shown(arena: &Arena<'_>, client: &kube::Client, name: &str) -> Result<Duration> {
    let markers = arena.markers.path();
    let pod = mortal(name, markers, "Never")?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
    let config = watcher::Config::default().fields(&format!("metadata.name={name}-{NODE}"));
    let mut seen = std::pin::pin!(watcher(pods, config).applied_objects());
    let alive = arena.markers.expect(&[format!("{name}.1")])?;
    drop_in(arena.manifests, name, &pod.manifest())?;
    alive.await?;
    let has = |pod: &Pod, what: fn(&k8s_openapi::api::core::v1::ContainerState) -> bool| {
        let containers = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref());
        containers.is_some_and(|all| all.iter().any(|one| one.state.as_ref().is_some_and(what)))
    };
    let mut next = async |what: fn(&k8s_openapi::api::core::v1::ContainerState) -> bool| -> Result<()> {
        let wait = async {
            while let Some(pod) = seen.try_next().await? {
                if has(&pod, what) {
                    return anyhow::Ok(());
                }
            }
            anyhow::bail!("the watch ended")
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .context("the API does not show it")?
    };
    next(|state| state.running.is_some()).await?;
    let ended = end(markers, name)?;
    next(|state| state.terminated.is_some()).await?;
    let took = ended.elapsed();
    arena.end_manifests(&[pod]).await?;
    Ok(took)
}

async fn read_directly(arena: &Arena<'_>, name: &str) -> Result<Duration> {
    let markers = arena.markers.path();
    let pod = mortal(name, markers, "Never")?;
    let mut notices = ends::listen(arena.runtime).await?;
    let alive = arena.markers.expect(&[format!("{name}.1")])?;
    let made = arena.make(&pod).await?;
    alive.await?;
    let ended = end(markers, name)?;
    ends::of(&mut notices, HashSet::from([made.container.clone()])).await?;
    let answer = arena.runtime.container_status(&made.container, false).await?;
    let took = ended.elapsed();
    let state = answer.status.unwrap_or_default().state;
    anyhow::ensure!(
        state == v1::ContainerState::ContainerExited as i32,
        "an end was told of a container that runs"
    );
    arena.unmake(&made, Duration::ZERO).await?;
    Ok(took)
}
