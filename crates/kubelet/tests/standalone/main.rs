//! The agent without an API server on a real containerd: manifests in, containers out.
#![allow(clippy::unwrap_used)]

mod node;
mod whole;

use node::Node;
use orlop_cri::{RuntimeService, v1};
use std::time::{Duration, Instant};

fn manifest(script: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  hostNetwork: true\n  \
         terminationGracePeriodSeconds: 1\n  containers:\n  - name: c\n    image: {}\n    command: [sh, -c, '{script}']\n",
        node::BUSYBOX
    )
}

const FOREVER: &str = "echo begun; trap exit TERM; while :; do sleep 0.1; done";

/// A06, A05, A13 and A23 without an API server: dropped, edited, edited badly, kept over a restart, removed.
#[tokio::test(flavor = "multi_thread")]
async fn manifests_life_from_drop_to_removal() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    let agent = node.agent().await;

    let dropped = Instant::now();
    node.write_manifest("web.yaml", &manifest(FOREVER));
    let first = node.one_running().await;
    println!("manifest to running container: {:?}", dropped.elapsed());
    let record = agent
        .pods
        .by_name("default", "web-n1")
        .expect("the pod is known under its suffixed name");
    assert!(agent.pods.list().len() == 1 && record.uid.len() == 32);
    agent.until_phase("web-n1", "Running").await;
    node.until("its log line", || {
        node.log("web-n1", &record.uid).contains("begun")
    })
    .await;

    node.write_manifest("web.yaml", "apiVersion: v1\nkind: Pod\nspec: [");
    node.write_manifest(
        "bad.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {containers: []}\n",
    );
    tokio::time::sleep(Duration::from_millis(2500)).await; // more than one rescan of this agent
    assert_eq!(
        node.running().await,
        std::slice::from_ref(&first),
        "a bad edit leaves the running pod alone"
    );

    node.write_manifest("web.yaml", &manifest(&format!("{FOREVER} # edited")));
    let second = node.one_running_but(&first).await;

    agent.stop().await;
    let before = node
        .remote()
        .container_status(&second, false)
        .await
        .unwrap()
        .status
        .unwrap();
    let agent = node.agent().await;
    agent.until_phase("web-n1", "Running").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        node.running().await,
        std::slice::from_ref(&second),
        "a restarted agent leaves containers untouched"
    );
    let after = node
        .remote()
        .container_status(&second, false)
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(
        (before.started_at, before.metadata),
        (after.started_at, after.metadata)
    );

    node.remove_manifest("web.yaml");
    node.until_none().await;
    let names: Vec<_> = agent
        .pods
        .list()
        .iter()
        .filter_map(|record| record.pod.metadata.name.clone())
        .collect();
    assert_eq!(
        names,
        ["invalid-manifest-bad-n1"],
        "only what stands for the faulty manifest is left"
    );
    agent.stop().await;
    node.finish().await;
}

/// I06, T08 and A25: restarted with its last words, removed while the agent is down.
#[tokio::test(flavor = "multi_thread")]
async fn crashes_are_restarted_and_leftovers_cleaned_up() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    let agent = node.agent().await;
    let script = "echo -n DONE > /dev/termination-log; [ -e /dev/shm/again ] || exit 3";
    node.write_manifest("web.yaml", &manifest(script));
    agent
        .until("web-n1", "a restart with last words", |status| {
            let container = status.container_statuses.iter().flatten().next()?;
            let ended = container.last_state.as_ref()?.terminated.as_ref()?;
            let told = ended.exit_code == 3 && ended.message.as_deref() == Some("DONE");
            (told && container.restart_count >= 1).then_some(())
        })
        .await;
    node.write_manifest("web.yaml", &manifest(FOREVER));
    node.until_running(1).await;
    agent.stop().await;
    node.remove_manifest("web.yaml");
    let agent = node.agent().await;
    node.until_none().await;
    let all = Some(v1::PodSandboxFilter::default());
    node.until_async("its sandboxes to go", || async {
        node.remote()
            .list_pod_sandboxes(all.clone())
            .await
            .unwrap()
            .is_empty()
    })
    .await;
    agent.stop().await;
    node.finish().await;
}

/// A59 and A60: alone, an agent that restarts shows the pod as Running and Ready again, and an init container that the
/// runtime has forgotten meanwhile as having done its work.
#[tokio::test(flavor = "multi_thread")]
async fn a59_a60_restarted_agent_shows_the_pod_ready_and_its_forgotten_init_container_as_completed() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    let agent = node.agent().await;
    let init = format!(
        "  initContainers:\n  - {{name: i, image: '{}', command: ['true']}}\n  containers:",
        node::BUSYBOX
    );
    node.write_manifest("web.yaml", &manifest(FOREVER).replace("  containers:", &init));
    let is_ready = |status: &k8s_openapi::api::core::v1::PodStatus| {
        let mut conditions = status.conditions.iter().flatten();
        let ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let started = status.start_time.clone()?;
        (ready && status.phase.as_deref() == Some("Running")).then_some(started)
    };
    let first_start = agent.until("web-n1", "a ready pod", is_ready).await;
    let container = node.one_running().await;
    agent.stop().await;
    let all = node.remote().list_containers(None).await.unwrap();
    let exited = v1::ContainerState::ContainerExited as i32;
    for init in all.iter().filter(|container| container.state == exited) {
        node.remote().remove_container(&init.id).await.unwrap();
    }
    // Times are told in whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let agent = node.agent().await;
    let start = agent.until("web-n1", "a ready pod again", is_ready).await;
    assert_ne!(start, first_start, "the start that this agent saw");
    let init = agent
        .until("web-n1", "the init container's state", |status| {
            let init = status.init_container_statuses.as_ref()?.first()?;
            init.state.as_ref()?.terminated.clone()
        })
        .await;
    assert_eq!((init.reason.as_deref(), init.exit_code), (Some("Completed"), 0));
    let message = init.message.unwrap_or_default();
    assert!(
        message.contains("Unable to get init container status"),
        "{message}"
    );
    assert_eq!(node.one_running().await, container, "nothing restarts");
    agent.stop().await;
    node.finish().await;
}
