use crate::node::{self, Node};
use futures::{Stream, StreamExt};
use orlop_cri::events::{self, EventKind, Notice, Source};
use orlop_cri::{RuntimeService, v1};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

async fn next_event(
    notices: &mut (impl Stream<Item = Notice> + Unpin),
    id: &str,
    kind: EventKind,
) -> events::RuntimeEvent {
    tokio::time::timeout(PATIENCE, async {
        loop {
            match notices.next().await {
                Some(Notice::Event(event)) if event.container_id == id && event.kind == kind => {
                    return event;
                }
                Some(_) => {}
                None => panic!("event stream ended"),
            }
        }
    })
    .await
    .unwrap_or_else(|_| panic!("no {kind:?} event of {id}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_starts_runs_commands_logs_and_stops_with_the_host_network() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let start = std::time::Instant::now();
    let (sandbox, id) = node
        .run(
            "host",
            true,
            "trap 'exit 3' TERM; echo hello; while :; do sleep 0.1; done",
        )
        .await;
    println!("sandbox, container, start: {:?}", start.elapsed());

    let outcome = node
        .remote()
        .exec_sync(
            &id,
            ["sh", "-c", "echo out; echo err >&2; exit 7"]
                .map(str::to_owned)
                .to_vec(),
            Duration::from_secs(5),
        )
        .await
        .unwrap();
    assert_eq!(outcome.exit_code, 7);
    assert_eq!(outcome.stdout, b"out\n");
    assert_eq!(outcome.stderr, b"err\n");

    let slow = node
        .remote()
        .exec_sync(
            &id,
            ["sleep", "30"].map(str::to_owned).to_vec(),
            Duration::from_secs(1),
        )
        .await
        .unwrap_err();
    assert!(slow.is_deadline_exceeded(), "{slow:?}");

    assert_eq!(
        node.state(&id).await.state,
        v1::ContainerState::ContainerRunning as i32
    );
    node.remote()
        .stop_container(&id, Duration::from_secs(10))
        .await
        .unwrap();
    let status = node.state(&id).await;
    assert_eq!(status.state, v1::ContainerState::ContainerExited as i32);
    assert_eq!(status.exit_code, 3);
    assert!(
        node.log("host").contains("stdout F hello"),
        "{}",
        node.log("host")
    );

    node.remote().remove_container(&id).await.unwrap();
    let gone = node.remote().container_status(&id, false).await.unwrap_err();
    assert!(gone.is_not_found(), "{gone:?}");
    node.remote().stop_pod_sandbox(&sandbox).await.unwrap();
    node.remote().remove_pod_sandbox(&sandbox).await.unwrap();
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_container_arrive_and_its_status_agrees_with_them() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let mut notices = events::subscribe(node.remote());
    assert_eq!(notices.next().await, Some(Notice::Subscribed(Source::Containerd)));
    let (sandbox, id) = node.run("events", true, "exit 5").await;
    next_event(&mut notices, &sandbox, EventKind::Started).await;
    // Start and exit are told apart; the exit comes only when the status has it.
    let exited = next_event(&mut notices, &id, EventKind::Exited).await;
    assert_eq!(exited.exit_code, Some(5));
    let status = node.state(&id).await;
    assert_eq!(status.state, v1::ContainerState::ContainerExited as i32);
    assert_eq!(status.exit_code, 5);
    node.remote().remove_container(&id).await.unwrap();
    next_event(&mut notices, &id, EventKind::Deleted).await;
    node.remote().stop_pod_sandbox(&sandbox).await.unwrap();
    next_event(&mut notices, &sandbox, EventKind::Exited).await;
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_above_its_memory_limit_is_told_as_oom() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let mut notices = events::subscribe(node.remote());
    let sandbox = node.sandbox("greedy", true);
    let sandbox_id = node.remote().run_pod_sandbox(sandbox.clone(), "").await.unwrap();
    let mut container = node.container("greedy", "");
    container.command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]
        .map(str::to_owned)
        .to_vec();
    container.linux.as_mut().unwrap().resources = Some(v1::LinuxContainerResources {
        memory_limit_in_bytes: 32 << 20,
        ..v1::LinuxContainerResources::default()
    });
    let id = node
        .remote()
        .create_container(&sandbox_id, container, sandbox)
        .await
        .unwrap();
    node.remote().start_container(&id).await.unwrap();
    next_event(&mut notices, &id, EventKind::Oom).await;
    // The two may come in either order; the status settles it.
    let status = ended(&node, &id).await;
    assert_eq!(status.exit_code, 137);
    assert_eq!(status.reason, "OOMKilled");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_on_the_bridge_have_addresses_reach_each_other() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let (server, _) = node
        .run(
            "server",
            false,
            "mkdir /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www",
        )
        .await;
    let address = node
        .remote()
        .pod_sandbox_status(&server, false)
        .await
        .unwrap()
        .status
        .unwrap()
        .network
        .unwrap()
        .ip;
    let subnet = &node.managed.config().network.as_ref().unwrap().subnet;
    let prefix = subnet.rsplit_once('.').unwrap().0;
    assert!(address.starts_with(prefix), "{address} is not in {subnet}");

    let (_, client) = node.run("client", false, "sleep 1000").await;
    let outcome = node
        .remote()
        .exec_sync(
            &client,
            ["sh", "-c", &format!("for i in 1 2 3 4 5 6 7 8 9 10; do wget -qO- http://{address}/ && exit; sleep 0.2; done; exit 1")].map(str::to_owned).to_vec(),
            Duration::from_secs(15),
        )
        .await
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&outcome.stdout),
        "served\n",
        "{outcome:?}"
    );
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_reaps_orphans_in_a_shared_process_namespace() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let mut sandbox = node.sandbox("shared", true);
    let shared = v1::NamespaceOption {
        network: v1::NamespaceMode::Node as i32,
        pid: v1::NamespaceMode::Pod as i32,
        ..v1::NamespaceOption::default()
    };
    let linux = sandbox.linux.as_mut().unwrap();
    linux.security_context.as_mut().unwrap().namespace_options = Some(shared.clone());
    let sandbox_id = node.remote().run_pod_sandbox(sandbox.clone(), "").await.unwrap();
    let mut container = node.container("shared", "(sleep 0.2 &) ; sleep 1000");
    container.linux.as_mut().unwrap().security_context = Some(v1::LinuxContainerSecurityContext {
        namespace_options: Some(shared),
        ..v1::LinuxContainerSecurityContext::default()
    });
    let id = node
        .remote()
        .create_container(&sandbox_id, container, sandbox)
        .await
        .unwrap();
    node.remote().start_container(&id).await.unwrap();
    let outcome = node
        .remote()
        .exec_sync(
            &id,
            [
                "sh",
                "-c",
                "sleep 1; cat /proc/1/comm; grep -l '^State:.Z' /proc/[0-9]*/status; true",
            ]
            .map(str::to_owned)
            .to_vec(),
            Duration::from_secs(10),
        )
        .await
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), "pause\n");
    node.finish().await;
}

