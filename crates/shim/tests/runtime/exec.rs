//! Processes in running containers.

use crate::node::{self, Node};
use crate::tasks::{Fifos, call, read_until, tasks, until};
use containerd_client::services::v1::{
    CloseIoRequest, DeleteProcessRequest, ExecProcessRequest, GetRequest, KillRequest, ListPidsRequest,
    MetricsRequest, PauseTaskRequest, ResizePtyRequest, ResumeTaskRequest, StartRequest, UpdateTaskRequest,
    WaitRequest,
};
use orlop_cri::{RuntimeService, v1};
use std::time::Duration;

/// An exec's request; `script` for sh.
fn request(id: &str, exec_id: &str, fifos: &Fifos, terminal: bool, script: &str) -> ExecProcessRequest {
    let process = format!(
        r#"{{"terminal":{terminal},"user":{{"uid":0,"gid":0}},"args":["sh","-c",{script:?}],"env":["PATH=/bin","TERM=xterm"],"cwd":"/"}}"#
    );
    let mut request = ExecProcessRequest {
        container_id: id.to_owned(),
        exec_id: exec_id.to_owned(),
        stdin: fifos.name("in"),
        stdout: fifos.name("out"),
        terminal,
        ..ExecProcessRequest::default()
    };
    let spec = request.spec.get_or_insert_default();
    spec.type_url = "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned();
    spec.value = process.into_bytes();
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_with_a_terminal_can_be_resized_and_typed_into() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let (_, id) = node.run("tty", true, "sleep 1000").await;
    let mut tasks = tasks(&node).await;
    let fifos = Fifos::new();
    let mut out = fifos.reader();
    let script = "test -t 0 && echo terminal; read go; stty size; read code; exit $code";
    tasks
        .exec(call(request(&id, "one", &fifos, true, script)))
        .await
        .unwrap();
    let of = |exec_id: &str| (id.clone(), exec_id.to_owned());
    let (container_id, exec_id) = of("one");
    tasks
        .start(call(StartRequest {
            container_id,
            exec_id,
        }))
        .await
        .unwrap();
    read_until(&mut out, "terminal").await;
    let (container_id, exec_id) = of("one");
    tasks
        .resize_pty(call(ResizePtyRequest {
            container_id,
            exec_id,
            width: 132,
            height: 43,
        }))
        .await
        .unwrap();
    fifos.write("go\n");
    read_until(&mut out, "43 132").await;
    // Another writer, as after a restart of containerd.
    fifos.write("5\n");
    let (container_id, exec_id) = of("one");
    let waited = tasks
        .wait(call(WaitRequest {
            container_id,
            exec_id,
        }))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(waited.exit_status, 5);
    let (container_id, exec_id) = of("one");
    let deleted = tasks
        .delete_process(call(DeleteProcessRequest {
            container_id,
            exec_id,
        }))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(deleted.exit_status, 5);
    node.finish().await;
}

