//! Manifest renamed into place → its container's process runs, beside the bare CRI calls for the
//! same pod on the same runtime.
use crate::marker::Markers;
use crate::report;
use anyhow::{Context, Result};
use orlop_cri::{Remote, RuntimeService, v1};
use std::path::Path;
use std::time::{Duration, Instant};

const IMAGE: &str = "orlop.local/busybox:debian";

/// Measures `rounds` pods each way, in turn, after one uncounted round.
pub async fn measure(manifests: &Path, endpoint: &str, rounds: usize) -> Result<()> {
    let runtime = Remote::connect(endpoint).await?;
    let markers = Markers::new()?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let direct = direct(&runtime, &markers, round)
            .await
            .context("direct CRI calls")?;
        let agent = through_manifest(&runtime, &markers, manifests, round)
            .await
            .context("through a manifest")?;
        if round > 0 {
            ours.push(agent);
            bare.push(direct);
        }
    }
    report::ratio(
        "manifest renamed -> process runs (vs direct CRI)",
        &ours,
        &bare,
        1.3,
    );
    Ok(())
}

async fn through_manifest(
    runtime: &Remote,
    markers: &Markers,
    manifests: &Path,
    round: usize,
) -> Result<Duration> {
    let name = format!("bench-{round}");
    let command = Markers::command(&name);
    let manifest = format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"{name}\",\"namespace\":\"kube-system\"}},\
         \"spec\":{{\"hostNetwork\":true,\"terminationGracePeriodSeconds\":1,\
         \"containers\":[{{\"name\":\"c\",\"image\":\"{IMAGE}\",\"imagePullPolicy\":\"Never\",\"command\":{command:?},\
         \"volumeMounts\":[{{\"name\":\"markers\",\"mountPath\":\"/markers\"}}]}}],\
         \"volumes\":[{{\"name\":\"markers\",\"hostPath\":{{\"path\":\"{}\"}}}}]}}}}",
        markers.path().display()
    );
    let aside = manifests.join(format!(".{name}"));
    let file = manifests.join(format!("{name}.json"));
    std::fs::write(&aside, manifest)?;
    let shown = markers.expect(&name)?;
    let started = Instant::now();
    std::fs::rename(&aside, &file)?;
    shown.await?;
    let took = started.elapsed();
    std::fs::remove_file(&file)?;
    wait_gone(runtime, &name).await?;
    Ok(took)
}

/// Waits until no sandbox of a pod whose name begins with `name` is ready, so that rounds don't overlap.
async fn wait_gone(runtime: &Remote, name: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let sandboxes = runtime.list_pod_sandboxes(None).await?;
        let left = sandboxes.iter().any(|sandbox| {
            sandbox.state == v1::PodSandboxState::SandboxReady as i32
                && sandbox
                    .metadata
                    .as_ref()
                    .is_some_and(|metadata| metadata.name.starts_with(name))
        });
        if !left {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "{name} is not stopped");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn direct(runtime: &Remote, markers: &Markers, round: usize) -> Result<Duration> {
    let name = format!("direct-{round}");
    let logs = tempfile::tempdir()?;
    let sandbox_config = v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: name.clone(),
            namespace: "kube-system".to_owned(),
            uid: name.clone(),
            attempt: 0,
        }),
        log_directory: logs.path().display().to_string(),
        linux: Some(v1::LinuxPodSandboxConfig {
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: Some(v1::NamespaceOption {
                    network: v1::NamespaceMode::Node as i32,
                    pid: v1::NamespaceMode::Container as i32,
                    ..v1::NamespaceOption::default()
                }),
                ..v1::LinuxSandboxSecurityContext::default()
            }),
            ..v1::LinuxPodSandboxConfig::default()
        }),
        ..v1::PodSandboxConfig::default()
    };
    let container_config = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: "c".to_owned(),
            attempt: 0,
        }),
        image: Some(v1::ImageSpec {
            image: IMAGE.to_owned(),
            ..v1::ImageSpec::default()
        }),
        command: Markers::command(&name),
        mounts: vec![v1::Mount {
            container_path: "/markers".to_owned(),
            host_path: markers.path().display().to_string(),
            ..v1::Mount::default()
        }],
        log_path: "c/0.log".to_owned(),
        linux: Some(v1::LinuxContainerConfig::default()),
        ..v1::ContainerConfig::default()
    };
    let shown = markers.expect(&name)?;
    let started = Instant::now();
    let sandbox = runtime.run_pod_sandbox(sandbox_config.clone(), "").await?;
    let container = runtime
        .create_container(&sandbox, container_config, sandbox_config)
        .await?;
    runtime.start_container(&container).await?;
    shown.await?;
    let took = started.elapsed();
    runtime.stop_container(&container, Duration::from_secs(1)).await?;
    runtime.stop_pod_sandbox(&sandbox).await?;
    runtime.remove_pod_sandbox(&sandbox).await?;
    Ok(took)
}