/// The caller's signal, not the image's; one that is passed over leaves the container to be killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_ended_with_a_signal_of_the_callers_choice() {
    const SIGUSR1: i32 = 10;
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let script =
        "trap 'echo usr1; exit 4' USR1; trap 'echo term; exit 5' TERM; echo up; while :; do sleep 0.1; done";
    let (_, id) = node.run("signalled", true, script).await;
    said(&node, "signalled", "up").await;
    node.remote().end_with(&id, SIGUSR1, PATIENCE).await.unwrap();
    // It has ended: there is nothing to wait for.
    node.remote().stop_container(&id, Duration::ZERO).await.unwrap();
    assert_eq!(ended(&node, &id).await.exit_code, 4);
    assert!(!node.log("signalled").contains("term"));
    node.remote().end_with(&id, SIGUSR1, PATIENCE).await.unwrap();

    let (_, deaf) = node
        .run("deaf", true, "trap '' USR1; echo up; while :; do sleep 0.1; done")
        .await;
    said(&node, "deaf", "up").await;
    let began = std::time::Instant::now();
    let patience = Duration::from_secs(1);
    node.remote().end_with(&deaf, SIGUSR1, patience).await.unwrap();
    assert!(began.elapsed() >= patience);
    node.remote().stop_container(&deaf, Duration::ZERO).await.unwrap();
    assert_eq!(ended(&node, &deaf).await.exit_code, 137);
    node.finish().await;
}

/// Until the container's log has the text.
async fn said(node: &Node, name: &str, text: &str) {
    let said = async {
        while !node.log(name).contains(text) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, said).await.unwrap();
}

/// The container's status once it shows the end, which may be after the runtime has answered a stop.
pub async fn ended(node: &Node, id: &str) -> v1::ContainerStatus {
    let ended = async {
        loop {
            let status = node.state(id).await;
            if status.state == v1::ContainerState::ContainerExited as i32 {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap()
}

/// What only newer runtimes understand harms no older one.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_made_by_a_runtime_that_does_not_know_all_that_it_is_told() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let sandbox = node.sandbox("beyond", true);
    let sandbox_id = node.remote().run_pod_sandbox(sandbox.clone(), "").await.unwrap();
    let beyond = orlop_cri::Beyond {
        stop_signal: 29,
        ..orlop_cri::Beyond::default()
    };
    let config = node.container("beyond", "echo made; exit 6");
    let made = node
        .remote()
        .create_container_beyond(&sandbox_id, config, sandbox, beyond);
    let id = made.await.unwrap();
    let mut notices = std::pin::pin!(events::subscribe(node.remote()));
    assert!(matches!(notices.next().await, Some(Notice::Subscribed(_))));
    node.remote().start_container(&id).await.unwrap();
    next_event(&mut notices, &id, EventKind::Exited).await;
    assert_eq!(node.state(&id).await.exit_code, 6);
    assert!(node.log("beyond").contains("made"));
    node.finish().await;
}