/// Nobody hears of such a process, or could end it.
#[tokio::test(flavor = "multi_thread")]
async fn exec_whose_streams_cannot_be_connected_leaves_no_process() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let (_, id) = node.run("streams", true, "sleep 1000").await;
    let mut tasks = tasks(&node).await;
    let fifos = Fifos::new();
    // The terminal goes, which is not what ends it.
    let mut asked = request(&id, "one", &fifos, true, "trap '' HUP; exec sleep 1001");
    asked.stdin = "file:///dev/null".to_owned();
    tasks.exec(call(asked)).await.unwrap();
    let start = StartRequest {
        container_id: id.clone(),
        exec_id: "one".to_owned(),
    };
    let refused = tasks.start(call(start)).await.unwrap_err();
    assert!(refused.message().contains("file:///dev/null"), "{refused}");
    until("the process to end", async || {
        let asked = ListPidsRequest {
            container_id: id.clone(),
        };
        tasks
            .list_pids(call(asked))
            .await
            .unwrap()
            .into_inner()
            .processes
            .len()
            == 1
    })
    .await;
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_without_a_terminal_ends_when_its_input_is_closed() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let (_, id) = node.run("pipe", true, "sleep 1000").await;
    let mut tasks = tasks(&node).await;
    let fifos = Fifos::new();
    let mut out = fifos.reader();
    let (container_id, exec_id) = (id.clone(), "cat".to_owned());
    tasks
        .exec(call(request(&id, "cat", &fifos, false, "cat; echo end")))
        .await
        .unwrap();
    tasks
        .start(call(StartRequest {
            container_id: container_id.clone(),
            exec_id: exec_id.clone(),
        }))
        .await
        .unwrap();
    fifos.write("line\n");
    read_until(&mut out, "line\n").await;
    tasks
        .close_io(call(CloseIoRequest {
            container_id: container_id.clone(),
            exec_id: exec_id.clone(),
            stdin: true,
        }))
        .await
        .unwrap();
    read_until(&mut out, "end\n").await;
    let waited = tasks
        .wait(call(WaitRequest {
            container_id,
            exec_id,
        }))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(waited.exit_status, 0);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_that_cannot_start_says_why_and_leaves_nothing() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let (_, id) = node.run("bad", true, "sleep 1000").await;
    let error = node
        .remote()
        .exec_sync(&id, vec!["/no/such/program".to_owned()], Duration::from_secs(5))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("/no/such/program"), "{error}");
    assert!(error.contains("no such file or directory"), "{error}");
    // One that ends before runc has said who it is.
    for _ in 0..5 {
        let outcome = node
            .remote()
            .exec_sync(
                &id,
                ["sh", "-c", "exit 9"].map(str::to_owned).to_vec(),
                Duration::from_secs(5),
            )
            .await
            .unwrap();
        assert_eq!(outcome.exit_code, 9);
    }
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn task_is_paused_measured_limited_and_signalled() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let (_, id) = node
        .run(
            "task",
            true,
            "trap 'exit 4' USR1; sleep 1000 & while :; do wait; done",
        )
        .await;
    let mut tasks = tasks(&node).await;
    let status = async |tasks: &mut containerd_client::services::v1::tasks_client::TasksClient<_>| {
        let request = GetRequest {
            container_id: id.clone(),
            exec_id: String::new(),
        };
        let answer = tasks.get(call(request)).await.unwrap().into_inner();
        answer.process.unwrap()
    };
    let running = status(&mut tasks).await;
    assert_eq!(running.status().as_str_name(), "RUNNING");

    let mut seen = Vec::new();
    until("the shell and its sleep", async || {
        let pids = ListPidsRequest {
            container_id: id.clone(),
        };
        let pids = tasks.list_pids(call(pids)).await.unwrap().into_inner();
        seen = pids.processes.iter().map(|process| process.pid).collect();
        seen.len() == 2
    })
    .await;
    assert!(seen.contains(&running.pid), "{seen:?}");

    let pause = PauseTaskRequest {
        container_id: id.clone(),
    };
    tasks.pause(call(pause)).await.unwrap();
    assert_eq!(status(&mut tasks).await.status().as_str_name(), "PAUSED");
    let resume = ResumeTaskRequest {
        container_id: id.clone(),
    };
    tasks.resume(call(resume)).await.unwrap();
    assert_eq!(status(&mut tasks).await.status().as_str_name(), "RUNNING");

    let metrics = MetricsRequest {
        filters: vec![format!("id=={id}")],
    };
    let metrics = tasks.metrics(call(metrics)).await.unwrap().into_inner();
    let data = metrics.metrics[0].data.as_ref().unwrap();
    assert!(
        data.type_url.contains("io.containerd.cgroups.v"),
        "{}",
        data.type_url
    );
    let stats = node.remote().container_stats(&id).await.unwrap().unwrap();
    let memory = stats.memory.unwrap().working_set_bytes.unwrap().value;
    assert!((10_000..50_000_000).contains(&memory), "{memory} bytes");
    assert!(stats.cpu.unwrap().usage_core_nano_seconds.unwrap().value > 0);

    let limits = v1::LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        cpu_shares: 512,
        ..v1::LinuxContainerResources::default()
    };
    node.remote()
        .update_container_resources(v1::UpdateContainerResourcesRequest {
            container_id: id.clone(),
            linux: Some(limits),
            ..v1::UpdateContainerResourcesRequest::default()
        })
        .await
        .unwrap();
    let mut refused = UpdateTaskRequest {
        container_id: id.clone(),
        ..UpdateTaskRequest::default()
    };
    let resources = refused.resources.get_or_insert_default();
    resources.type_url = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".to_owned();
    resources.value = b"no JSON".to_vec();
    assert!(tasks.update(call(refused)).await.is_err());

    let kill = KillRequest {
        container_id: id.clone(),
        signal: 10,
        ..KillRequest::default()
    };
    tasks.kill(call(kill.clone())).await.unwrap();
    until("the container to end", async || {
        node.state(&id).await.state == v1::ContainerState::ContainerExited as i32
    })
    .await;
    assert_eq!(node.state(&id).await.exit_code, 4);
    node.finish().await;
}
