//! Pods that get other resources while they run.
use crate::shared::{FOREVER, Shared, apply, container, node, pod, restarts, wait_phase};
use orlop_e2e::{Node, NodeOptions, eventually};
use serde_json::{Value, json};

/// What a container's kernel limits it to: memory in bytes, processor time in thousandths.
const LIMITS: &str = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max; \
                      cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max";

fn sized(name: &str, resources: Value) -> Value {
    let mut container = container(name, FOREVER);
    container["resources"] = resources;
    container
}

fn resize(node: &Node, pod: &str, container: &str, resources: &Value) {
    let patch = json!({"spec": {"containers": [{"name": container, "resources": resources}]}});
    let mut command = node
        .kubectl
        .command(&format!("patch pod {pod} --subresource=resize -p"));
    let output = command.arg(patch.to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}

fn limits(node: &Node, pod: &str, container: &str) -> Vec<String> {
    let mut command = node
        .kubectl
        .command(&format!("exec {pod} -c {container} -- sh -c"));
    let output = command.arg(LIMITS).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::to_owned).collect()
}

fn condition<'p>(pod: &'p Value, kind: &str) -> Option<&'p Value> {
    let conditions = pod["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)
}

/// Waits until the node has made the resize that the pod's newest version asks for.
fn wait_resized(node: &Node, name: &str) -> Value {
    eventually(&format!("{name} is resized"), || {
        let pod = node.kubectl.json(&format!("get pod {name}"));
        let done = pod["status"]["observedGeneration"] == pod["metadata"]["generation"]
            && condition(&pod, "PodResizePending").is_none()
            && condition(&pod, "PodResizeInProgress").is_none()
            && condition(&pod, "Ready").is_some_and(|ready| ready["status"] == "True");
        done.then(|| pod.clone())
            .ok_or_else(|| format!("{:#}", pod["status"]))
    })
}

/// In place, up and down: the kernel's limits follow, and nothing restarts; but for the resource whose policy says so.
#[test]
fn pod_is_resized_in_place_and_restarted_only_where_its_policy_says_so() {
    let node = node();
    let shared = Shared::new(&node, "resize");
    let resources = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}});
    let mut restarting = sized("restarting", resources("100m", "64Mi"));
    restarting["resizePolicy"] = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    let plain = sized("plain", resources("100m", "64Mi"));
    let mut both = pod("resize", &shared, vec![], vec![plain, restarting]);
    both["spec"]["hostNetwork"] = json!(false);
    apply(&node, &both);
    wait_phase(&node, "resize", "Running");
    let ip = node.kubectl.field("pod resize", "/status/podIP");
    let mib = |count: u64| (count << 20).to_string();
    assert_eq!(limits(&node, "resize", "plain"), [mib(64), "10000".into()]);

    resize(&node, "resize", "plain", &resources("200m", "96Mi"));
    let resized = wait_resized(&node, "resize");
    assert_eq!(limits(&node, "resize", "plain"), [mib(96), "20000".into()]);
    let status = &resized["status"]["containerStatuses"][0];
    assert_eq!(
        status["allocatedResources"],
        json!({"cpu": "200m", "memory": "96Mi"})
    );
    assert_eq!(status["resources"], resources("200m", "96Mi"));

    resize(&node, "resize", "plain", &resources("50m", "48Mi"));
    let resized = wait_resized(&node, "resize");
    assert_eq!(limits(&node, "resize", "plain"), [mib(48), "5000".into()]);
    assert_eq!(
        (restarts(&resized, "plain"), restarts(&resized, "restarting")),
        (0, 0)
    );

    resize(&node, "resize", "restarting", &resources("150m", "64Mi"));
    let resized = wait_resized(&node, "resize");
    assert_eq!(
        restarts(&resized, "restarting"),
        0,
        "processors alone need no restart"
    );
    resize(&node, "resize", "restarting", &resources("150m", "80Mi"));
    eventually("the restart", || {
        let pod = node.kubectl.json("get pod resize");
        (restarts(&pod, "restarting") == 1)
            .then_some(())
            .ok_or_else(|| format!("{:#}", pod["status"]))
    });
    let resized = wait_resized(&node, "resize");
    assert_eq!(limits(&node, "resize", "restarting"), [mib(80), "15000".into()]);
    assert_eq!(restarts(&resized, "plain"), 0);
    assert_eq!(node.kubectl.field("pod resize", "/status/podIP"), ip);
    let events = node
        .kubectl
        .ok("get events --field-selector involvedObject.name=resize");
    for told in [
        "ResizeStarted",
        "ResizeCompleted",
        "Container restarting resize requires restart",
    ] {
        assert!(events.contains(told), "{told}: {events}");
    }
    node.kubectl.ok("delete pod resize --now");
}

/// What was given outlives the agent; what is only asked for does not count, and is given when there is room.
#[test]
fn deferred_resize_outlives_the_agent_and_is_made_when_there_is_room() {
    let mut node = Node::start(NodeOptions {
        // As if the machine had one processor.
        kubelet_configuration: format!("systemReserved: {{cpu: '{}'}}\n", processors() - 1),
        ..NodeOptions::default()
    });
    node.kubectl
        .ok("wait --for=create --timeout=60s serviceaccount/default");
    let shared = Shared::new(&node, "resize");
    let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
    for (name, cpu) in [("one", "500m"), ("other", "300m")] {
        apply(&node, &pod(name, &shared, vec![], vec![sized(name, asks(cpu))]));
        wait_phase(&node, name, "Running");
    }
    resize(&node, "one", "one", &asks("800m"));
    let pending = |node: &Node| {
        eventually("the resize is deferred", || {
            let pod = node.kubectl.json("get pod one");
            let pending =
                condition(&pod, "PodResizePending").is_some_and(|told| told["reason"] == "Deferred");
            pending
                .then(|| pod.clone())
                .ok_or_else(|| format!("{:#}", pod["status"]))
        })
    };
    pending(&node);
    node.kill();
    node.launch();
    node.wait_ready();
    let pod = pending(&node);
    assert_eq!(pod["status"]["phase"], "Running", "{pod:#}");
    assert_eq!(
        pod["status"]["containerStatuses"][0]["allocatedResources"]["cpu"],
        "500m"
    );
    assert_eq!(restarts(&pod, "one"), 0);
    node.kubectl.ok("delete pod other --now");
    let resized = wait_resized(&node, "one");
    assert_eq!(
        resized["status"]["containerStatuses"][0]["allocatedResources"]["cpu"],
        "800m"
    );
    assert_eq!(restarts(&resized, "one"), 0);
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
