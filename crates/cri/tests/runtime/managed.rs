use crate::node::{self, Node};
use futures::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use orlop_cri::containerd::{ContainerdConfig, ContainerdError, Managed};
use orlop_cri::events::{self, Notice};
use orlop_cri::{RuntimeService, v1};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_containerd_is_started_again_and_its_containers_run_on() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let (_, id) = node.run("survivor", true, "echo $$; sleep 1000").await;
    let before = node.state(&id).await;
    let mut notices = events::subscribe(node.remote());
    notices.next().await.unwrap();

    let node = Arc::new(node);
    let shutdown = CancellationToken::new();
    let supervisor = tokio::spawn({
        let (node, shutdown) = (node.clone(), shutdown.clone());
        async move { node.managed.supervise(shutdown).await }
    });
    let old = node.managed.pid();
    kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
    let lost_and_back = async {
        assert!(matches!(notices.next().await, Some(Notice::Lost { .. })));
        assert!(matches!(notices.next().await, Some(Notice::Subscribed(_))));
    };
    tokio::time::timeout(Duration::from_secs(20), lost_and_back)
        .await
        .unwrap();
    // The event service is up before CRI is.
    let give_up = Instant::now() + Duration::from_secs(20);
    let after = loop {
        match node.remote().container_status(&id, false).await {
            Ok(answer) => break answer.status.unwrap(),
            Err(error) => assert!(Instant::now() < give_up, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(after.state, v1::ContainerState::ContainerRunning as i32);
    assert_eq!(after.started_at, before.started_at);
    assert_ne!(node.managed.pid(), old);
    let outcome = node
        .remote()
        .exec_sync(&id, ["true"].map(str::to_owned).to_vec(), Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(outcome.exit_code, 0);
    shutdown.cancel();
    supervisor.await.unwrap();
    drop(notices);
    Arc::into_inner(node).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_stopped_while_it_is_about_to_be_started_again_stays_stopped() {
    if !node::is_possible() {
        return;
    }
    let node = Arc::new(Node::start().await);
    let mut notices = events::subscribe(node.remote());
    notices.next().await.unwrap();
    let supervisor = tokio::spawn({
        let node = node.clone();
        async move { node.managed.supervise(CancellationToken::new()).await }
    });
    let pid = Pid::from_raw(node.managed.pid());
    kill(pid, Signal::SIGKILL).unwrap();
    // The supervisor waits now, or has begun a start.
    assert!(matches!(notices.next().await, Some(Notice::Lost { .. })));
    node.managed.stop().await;
    let ended = tokio::time::timeout(Duration::from_secs(20), supervisor).await;
    ended.expect("nothing is left to supervise").unwrap();
    let config = ContainerdConfig::of_root(node.dir.path());
    let left = node::processes_with(&config.config_file.display().to_string());
    assert!(left.is_empty(), "{left:?}");
    drop(notices);
    // For what the test's node looks after at its end.
    Managed::ensure(config).await.unwrap();
    Arc::into_inner(node).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_one_is_adopted_and_a_changed_configuration_restarts_it() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    assert!(!node.managed.was_adopted());
    let start = Instant::now();
    let second = Managed::ensure(ContainerdConfig::of_root(node.dir.path()))
        .await
        .unwrap();
    println!("adopted in {:?}", start.elapsed());
    assert!(second.was_adopted());
    assert_eq!(second.pid(), node.managed.pid());

    let mut changed = ContainerdConfig::of_root(node.dir.path());
    changed.registry_dir = node.dir.path().join("registries");
    let start = Instant::now();
    let third = Managed::ensure(changed).await.unwrap();
    println!("restarted in {:?}", start.elapsed());
    assert!(!third.was_adopted());
    assert_ne!(third.pid(), node.managed.pid());
    node.finish().await;
}

/// As after a kill of orlop in the middle of its start: the pid file is there, the socket isn't yet.
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::zombie_processes, reason = "stopping the node reaps it")]
async fn one_that_is_still_starting_is_waited_for_and_not_doubled() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.managed.stop().await;
    let config = ContainerdConfig::of_root(node.dir.path());
    let child = std::process::Command::new("containerd")
        .arg("--config")
        .arg(&config.config_file)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::fs::write(config.socket.with_extension("pid"), format!("{}\n", child.id())).unwrap();
    // The kernel shows a new process before its arguments.
    while std::fs::read(format!("/proc/{}/cmdline", child.id()))
        .unwrap()
        .is_empty()
    {
        std::thread::yield_now();
    }
    let again = Managed::ensure(config).await.unwrap();
    assert!(again.was_adopted());
    assert_eq!(again.pid(), i32::try_from(child.id()).unwrap());
    drop(again);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_is_told_with_its_cause() {
    if !node::is_possible() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut config = ContainerdConfig::of_root(dir.path());
    config.program = "no-such-containerd".into();
    let error = Managed::ensure(config).await.err().unwrap();
    assert!(matches!(error, ContainerdError::ProgramMissing { .. }), "{error}");

    // Somebody else listens on the socket.
    let config = ContainerdConfig::of_root(dir.path());
    std::fs::create_dir_all(config.socket.parent().unwrap()).unwrap();
    let listener = tokio::net::UnixListener::bind(&config.socket).unwrap();
    let error = Managed::ensure(config).await.err().unwrap();
    assert!(matches!(error, ContainerdError::Foreign { .. }), "{error}");
    drop(listener);

    // containerd comes up without its CRI half: its database is a file where a directory should be.
    let dir = tempfile::tempdir().unwrap();
    let config = ContainerdConfig::of_root(dir.path());
    std::fs::create_dir_all(&config.root).unwrap();
    std::fs::write(config.root.join("io.containerd.metadata.v1.bolt"), "").unwrap();
    let start = Instant::now();
    let error = Managed::ensure(config).await.err().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(matches!(error, ContainerdError::NoCri { .. }), "{error}");
    assert!(
        error.to_string().contains("io.containerd.metadata.v1.bolt"),
        "{error}"
    );
    let left = node::processes_with(&dir.path().display().to_string());
    assert!(left.is_empty(), "{left:?}");
}

/// `runtimeRequestTimeout`: a runtime that hangs is given up after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_hangs_is_given_up_after_the_configured_time() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    let timeout = Duration::from_millis(300);
    let remote = node.remote().clone().with_request_timeout(timeout);
    remote.status(false).await.unwrap();
    let pid = Pid::from_raw(node.managed.pid());
    kill(pid, Signal::SIGSTOP).unwrap();
    // Its threads stop one after the other; its parent is told when the last has.
    let stopped = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(pid), stopped).unwrap();
    let began = Instant::now();
    let error = remote.status(false).await.unwrap_err();
    let took = began.elapsed();
    kill(pid, Signal::SIGCONT).unwrap();
    assert!(error.is_deadline_exceeded(), "{error}");
    assert!(took >= timeout && took < Duration::from_secs(5), "{took:?}");
    remote.status(false).await.unwrap();
    node.finish().await;
}
